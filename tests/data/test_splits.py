"""Folds, held-out examples, and what is left without unusable images."""

import numpy as np
import pytest
from image_files import FILES, PIXELS, input_error, open_images, pack, write_folder

from l1jax.config import DigitsData, MixtureData
from l1jax.data.opening import open_examples, open_source
from l1jax.data.source import Source, subset, take
from l1jax.data.splits import assign_folds, hold_out, skip_unusable, unit_hashes


def bytes_source(contents):
    """A source whose examples are given as bytes."""
    images = np.zeros((len(contents), 1, 1, 1), np.uint8)
    labels = np.arange(len(contents), dtype=np.int32)
    return Source(
        len(contents), (1, 1, 1), images.__getitem__, "f", labels, content=contents.__getitem__
    )


UNIFORM = bytes_source([str(i).encode() for i in range(10_000)])


@pytest.mark.parametrize("seed", [0, 1])
def test_folds_are_of_about_the_same_size(seed):
    counts = np.bincount(assign_folds(UNIFORM, 5, seed), minlength=5)
    assert counts.sum() == 10_000
    assert ((counts - 2000) ** 2 / 2000).sum() < 18.5  # χ² with 4 degrees of freedom, p = 0.001


@pytest.mark.slow
def test_folds_of_other_seeds_and_the_held_out_share_are_independent():
    table = np.zeros((2, 2, 2))
    np.add.at(
        table,
        (
            assign_folds(UNIFORM, 2, 0),
            assign_folds(UNIFORM, 2, 1),
            (unit_hashes(UNIFORM, "held_out out") < 0.5).astype(int),
        ),
        1,
    )
    assert ((table - 1250) ** 2 / 1250).sum() < 24.3  # χ² with 7 degrees of freedom, p = 0.001


def test_equal_examples_share_a_fold_whatever_their_names_order_and_size(tmp_path):
    twins = {f"twin of {name.replace('/', ' ')}": content for name, content in FILES.items()}
    source = open_images(write_folder(tmp_path / "twins", FILES | twins), image_size=2)
    alone = open_images(pack(tmp_path / "alone.tar", "tar", FILES))
    folds = {}
    for i, part in enumerate(assign_folds(source, 1000)):
        folds.setdefault(source.content(i), set()).add(part)
    assert len(folds) == 6
    expected = {alone.content(i): {part} for i, part in enumerate(assign_folds(alone, 1000))}
    assert folds == expected


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6])
def test_groups_are_held_out_whole_and_more_of_them_at_a_larger_share(share):
    speakers = tuple("abbcccdddd"[i % 10] for i in range(1000))
    source = bytes_source([str(i).encode() for i in range(1000)])._replace(groups=speakers)
    training, held_out = hold_out(source, share)
    assert not set(training.groups) & set(held_out.groups)
    assert held_out.length >= share * 1000
    smaller = hold_out(source, share / 2)[1]
    assert set(smaller.groups) <= set(held_out.groups)
    last = max(
        set(held_out.groups), key=lambda g: unit_hashes(source, "held out")[speakers.index(g)]
    )
    assert held_out.length - speakers.count(last) < share * 1000  # none is held out in vain


def test_a_single_group_cannot_be_split():
    source = bytes_source([b"x", b"y", b"z"])._replace(groups=("a", "a", "a"))
    input_error(lambda: hold_out(source, 0.1), "`holdout` (=0.1)", "leave examples on both sides")


def image_set(source):
    return {image.tobytes() for image in take(source, np.arange(source.length))}


def test_train_and_held_out_examples_are_a_partition_without_common_images():
    source = open_source(DigitsData())
    train, held_out = hold_out(source, 0.2)
    assert train.length + held_out.length == source.length
    assert 0.15 < held_out.length / source.length < 0.25
    assert not image_set(train) & image_set(held_out)
    assert image_set(train) | image_set(held_out) == image_set(source)
    assert len({source.fingerprint, train.fingerprint, held_out.fingerprint}) == 3
    larger = hold_out(open_source(DigitsData(image_size=9)), 0.4)[1]
    assert {held_out.content(i) for i in range(held_out.length)} < {
        larger.content(i) for i in range(larger.length)
    }


def test_labels_stay_with_their_examples():
    part = subset(UNIFORM, np.array([5, 2, 9]))
    np.testing.assert_array_equal(part.labels, [5, 2, 9])
    assert [part.content(i) for i in range(3)] == [b"5", b"2", b"9"]
    assert subset(UNIFORM, np.arange(10_000)) is UNIFORM


def test_points_can_be_held_out_too():
    train, held_out = hold_out(open_source(MixtureData(count=1000)), 0.3)
    assert 230 < held_out.length < 370
    assert train.example(0).shape == held_out.example(0).shape == (1, 1, 2)


def test_a_share_that_leaves_one_side_empty_is_an_error():
    input_error(
        lambda: hold_out(bytes_source([b"a", b"b"]), 1e-9),
        "`holdout` (=1e-09)",
        "of 2 it holds out 0",
    )


BAD = {"a/bad.png": FILES["B.PNG"][:60], "c.jpg": b"none", "zero.png": b""}


@pytest.mark.parametrize("kind", ["folder", "tar.xz", "zip"])
@pytest.mark.parametrize("cache", [True, False])
def test_unusable_images_are_left_out_and_named(tmp_path, kind, cache):
    path = pack(tmp_path / "data", kind, FILES | BAD)
    input_error(lambda: open_images(path), "'zero.png'", "0 bytes", "--data.on-error skip")
    for _ in range(2):  # the second time from the cache
        source, _ = open_examples(skipping(path), cache=cache)
        assert source.length == len(FILES)
        assert source.labels is None or len(source.labels) == len(FILES)
        assert len(source.skipped) == 3
        assert all(any(f"'{name}'" in sentence for sentence in source.skipped) for name in BAD)
        for i, name in enumerate(sorted(FILES)):
            np.testing.assert_array_equal(source.example(i), PIXELS[name])
    reopened = source.reopen()
    assert reopened.fingerprint == source.fingerprint
    assert reopened.length == source.length


def skipping(path):
    from l1jax.config import ImageData

    return ImageData(str(path), image_size=4, on_error="skip")


def test_the_error_names_the_first_image_if_all_are_unusable(tmp_path):
    source = open_images(
        write_folder(tmp_path, {"a.png": b"no", "b.png": b"image"}), on_error="skip"
    )
    input_error(lambda: skip_unusable(source), "'a.png'", "cannot be used")
    input_error(
        lambda: open_images(write_folder(tmp_path / "c", {"a.png": b""}), on_error="skip"),
        "'a.png'",
        "0 bytes",
    )


def test_the_fingerprint_stays_if_nothing_is_left_out(tmp_path):
    path = write_folder(tmp_path)
    assert open_examples(skipping(path))[0].fingerprint == open_images(path).fingerprint

import json
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits

from l1jax.config import InputError
from l1jax.evaluation import classifier_training as module
from l1jax.evaluation.classifier import classifier_features, predict, stacked_classes
from l1jax.evaluation.classifier_training import (
    ClassifierSettings,
    check_examples,
    train_classifier,
)
from l1jax.evaluation.features import extract_all
from l1jax.evaluation.tensors import load_tensors

RNG = np.random.default_rng(0)
FEW = ClassifierSettings(steps=30, batch_size=32, hidden=16)


def bars(n, side=8, channels=1, classes=3):
    """Noisy images, brighter in the third of the rows that their class tells."""
    labels = RNG.integers(0, classes, n)
    x = RNG.integers(0, 60, (n, side, side, channels))
    for image, label in zip(x, labels, strict=True):
        image[label * side // classes : (label + 1) * side // classes] += 150
    return x.astype(np.uint8), labels


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    return np.round(data.images * (255 / 16)).astype(np.uint8)[..., None], data.target


@pytest.fixture(scope="module")
def trained():
    return train_classifier(*bars(400), FEW)


@pytest.mark.slow
@pytest.mark.usefixtures("optimised")
def test_it_learns_the_digits(digits):
    found = train_classifier(*digits)
    held_out = check_examples(*digits, ClassifierSettings())
    assert 0.07 < held_out.mean() < 0.13
    assert found.accuracy > 0.96
    assert found.accuracy == np.mean(predict(found, digits[0][held_out]) == digits[1][held_out])
    assert found.held_out == held_out.sum()
    assert found.chance == np.bincount(digits[1][held_out]).max() / held_out.sum()


@pytest.mark.slow
def test_features_and_logits_are_those_of_the_last_layers(trained):
    x, labels = bars(50)
    found = extract_all(classifier_features(trained), x)
    last = trained.parameters["logits"]
    assert found.features.shape == (50, 16)
    np.testing.assert_allclose(
        found.logits, found.features @ last["kernel"] + last["bias"], rtol=1e-3, atol=1e-4
    )
    assert np.mean(found.logits.argmax(1) == labels) > 0.9
    protocol = classifier_features(trained).protocol
    assert f"{trained.accuracy:.4f}" in protocol
    assert "8×8×1" in protocol


@pytest.mark.slow
def test_the_same_arguments_give_the_same_classifier_and_another_seed_another():
    x, labels = bars(100)
    settings = ClassifierSettings(steps=3, hidden=4)
    one, two = train_classifier(x, labels, settings), train_classifier(x, labels, settings)
    other = train_classifier(x, labels, ClassifierSettings(steps=3, hidden=4, seed=1))
    assert classifier_features(one).protocol == classifier_features(two).protocol
    assert classifier_features(one).protocol != classifier_features(other).protocol
    np.testing.assert_array_equal(
        one.parameters["hidden"]["kernel"], two.parameters["hidden"]["kernel"]
    )


def test_copies_of_an_image_are_on_one_side_and_stay_there():
    x, labels = bars(300)
    alone = check_examples(x, labels, FEW)
    assert 10 < alone.sum() < 55  # a tenth
    order = RNG.permutation(600) % 300
    np.testing.assert_array_equal(check_examples(x[order], labels[order], FEW), alone[order])
    more, further = bars(50)
    mixed = check_examples(np.concatenate([more, x]), np.concatenate([further, labels]), FEW)
    np.testing.assert_array_equal(mixed[50:], alone)


def test_held_out_images_are_not_trained_on(monkeypatch):
    x, labels = bars(200)
    held_out, seen = check_examples(x, labels, FEW), []

    def train(images, targets, settings):
        seen.append((images, targets))
        return {}

    monkeypatch.setattr(module, "_train", train)
    monkeypatch.setattr(module, "predict", lambda trained, images: labels[held_out])
    assert train_classifier(x, labels, FEW).accuracy == 1
    np.testing.assert_array_equal(seen[0][0], x[~held_out])
    np.testing.assert_array_equal(seen[0][1], labels[~held_out])


@pytest.mark.slow
def test_a_stored_classifier_is_not_trained_again(tmp_path, monkeypatch):
    x, labels = bars(100)
    settings = ClassifierSettings(steps=2, hidden=4)
    first = train_classifier(x, labels, settings, tmp_path / "new" / "folder")
    monkeypatch.setattr(module, "_train", None)
    again = train_classifier(x, labels, settings, tmp_path / "new" / "folder")
    assert again[1:] == first[1:]
    assert classifier_features(again).protocol == classifier_features(first).protocol
    np.testing.assert_array_equal(extract_all(classifier_features(again), x).logits.shape, (100, 3))
    changed = x.copy()
    changed[0, 0, 0, 0] ^= 1
    others = (
        (changed, labels, settings),
        (x, 2 - labels, settings),
        (x, labels, ClassifierSettings(steps=3, hidden=4)),
    )
    for other in others:
        with pytest.raises(TypeError, match="not callable"):
            train_classifier(*other, tmp_path / "new" / "folder")


def flipped(content):
    middle = len(content) - 9
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda c: c[:-7],
        lambda c: b"",
        flipped,
        lambda c: c.replace(b"accuracy", b"accurucy"),
        lambda c: b"\xff" * 99,
    ],
    ids=["cut", "empty", "flipped", "renamed", "garbage"],
)
def test_a_damaged_one_is_trained_again(tmp_path, monkeypatch, caplog, damage, trained):
    x, labels = bars(100)
    settings, runs = ClassifierSettings(steps=1, hidden=2), []
    monkeypatch.setattr(module, "_train", lambda *_: runs.append(1) or trained.parameters)
    first = train_classifier(x, labels, settings, tmp_path)
    (path,) = tmp_path.iterdir()
    whole = load_tensors(path)
    path.write_bytes(damage(path.read_bytes()))
    with caplog.at_level(logging.WARNING):
        again = train_classifier(x, labels, settings, tmp_path)
    assert "is damaged" in caplog.text
    assert len(runs) == 2
    assert again[1:] == first[1:]
    mended = load_tensors(path)
    assert mended[1] == whole[1]
    np.testing.assert_array_equal(mended[0]["hidden/kernel"], whole[0]["hidden/kernel"])
    assert list(tmp_path.iterdir()) == [path]


def test_a_classifier_of_an_older_version_is_used(tmp_path, monkeypatch, trained):
    """It had no number of held-out images."""
    x, labels = bars(100)
    settings = ClassifierSettings(steps=1, hidden=2)
    monkeypatch.setattr(module, "_train", lambda *_: trained.parameters)
    first = train_classifier(x, labels, settings, tmp_path)
    (path,) = tmp_path.iterdir()
    tensors, metadata = load_tensors(path)
    described = json.loads(metadata["classifier"])
    del described["held_out"], described["chance"]
    module.save_tensors(path, tensors, {"classifier": json.dumps(described)})
    monkeypatch.setattr(module, "_train", None)
    again = train_classifier(x, labels, settings, tmp_path)
    assert again[1:] == first[1:]
    assert again.held_out == check_examples(x, labels, settings).sum()


def test_a_full_disk_costs_no_trained_classifier(tmp_path, monkeypatch, caplog, trained):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "save_tensors", full)
    monkeypatch.setattr(module, "_train", lambda *_: trained.parameters)
    with caplog.at_level(logging.WARNING):
        found = train_classifier(*bars(60), ClassifierSettings(steps=1, hidden=2), tmp_path)
    assert 0 <= found.accuracy <= 1
    assert "(No space left on device). It is used all the same" in caplog.text


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="`folder`"):
        train_classifier(*bars(60), ClassifierSettings(steps=1, hidden=2), tmp_path / "file")


def test_stacked_classes_read_the_channels_as_digits(trained):
    x, labels = bars(60)
    right = predict(trained, x) == labels
    assert right.mean() > 0.9
    x, labels = x[right][:27], labels[right][:27]
    triple = RNG.integers(0, len(x), (40, 3))
    stacked = np.stack([x[i, ..., 0] for i in triple.T], axis=-1)
    expected = [9 * labels[a] + 3 * labels[b] + labels[c] for a, b, c in triple]
    np.testing.assert_array_equal(stacked_classes(trained, stacked), expected)
    np.testing.assert_array_equal(
        stacked_classes(trained, iter([stacked[:7], stacked[7:]])), expected
    )


@pytest.mark.parametrize("shape", [(8, 8, 3), (28, 28, 1), (49, 60, 3), (8, 128, 1), (128, 128, 3)])
def test_images_of_any_size_have_features(shape):
    def see(x):
        network = module.Network(classes=10, hidden=5)
        return network.init_with_output(jax.random.key(0), x, False)

    found, variables = jax.eval_shape(see, jnp.zeros((2, *shape)))
    assert (found.features.shape, found.logits.shape) == ((2, 5), (2, 10))
    assert variables["params"]["hidden"]["kernel"].shape[0] <= 128 * 7 * 7


def test_images_of_another_shape_are_refused(trained):
    with pytest.raises(ValueError, match=r"must be of \(8, 8, 1\)"):
        predict(trained, bars(3, side=9)[0])


@pytest.mark.parametrize(
    ("images", "labels", "settings", "words"),
    [
        ((60, 7, 8, 1), None, {}, "from 8 to 128"),
        ((60, 8, 129, 1), None, {}, "from 8 to 128"),
        ((60, 8, 8, 1), [0, 1, 3], {}, "class 2 has none"),
        ((60, 8, 8, 1), [0], {}, "class 1 has none"),
        ((60, 8, 8, 1), [0, 1, -1], {}, "from -1 to 1"),
        ((3, 8, 8, 1), None, {"held_out": 1e-9}, "none is held out"),
        ((60, 8, 8, 1), None, {"held_out": 0.0}, "held_out=0.0"),
        ((60, 8, 8, 1), None, {"steps": 0}, "steps=0"),
        ((60, 8, 8, 1), None, {"seed": -1}, "seed=-1"),
    ],
)
def test_what_cannot_be_trained_is_refused(images, labels, settings, words):
    x = np.random.default_rng(0).integers(0, 256, images).astype(np.uint8)
    labels = np.resize([0, 1, 2] if labels is None else labels, len(x))
    with pytest.raises(ValueError, match=words):
        train_classifier(x, labels, ClassifierSettings(**settings))

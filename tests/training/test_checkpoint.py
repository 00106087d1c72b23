"""Checkpoints come back bit for bit; damaged ones are set aside, foreign ones are refused."""

import dataclasses
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from fast_cases import slow_except

import l1jax
from l1jax.config import Config, InputError
from l1jax.training.checkpoint import digest, open_checkpoints, structure_hash

EXPERIMENT = Config(keep_checkpoints=2)


def state_at(step):
    rng = np.random.default_rng(step)
    params = {
        "kernel": jnp.asarray(rng.normal(size=(300, 200)), jnp.float32),
        "bias": jnp.zeros(3, jnp.bfloat16),
    }
    tx = l1jax.proximal_adam(1e-3, l1jax.by_path({"kernel": l1jax.l1(0.1)}))
    return {"step": jnp.asarray(step, jnp.int32), "params": params, "opt_state": tx.init(params)}


def template():
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), state_at(0)
    )


@pytest.fixture
def opened(tmp_path):
    """Open the checkpoints of one directory, as often as a test likes."""
    managers, said = [], []

    def open_again(experiment=EXPERIMENT, fingerprint="images", **options):
        managers.append(open_checkpoints(tmp_path, experiment, fingerprint, said.append, **options))
        return managers[-1]

    (tmp_path / "checkpoints").mkdir()
    yield open_again, tmp_path, said
    for manager in managers:
        manager.close()


def save_steps(checkpoints, distances):
    for step, distance in distances.items():
        checkpoints.save(step, state_at(step), distance)
        checkpoints.wait()


def same_bits(a, b):
    def check(x, y):
        x, y = (np.asarray(array).reshape(-1).view(np.uint8) for array in (x, y))
        np.testing.assert_array_equal(x, y)

    jax.tree.map(check, a, b)
    return jax.tree.structure(a) == jax.tree.structure(b)


def test_the_last_ones_and_the_best_are_kept_over_reopening(opened):
    open_again, folder, _ = opened
    save_steps(open_again(), {1: 5.0, 2: 1.0, 3: 4.0, 4: np.inf, 5: 3.0})
    assert sorted(int(p.name) for p in (folder / "checkpoints").iterdir()) == [2, 4, 5]
    save_steps(open_again(), {6: 2.0, 7: 0.5, 8: 9.0})
    assert sorted(int(p.name) for p in (folder / "checkpoints").iterdir()) == [7, 8]


def test_every_bit_comes_back_with_its_dtype(opened):
    open_again, _, _ = opened
    save_steps(open_again(), {3: 1.0})
    restored = open_again().restore(template())
    assert restored.step == 3
    assert same_bits(restored.state, state_at(3))
    assert restored.state["params"]["bias"].dtype == jnp.bfloat16


def test_there_is_nothing_to_restore_in_an_empty_directory(opened):
    assert opened[0]().restore(template()) is None


def test_one_flipped_bit_changes_the_digest_and_so_does_its_sign_of_zero():
    a = {"x": np.zeros(3, np.float32)}
    b = {"x": np.asarray([0.0, -0.0, 0.0], np.float32)}
    assert digest(a) != digest(b)
    assert digest(a) == digest({"x": np.zeros(3, np.float32)})


def test_layout_tells_paths_shapes_and_dtypes_apart():
    trees = [
        {"x": np.zeros((2, 3), "f4")},
        {"y": np.zeros((2, 3), "f4")},
        {"x": np.zeros((3, 2), "f4")},
    ]
    trees.append({"x": np.zeros((2, 3), "f8")})
    assert len({structure_hash(tree) for tree in trees}) == 4


def files_of(folder):
    return sorted(
        p for p in (folder / "checkpoints" / "2").rglob("*") if p.is_file() and p.stat().st_size
    )


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


DAMAGE = {
    "emptied": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "deleted": lambda path: path.unlink(),
    "flipped": flip,
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [
        "flipped",
        *(pytest.param(k, marks=pytest.mark.slow) for k in ("emptied", "truncated", "deleted")),
    ],
)
def test_no_damage_to_any_file_gives_wrong_numbers(opened, kind, tmp_path_factory):
    open_again, folder, said = opened
    save_steps(open_again(), {1: 1.0, 2: 2.0})
    intact = tmp_path_factory.mktemp("intact") / "checkpoints"
    shutil.copytree(folder / "checkpoints", intact)
    fallen_back = 0
    for path in files_of(folder):
        DAMAGE[kind](path)
        restored = open_again().restore(template())
        assert restored is not None, path
        assert same_bits(restored.state, state_at(restored.step)), path
        if restored.step == 1:
            fallen_back += 1
            assert not (folder / "checkpoints" / "2").exists()
            assert (folder / "damaged" / "2").is_dir()
            assert f"{2} is damaged" in said[-1]
            assert str(folder / "damaged") in said[-1]
        shutil.rmtree(folder / "checkpoints")
        shutil.rmtree(folder / "damaged", ignore_errors=True)
        shutil.copytree(intact, folder / "checkpoints")
    assert fallen_back >= 2, "the arrays and the digest at least must be guarded"


def test_after_a_damaged_one_was_set_aside_later_saves_take_effect(opened):
    open_again, folder, _ = opened
    save_steps(open_again(), {1: 1.0, 2: 2.0})
    for path in (folder / "checkpoints" / "2" / "state").rglob("*"):
        if path.is_file():
            flip(path)
    checkpoints = open_again()
    assert checkpoints.restore(template()).step == 1
    save_steps(checkpoints, {2: 0.1, 3: 0.2})
    assert same_bits(open_again().restore(template(), 2).state, state_at(2))
    assert open_again().restore(template()).step == 3


def test_a_stray_folder_is_set_aside_too(opened):
    open_again, folder, _ = opened
    save_steps(open_again(), {1: 1.0})
    (folder / "checkpoints" / "999").mkdir()
    checkpoints = open_again()
    assert checkpoints.restore(template()).step == 1
    save_steps(checkpoints, {2: 1.0})
    assert open_again().restore(template()).step == 2


def test_reading_only_moves_nothing(opened):
    open_again, folder, said = opened
    save_steps(open_again(), {1: 1.0, 2: 2.0})
    shutil.rmtree(folder / "checkpoints" / "2" / "meta")
    before = sorted(folder.rglob("*"))
    assert open_again(read_only=True).restore(template()).step == 1
    assert sorted(folder.rglob("*")) == before
    assert "2 is damaged" in said[-1]


def test_a_damaged_one_asked_for_by_its_step_is_an_error(opened):
    open_again, folder, _ = opened
    save_steps(open_again(), {1: 1.0, 2: 2.0})
    shutil.rmtree(folder / "checkpoints" / "2" / "state")
    with pytest.raises(InputError, match="damaged"):
        open_again(read_only=True).restore(template(), 2)
    with pytest.raises(InputError, match=r"`--step` \(=7\) must be one of the checkpoints: \[1\]"):
        open_again(read_only=True).restore(template(), 7)


def test_another_experiment_is_refused_with_the_fields_named(opened):
    open_again, folder, _ = opened
    save_steps(open_again(), {1: 1.0})
    other = dataclasses.replace(
        EXPERIMENT, generator=dataclasses.replace(EXPERIMENT.generator, learning_rate=1.0)
    )
    with pytest.raises(InputError, match=r"generator.learning_rate: 0.0002 → 1.0"):
        open_again(other).restore(template())
    assert (folder / "checkpoints" / "1").is_dir()


def test_more_steps_and_other_intervals_are_the_same_experiment(opened):
    open_again, _, _ = opened
    save_steps(open_again(), {1: 1.0})
    longer = dataclasses.replace(
        EXPERIMENT, steps=10**6, log_every=7, sample_every=9, checkpoint_every=11
    )
    assert open_again(longer).restore(template()).step == 1


def test_other_images_are_refused_unless_they_do_not_matter(opened):
    open_again, folder, _ = opened
    save_steps(open_again(), {1: 1.0})
    with pytest.raises(InputError, match="`data` has changed"):
        open_again(fingerprint="others").restore(template())
    assert (folder / "checkpoints" / "1").is_dir()
    assert open_again(fingerprint=None).restore(template()).step == 1


def test_another_version_of_the_state_is_refused_not_set_aside(opened):
    open_again, folder, _ = opened
    save_steps(open_again(), {1: 1.0})
    with pytest.raises(InputError, match="another version of l1jax"):
        open_again().restore({**template(), "more": template()["step"]})
    assert (folder / "checkpoints" / "1").is_dir()


def test_meta_holds_what_a_person_needs_to_identify_a_checkpoint(opened):
    open_again, folder, _ = opened
    save_steps(open_again(), {1: 1.0})
    meta = json.loads((folder / "checkpoints" / "1" / "meta" / "metadata").read_text())
    assert meta["config"]["kind"] == "Config"
    assert meta["fingerprint"] == "images"
    assert len(meta["digest"]) == len(meta["layout"]) == 64


def test_a_save_that_cannot_be_written_is_one_sentence(opened, monkeypatch):
    checkpoints = opened[0]()
    save_steps(checkpoints, {1: 1.0})

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints.manager, "save", full)
    with pytest.raises(
        InputError, match=r"could not be written .*No space left on device.*earlier checkpoints"
    ):
        checkpoints.save(2, state_at(2), 1.0)


def test_adam_of_optax_itself_round_trips(opened):
    """What users put in the state comes back, chained NamedTuples included."""
    open_again, _, _ = opened
    state = optax.chain(optax.adam(1e-3), l1jax.proximal(l1jax.l1(0.1), 1e-3)).init(
        {"w": jnp.ones(3)}
    )
    checkpoints = open_again()
    checkpoints.save(1, state, 0.0)
    checkpoints.wait()
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    tree = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), state)
    assert same_bits(open_again().restore(tree).state, state)


def test_without_its_manifest_a_damaged_checkpoint_is_still_noticed(opened):
    open_again, folder, said = opened
    save_steps(open_again(dataclasses.replace(EXPERIMENT, keep_checkpoints=3)), {2: 2.0, 3: 1.0})
    for step, name in ((3, "metrics/metrics"), (2, "meta/metadata")):
        (folder / "checkpoints" / str(step) / "files.sha256").unlink()
        (folder / "checkpoints" / str(step) / name).write_bytes(b"{")
    assert open_again(read_only=True).restore(template()) is None
    assert ["checkpoints/2 is damaged" in said[-2], "checkpoints/3 is damaged" in said[-1]] == [
        True,
        True,
    ]
    checkpoints = open_again()
    assert checkpoints.restore(template()) is None
    assert {p.name for p in (folder / "damaged").iterdir()} == {"2", "3"}


def test_closing_finishes_the_save_under_way(opened):
    open_again, _, _ = opened
    checkpoints = open_again()
    checkpoints.save(1, state_at(1), 1.0)
    checkpoints.close()
    assert open_again().restore(template()).step == 1


def copy(folder, source, target):
    shutil.copytree(folder / str(source), folder / str(target))


def rename(folder, source, target):
    (folder / str(source)).rename(folder / str(target))


def swap(folder, a, b):
    rename(folder, a, "aside")
    rename(folder, b, a)
    rename(folder, "aside", b)


# What was done to the checkpoints of steps 1 and 2, from which step training is resumed, and what
# is set aside.
OTHER_NAMES = {
    "renamed ahead": (lambda folder: rename(folder, 2, 3), 1, {"3"}),
    "copied ahead": (lambda folder: copy(folder, 1, 1_000_000), 2, {"1000000"}),
    "copied between": (lambda folder: copy(folder, 2, 0), 2, {"0"}),
    "swapped": (lambda folder: swap(folder, 1, 2), None, {"1", "2"}),
    "a link": (lambda folder: (folder / "3").symlink_to(folder / "2"), 2, {"3"}),
    "a superscript": (lambda folder: copy(folder, 2, "²"), 2, {"²"}),
    "Arabic digits": (lambda folder: copy(folder, 2, "٣"), 2, {"٣"}),
    "leading zeros": (lambda folder: copy(folder, 2, "0002"), 2, {"0002"}),
    "a huge step": (lambda folder: copy(folder, 2, 10**23), 2, {str(10**23)}),
    "a file": (lambda folder: (folder / "3").write_text("mine"), 2, {"3"}),
    "a pipe": (lambda folder: os.mkfifo(folder / "3"), 2, {"3"}),
}


@pytest.mark.parametrize(
    "what", slow_except(OTHER_NAMES, "renamed ahead", "swapped", "a link", "a huge step", "a pipe")
)
def test_a_checkpoint_under_another_name_is_set_aside(opened, what):
    open_again, folder, said = opened
    save_steps(open_again(), {1: 1.0, 2: 2.0})
    act, step, aside = OTHER_NAMES[what]
    act(folder / "checkpoints")
    reading = open_again(read_only=True).restore(template())
    assert (reading and reading.step) == step
    del said[:]
    checkpoints = open_again()
    restored = checkpoints.restore(template())
    assert (restored and restored.step) == step
    assert restored is None or same_bits(restored.state, state_at(step))
    assert {path.name for path in (folder / "damaged").iterdir()} == aside
    assert len(said) == len(aside)
    assert all(" is damaged (" in sentence and sentence.count("\n") == 0 for sentence in said)
    later = (step or 0) + 1
    save_steps(checkpoints, {later: 0.5})
    assert open_again().restore(template()).step == later


def test_a_checkpoint_whose_metadata_do_not_tell_its_step_is_known_by_its_state(opened):
    class Own(NamedTuple):
        step: jax.Array

    open_again, folder, said = opened
    checkpoints = open_again()
    checkpoints.save(5, Own(jnp.asarray(4, jnp.int32)), 1.0)
    checkpoints.wait()
    assert open_again().restore(Own(template()["step"])) is None
    assert "it holds the state of step 4" in said[-1]
    assert (folder / "damaged" / "5").is_dir()


@pytest.mark.parametrize("manifest", [True, False])
@pytest.mark.parametrize(
    "name", ["files.sha256", "_CHECKPOINT_METADATA", "meta/metadata", "metrics/metrics", "state/x"]
)
def test_a_pipe_in_a_checkpoint_is_damage_and_no_wait(opened, name, manifest):
    open_again, folder, said = opened
    save_steps(open_again(), {1: 1.0, 2: 2.0})
    path = folder / "checkpoints" / "2"
    if not manifest:
        (path / "files.sha256").unlink()
    (path / name).unlink(missing_ok=True)
    os.mkfifo(path / name)
    assert open_again(read_only=True).restore(template()).step == 1
    assert open_again().restore(template()).step == 1
    assert "2 is damaged" in said[-1]


@pytest.mark.parametrize("name", ["state/manifest.ocdbt", "meta/metadata", "sizes.json"])
def test_a_file_of_20_gigabytes_of_holes_is_damage_and_is_not_read(opened, name, monkeypatch):
    open_again, folder, said = opened
    save_steps(open_again(), {1: 1.0, 2: 2.0})
    os.truncate(folder / "checkpoints" / "2" / name, 20 * 10**9)
    read = []
    digest_of_file = hashlib.file_digest

    def file_digest(file, name):
        read.append(os.fstat(file.fileno()).st_size)
        return digest_of_file(file, name)

    monkeypatch.setattr(hashlib, "file_digest", file_digest)
    assert open_again().restore(template()).step == 1
    assert "2 is damaged" in said[-1]
    assert max(read, default=0) < 10**9


def test_a_checkpoint_that_may_not_be_read_is_not_taken_for_a_damaged_one(opened, monkeypatch):
    open_again, folder, _ = opened
    save_steps(open_again(), {1: 1.0})

    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match="1 must be readable: Permission denied"):
        open_again()
    monkeypatch.undo()
    assert not (folder / "damaged").exists()


def test_checkpoints_that_are_no_folder(opened):
    open_again, folder, _ = opened
    (folder / "checkpoints").rmdir()
    (folder / "checkpoints").write_text("")
    with pytest.raises(
        InputError, match="checkpoints must be a folder that can be read: Not a directory"
    ):
        open_again()

"""A model's folder gives the same bits back, and is written whole or not at all.

Whatever is wrong with it is told in one sentence.
"""

import hashlib
import json
import os
import shutil

import jax
import numpy as np
import pytest
from generators import experiment, generator, images_of, inputs
from safetensors.numpy import load_file, save_file

from l1jax.config import InputError
from l1jax.export import ExportOptions, notes
from l1jax.serialization.loaded_generator import LoadedGenerator
from l1jax.serialization.model_folder import is_model, read_model, write_model
from l1jax.serialization.onnx_program import export_onnx
from l1jax.serialization.stablehlo_program import export_stablehlo
from l1jax.training.state import Average


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder with all that there can be in it."""
    compact, folder = generator("mlp", 3), tmp_path_factory.mktemp("models") / "mlp"
    programs = {
        "model.stablehlo": export_stablehlo(*compact[:3]),
        "model.onnx": export_onnx(*compact[:3]),
    }
    write_model(folder, compact, experiment("mlp", 3), 7, {"licence": "mit"}, programs=programs)
    return folder


@pytest.fixture
def copied(written, tmp_path):
    """A copy to damage."""
    return shutil.copytree(written, tmp_path / "mlp")


def edit(folder, **changes):
    """Change entries of config.json; dotted names are those within."""
    described = json.loads((folder / "config.json").read_text())
    for name, value in changes.items():
        *parents, last = name.split("__")
        part = described
        for parent in parents:
            part = part[parent]
        part[last] = value
    (folder / "config.json").write_text(json.dumps(described))


def replace_file(folder, name, content):
    """Put other bytes in a file's place, as its author could."""
    (folder / name).write_bytes(content)
    digests = json.loads((folder / "config.json").read_text())["files"]
    edit(folder, files=digests | {name: hashlib.sha256(content).hexdigest()})


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("mlp", 3),
        ("dcgan", 0),
        pytest.param("sn_resnet", 3, marks=pytest.mark.slow),
        pytest.param("conv_vae", 0, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("sparse", [False, True])
def test_the_same_bits_come_back(tmp_path, name, classes, sparse):
    compact, own = generator(name, classes), experiment(name, classes)
    assert write_model(tmp_path / "model", compact, own, 7, {"mine": [1]}, sparse=sparse) == []
    back = read_model(tmp_path / "model")
    assert (back.experiment, back.step, back.layout, back.notes) == (own, 7, {}, {"mine": [1]})
    assert jax.tree.structure((back.params, back.batch_stats)) == jax.tree.structure(compact[1:3])
    for found, wanted in zip(
        jax.tree.leaves(back[1:3]), jax.tree.leaves(compact[1:3]), strict=True
    ):
        assert np.asarray(found).tobytes() == np.asarray(wanted).tobytes()


def test_dense_weights_are_plain_tensors(written):
    compact, tensors = generator("mlp", 3), load_file(written / "model.safetensors")
    assert set(tensors) == {
        f"params/{layer}/{part}" for layer in compact.params for part in ("kernel", "bias")
    }
    np.testing.assert_array_equal(tensors["params/image/kernel"], compact.params["image"]["kernel"])


def test_rounding_is_stated(tmp_path):
    compact, own = generator("mlp", 3), experiment("mlp", 3)
    lost = write_model(tmp_path / "model", compact, own, 7, {}, sparse=True, values="int8")
    back = read_model(tmp_path / "model")
    by_name = {loss.name: loss for loss in lost}
    assert set(by_name) == {"images", *(f"params/{layer}/kernel" for layer in compact.params)}
    for layer, own_params in compact.params.items():
        difference = np.float64(back.params[layer]["kernel"]) - own_params["kernel"]
        loss = by_name[f"params/{layer}/kernel"]
        assert 0 < loss.largest == pytest.approx(np.abs(difference).max(), rel=1e-6)
        assert loss.relative == pytest.approx(
            np.linalg.norm(difference) / np.linalg.norm(own_params["kernel"]), rel=1e-6
        )
    given = inputs(compact, 64)
    difference = np.abs(
        images_of(compact, *given) - images_of(compact._replace(params=back.params), *given)
    )
    assert 0.2 < difference.max() / by_name["images"].largest < 5  # of other latents
    card = (tmp_path / "model" / "README.md").read_text()
    assert (
        f"| `images` | {by_name['images'].largest:.2g} | {by_name['images'].relative:.2g} |" in card
    )


@pytest.mark.parametrize("name", ["model.safetensors", "model.stablehlo", "model.onnx"])
def test_each_file_draws_the_same(written, name):
    compact, back = generator("mlp", 3), read_model(written / name)
    given = inputs(compact)
    found = images_of(compact._replace(generator=back.generator, params=back.params), *given)
    np.testing.assert_allclose(found, images_of(compact, *given), atol=1e-6)
    assert (back.step, back.generator.classes, back.generator.image_range) == (7, 3, (-1.0, 1.0))


def test_a_folder_that_holds_something_is_left_alone(tmp_path, written):
    compact, own = generator("mlp"), experiment("mlp")
    (tmp_path / "file").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for place in (written, tmp_path, tmp_path / "file", tmp_path / "link"):
        with pytest.raises(InputError, match="must be a new or an empty folder: choose another"):
            write_model(place, compact, own, 1, {})
    with pytest.raises(InputError, match=r"must be in a folder that exists: make .*no first"):
        write_model(tmp_path / "no" / "model", compact, own, 1, {})
    (tmp_path / "empty").mkdir()
    write_model(tmp_path / "empty", compact, own, 1, {})
    assert is_model(tmp_path / "empty")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file", "link"]


@pytest.mark.parametrize(
    ("failing", "error"),
    [
        ("folder_files.save_tensors", OSError(28, "No space left on device")),
        ("model_folder.model_card", KeyError("protocol")),
    ],
)
def test_nothing_is_left_of_what_could_not_be_written(tmp_path, monkeypatch, failing, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(f"l1jax.serialization.{failing}", fail)
    with pytest.raises(
        InputError, match=r"No space left on device|`notes` are not what a model card is made of"
    ):
        write_model(tmp_path / "model", generator("mlp"), experiment("mlp"), 1, {})
    assert list(tmp_path.iterdir()) == []


DAMAGE = {
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "model.safetensors` is missing"),
    "no config": (lambda f: (f / "config.json").unlink(), "config.json` is missing"),
    "no JSON": (lambda f: (f / "config.json").write_text("{"), "config.json` is not valid JSON"),
    "nested": (
        lambda f: (f / "config.json").write_text("[" * 100_000),
        "config.json` is not valid JSON",
    ),
    "no text": (
        lambda f: (f / "config.json").write_bytes(b"\xff"),
        "config.json` is not valid JSON",
    ),
    "a list": (
        lambda f: (f / "config.json").write_text("[]"),
        "is not that of a model exported by l1jax",
    ),
    "another library": (
        lambda f: edit(f, library_name="diffusers"),
        "is not that of a model exported by l1jax",
    ),
    "a newer format": (lambda f: edit(f, format=2), "has the format 2, and this l1jax reads 1"),
    "no number": (lambda f: edit(f, step="7"), r"`step` \(='7'\) of .* must be of type int"),
    "no sides": (
        lambda f: edit(f, generator__image_shape=[8, 8]),
        "must be three sides of an image",
    ),
    "huge sides": (
        lambda f: edit(f, generator__image_shape=[2**20, 2**20, 3]),
        "must be three sides of an image",
    ),
    "other sides": (lambda f: edit(f, generator__image_shape=[8, 4, 1]), "the network's is"),
    "an unknown model": (
        lambda f: edit(f, experiment__model__kind="Diffusion"),
        r"must be of type MlpGan or",
    ),
    "no such field": (
        lambda f: edit(f, experiment__model__width=3),
        "`model.width` is not a field of MlpGan",
    ),
    "another width": (
        lambda f: edit(f, experiment__model__generator_hidden=[12, 9]),
        "the network's is",
    ),
    "another depth": (
        lambda f: edit(f, experiment__model__generator_hidden=[12]),
        "the network's is",
    ),
    "another layout": (lambda f: edit(f, layout={"x": 1}), "does not describe a network"),
    "other weights": (
        lambda f: (f / "model.safetensors").write_bytes(b"x"),
        "is damaged or another model's",
    ),
    "no safetensors": (
        lambda f: replace_file(f, "model.safetensors", b"x" * 99),
        "cannot be read as safetensors",
    ),
    "no digest": (lambda f: edit(f, files={}), "is not listed"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_told_in_one_sentence(copied, damage):
    act, words = DAMAGE[damage]
    act(copied)
    with pytest.raises(InputError, match=words) as caught:
        read_model(copied)
    assert "\n" not in str(caught.value)


def other_file(make):
    """What stands in a file's place."""

    def act(folder, name):
        (folder / name).unlink()
        make(folder / name)

    return act


def sparse(path):
    with path.open("wb") as file:
        file.truncate(20 * 10**9)


HOSTILE = {
    "a pipe": (other_file(os.mkfifo), "must be a file, and is a folder, a pipe or a device"),
    "a device": (
        other_file(lambda path: path.symlink_to("/dev/zero")),
        "must be a file, and is a folder, a pipe",
    ),
    "a folder": (
        other_file(lambda path: path.mkdir()),
        "must be a file, and is a folder, a pipe or a device",
    ),
    "20 GB of nothing": (
        other_file(sparse),
        r"\(=20,000,000,000 bytes\) must have at most [\d,]+ bytes",
    ),
}


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "model.stablehlo", "model.onnx"]
)
@pytest.mark.parametrize("hostile", HOSTILE)
def test_what_is_no_file_or_too_large_is_not_opened(copied, name, hostile):
    act, words = HOSTILE[hostile]
    act(copied, name)
    path = copied / (name if name.startswith("model") else "model.safetensors")
    said = f"{name}` .*{words}"
    if name != "config.json" and hostile == "a folder":  # which has no configuration in it
        said = "config.json` is missing|must be a folder made by"
    with pytest.raises(InputError, match=said) as caught:
        read_model(path)
    assert "\n" not in str(caught.value)


def text_of(folder, change):
    """Change the text of config.json."""
    text = (folder / "config.json").read_text()
    changed = change(text)
    assert changed != text
    (folder / "config.json").write_text(changed)


ABSURD = {
    "nested in the notes": (
        lambda f: text_of(f, lambda text: text.replace('"mit"', "[" * 100_000 + "]" * 100_000)),
        r"config.json` is not valid JSON \(it is nested deeper than 100 levels\)",
    ),
    "nested less": (
        lambda f: text_of(f, lambda text: text.replace('"mit"', '{"a":' * 300 + "1" + "}" * 300)),
        r"config.json` is not valid JSON \(it is nested deeper than 100 levels\)",
    ),
    "a number too large": (
        lambda f: text_of(
            f, lambda text: text.replace('"latent_size": 6', '"latent_size": 1e400', 1)
        ),
        r"config.json` is not valid JSON \(the number 1e400 is too large\)",
    ),
    "a number too small": (
        lambda f: text_of(f, lambda text: text.replace('"mit"', "-1e999")),
        r"config.json` is not valid JSON \(the number -1e999 is too large\)",
    ),
    "a long number": (
        lambda f: text_of(f, lambda text: text.replace('"step": 7', '"step": ' + "7" * 10_000)),
        "config.json` is not valid JSON",
    ),
    "a step of no training": (
        lambda f: edit(f, step=10**30),
        r"`step` \(=10+\) of .* must be from 0 to",
    ),
    "many layers": (
        lambda f: edit(f, experiment__model__generator_hidden=[8] * 100_000),
        r"`experiment.model.generator_hidden` of .* has 100,000 layers, and may have at most 1,000",
    ),
    "many rows": (
        lambda f: edit(f, layout={"nodes": [{"op": "input"}] * 100_000}),
        r"`layout.nodes` of .* has 100,000 layers, and may have at most 10,000",
    ),
}


@pytest.mark.parametrize("absurd", ABSURD)
def test_an_absurd_configuration_is_told_in_one_sentence(copied, absurd):
    act, words = ABSURD[absurd]
    act(copied)
    with pytest.raises(InputError, match=words) as caught:
        read_model(copied)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_many_blocks_are_refused_before_they_are_built(tmp_path):
    compact, own = generator("r3gan"), experiment("r3gan")
    write_model(tmp_path / "model", compact, own, 7, {})
    edit(tmp_path / "model", experiment__model__blocks=10**6)
    with pytest.raises(InputError, match=r"`experiment.model.blocks` of .* has 1,000,000 layers"):
        read_model(tmp_path / "model")


def test_infinity_comes_back(tmp_path):
    """As paddings and limits of a layout, and metrics among the notes, may be."""
    notes = {"limits": [float("inf"), -float("inf")]}
    write_model(tmp_path / "model", generator("mlp"), experiment("mlp"), 7, notes)
    assert read_model(tmp_path / "model").notes == notes


@pytest.mark.parametrize("content", ["{", "[" * 100_000 + "]" * 100_000, '{"step": 1e400}', None])
def test_an_evaluation_that_is_none_is_left_out(tmp_path, content):
    if content is None:
        os.mkfifo(tmp_path / "evaluation.json")
    else:
        (tmp_path / "evaluation.json").write_text(content)
    compact = generator("mlp")
    average = Average(compact.params, compact.batch_stats)
    opened = LoadedGenerator(experiment("mlp"), compact.generator, average, 7, {})
    assert "evaluation" not in notes(opened, tmp_path, ExportOptions())


def test_foreign_safetensors_are_refused(copied, tmp_path):
    save_file({"unet.conv.weight": np.zeros((3, 3), np.float32)}, tmp_path / "foreign.safetensors")
    replace_file(copied, "model.safetensors", (tmp_path / "foreign.safetensors").read_bytes())
    with pytest.raises(
        InputError, match=r"does not hold the model of config.json: `params/.*` is missing"
    ):
        read_model(copied)


def test_what_is_no_model_is_refused(tmp_path):
    (tmp_path / "model.pt").write_bytes(b"\x80\x02")
    with pytest.raises(
        InputError,
        match=r"must be a folder made by python -m l1jax.export, or its model.safetensors",
    ):
        read_model(tmp_path / "model.pt")
    with pytest.raises(InputError, match="does not exist"):
        read_model(tmp_path / "model")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.json", "model.onnx", "model.stablehlo"]
)
def test_flipped_and_lost_bytes_never_give_a_traceback(copied, name):
    random, whole, messages = np.random.default_rng(0), (copied / name).read_bytes(), []
    path = copied / name if name.startswith("model") else copied
    for i in range(40):
        content = bytearray(whole)
        for place in random.integers(0, len(content), random.integers(1, 4)):
            content[place] ^= 1 << random.integers(8)
        (copied / name).write_bytes(content[: random.integers(len(whole))] if i % 2 else content)
        try:
            read_model(path)
        except InputError as error:
            messages.append(str(error))
    assert not [message for message in messages if "\n" in message]
    assert len(messages) == 40 if name.startswith("model") else len(messages) >= 20


@pytest.mark.slow
def test_weights_with_another_authors_digest_are_checked_all_the_same(copied):
    random, whole = np.random.default_rng(1), (copied / "model.safetensors").read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    for _ in range(40):
        content = bytearray(whole)
        content[random.integers(header)] ^= 1 << random.integers(8)
        replace_file(copied, "model.safetensors", bytes(content))
        try:
            found = read_model(copied).params["image"]["kernel"]
        except InputError:
            continue
        np.testing.assert_array_equal(
            found, generator("mlp", 3).params["image"]["kernel"]
        )  # what was flipped is unread

"""`l1jax.load`: folders and models of the Hub, and what they draw."""

import subprocess
import sys
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from absent import hide
from local_hub import LocalHub, serve, use

import l1jax
from l1jax.build import build_model, example_shape
from l1jax.config import Config, DigitsData, InputError, MlpGan, TonesData, TopicsData, Transformer
from l1jax.extras import MissingExtraError
from l1jax.models import Sampling
from l1jax.models.layout.layout_network import TrainedGenerator
from l1jax.serialization.model_folder import write_model
from l1jax.serialization.text_folder import ExportedText, write_text_model

KEY = jax.random.key(3)


def written(folder, data, seed=0, **model):
    """An untrained model in a folder, and its experiment."""
    experiment = Config(data=data, model=MlpGan(8, (16,), (), (4,), **model))
    generator = build_model(experiment.model, example_shape(data)).generator
    params, statistics = generator.network.init(jax.random.key(seed))
    trained = TrainedGenerator(generator, params, statistics, {})
    write_model(folder, trained, experiment, 7, {})
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return written(tmp_path_factory.mktemp("models") / "digits", DigitsData(), classes=3)


@pytest.mark.slow
def test_images_are_the_generators(folder):
    model = l1jax.load(folder)
    images = model(KEY, 5, label=[0, 1, 2, 2, 1])
    assert (images.shape, images.dtype) == ((5, 8, 8, 1), np.uint8)
    keys = [jax.random.fold_in(KEY, i) for i in range(5)]
    latents = jnp.concatenate([jax.random.normal(key, (1, 8)) for key in keys])
    label = jnp.array([0, 1, 2, 2, 1])
    outputs, _ = model.network.apply(model.params, model.batch_stats, latents, False, label)
    np.testing.assert_allclose(images, 255 * (np.asarray(outputs) + 1) / 2, atol=0.51)
    assert (model.step, model.revision) == (7, None)
    assert model.experiment.data == DigitsData()


@pytest.mark.slow
def test_the_first_images_are_the_same_for_every_count_and_classes_take_turns(folder):
    model = l1jax.load(str(folder))
    images = model(KEY, 6)
    np.testing.assert_array_equal(model(KEY, 2), images[:2])
    np.testing.assert_array_equal(model(KEY, 6, label=1)[[1, 4]], images[[1, 4]])
    weights = np.eye(3)[[0, 1, 2, 2, 1]]
    np.testing.assert_array_equal(model(KEY, 5, label=weights), model(KEY, 5, [0, 1, 2, 2, 1]))
    assert not np.array_equal(model(jax.random.key(4), 6), images)


@pytest.mark.slow
def test_truncated_latents_are_those_of_the_truncated_normal(folder):
    model = l1jax.load(folder)
    images = model(KEY, 5, label=1, truncation=0.5)
    keys = [jax.random.fold_in(KEY, i) for i in range(5)]
    normal = np.concatenate([jax.random.normal(key, (1, 8)) for key in keys])
    latents = scipy.stats.truncnorm(-0.5, 0.5).ppf(scipy.stats.norm.cdf(normal))
    outputs, _ = model.network.apply(
        model.params, model.batch_stats, jnp.asarray(latents, jnp.float32), False, jnp.ones(5, int)
    )
    np.testing.assert_allclose(images, 255 * (np.asarray(outputs) + 1) / 2, atol=0.52)
    np.testing.assert_array_equal(model(KEY, 2, label=1, truncation=0.5), images[:2])
    with pytest.raises(InputError, match=r"`truncation` \(=0\) must be a number greater than 0"):
        model(KEY, 1, truncation=0)


@pytest.mark.parametrize(
    ("count", "label", "message"),
    [
        (0, None, r"`count` \(=0\) must be a whole number of at least 1"),
        (2, 3, r"`label` \(=3\) must be from 0 to 2"),
        (2, [0], "must be a class, or one for each of 2 samples"),
        (2, [0.5, 0.5], r"must be a class, or .* or the weights of the 3 classes for each, as fl"),
        (
            1,
            np.full((1, 3), 0.5),
            r"`label` \(of shape \(1, 3\)\) must be weights of the 3 classes",
        ),
    ],
)
def test_numbers_out_of_range_are_refused(folder, count, label, message):
    with pytest.raises(InputError, match=message):
        l1jax.load(folder)(KEY, count, label)


@pytest.mark.slow
def test_sounds_are_clips_of_their_rate(tmp_path):
    data = TonesData(mels=16, frames=8, n_fft=64, hop=32, sample_rate=4000)
    model = l1jax.load(written(tmp_path / "tones", data))
    clips = model(KEY, 2)
    assert (clips.shape, clips.dtype, model.sample_rate) == ((2, 8 * 32), np.float32, 4000)
    assert 0 < np.abs(clips).max() <= 1
    assert model.spectrograms(KEY, 2).shape == (2, 16, 8, 1)
    assert not np.array_equal(model(KEY, 2, truncation=0.3), clips)
    with pytest.raises(InputError, match=r"`label` \(=0\) must be left out: the generator has no"):
        model(KEY, 2, label=0)


@pytest.mark.slow
def test_texts_begin_with_the_prompt(tmp_path):
    experiment = Config(data=TopicsData(window=16), model=Transformer(16, 1, 2, context=8))
    language_model = build_model(experiment.model, (16,))
    params, _ = language_model.network.init(jax.random.key(0))
    write_text_model(tmp_path / "t", ExportedText(language_model, params, {}, experiment, 5, {}))
    model = l1jax.load(tmp_path / "t")
    texts = model(KEY, 3, prompt="The ", length=6)
    assert len(texts) == 3
    assert all(text.startswith("The ") for text in texts)
    assert len(set(texts)) == 3
    assert model(KEY, 2, prompt="The ", length=6) == texts[:2]
    likeliest = model(KEY, 2, length=4, sampling=Sampling(temperature=0))
    assert likeliest[0] == likeliest[1]
    logits, _ = model.network.apply(model.params, {}, jnp.array([[256]]), False)
    assert logits.shape == (1, 1, 257)
    with pytest.raises(InputError, match=r"`length` \(=0\) must be a whole number of at least 1"):
        model(KEY, 1, length=0)


def test_wrong_sources_are_one_sentence(folder, tmp_path):
    with pytest.raises(InputError, match=r"`source` \(=.*none/at/all\) must be a folder th"):
        l1jax.load(tmp_path / "none/at/all")
    with pytest.raises(InputError, match=r"`revision` \(=v1\) is for models on the Hub, and"):
        l1jax.load(folder, revision="v1")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty/config.json` is missing: give the folder"):
        l1jax.load(tmp_path / "empty")
    with pytest.raises(InputError, match=r"`step` \(=3\) must be left out for an exported model"):
        l1jax.load(folder, step=3)


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


FIRST, SECOND = "a" * 40, "b" * 40


@pytest.fixture
def hub(folder, tmp_path, monkeypatch):
    """A Hub with one model of two commits, and an empty cache."""
    other = written(tmp_path / "other", DigitsData(), seed=1, classes=3)
    pickled = {"pytorch_model.bin": b"a pickle"}
    commits = {FIRST: files_of(folder) | pickled, SECOND: files_of(other)}
    hub = LocalHub("me/digits", commits, {"main": FIRST, "v1": FIRST})
    with serve(hub) as (address, stop):
        hub.stop = stop
        use(monkeypatch, address, tmp_path / "cache")
        yield hub


def test_a_model_of_the_hub_is_that_of_its_folder_and_stays_in_the_cache(hub, folder):
    model = l1jax.load("me/digits")
    assert model.revision == FIRST
    images = l1jax.load(folder)(KEY, 4)
    np.testing.assert_array_equal(model(KEY, 4), images)
    assert hub.requested == {"config.json", "model.safetensors"}
    hub.stop()
    np.testing.assert_array_equal(l1jax.load("me/digits")(KEY, 4), images)
    np.testing.assert_array_equal(l1jax.load("me/digits", revision=FIRST)(KEY, 4), images)


def test_a_revision_that_moved_is_told_and_a_commit_stays(hub):
    before = l1jax.load("me/digits", revision="v1")(KEY, 4)
    hub.revisions["v1"] = SECOND
    message = f"`revision` .=v1. of me/digits moved .*{FIRST} to {SECOND}; pass revision='aaa"
    with pytest.warns(UserWarning, match=message):
        moved = l1jax.load("me/digits", revision="v1")
    assert moved.revision == SECOND
    assert not np.array_equal(moved(KEY, 4), before)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(l1jax.load("me/digits", revision=FIRST)(KEY, 4), before)


def test_a_revision_that_moves_meanwhile_is_that_of_its_first_file(hub):
    def move(file):
        hub.revisions["main"] = SECOND

    hub.on_sent = move
    assert l1jax.load("me/digits").revision == FIRST
    assert hub.revisions["main"] == SECOND


@pytest.mark.parametrize("change", ["all", "header", "size"])
def test_a_file_whose_hash_changed_is_refused(hub, change):
    content = hub.commits[FIRST]["model.safetensors"]
    changed = {
        "all": hub.commits[SECOND]["model.safetensors"],
        "header": content.replace(b"F32", b"I32", 1),
        "size": content[:-4],
    }
    hub.commits[FIRST]["model.safetensors"] = changed[change]
    message = f"is damaged or another model's: its sha256.*from me/digits at {FIRST} on the Hub"
    with pytest.raises(InputError, match=message):
        l1jax.load("me/digits")


def test_what_the_hub_lacks_is_told(hub):
    with pytest.raises(InputError, match=r"`source` \(=me/other\) is no folder here, and the"):
        l1jax.load("me/other")
    with pytest.raises(InputError, match=r"has no revision 'v9' of the model me/digits"):
        l1jax.load("me/digits", revision="v9")
    for name in ("me/-digits", "me/a--b", "me/digits.git"):
        with pytest.raises(InputError, match=r"must be a folder that is there, or the name of a"):
            l1jax.load(name)
    hub.stop()
    with pytest.raises(InputError, match=r"did not answer .* model me/digits is not in the cache"):
        l1jax.load("me/digits")


def test_a_missing_package_is_told(monkeypatch, tmp_path):
    hide(monkeypatch, "huggingface_hub")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingExtraError, match=r"huggingface_hub, .* 'l1jax\[hub\]'"):
        l1jax.load("me/digits")


def test_without_the_extra_load_says_which_to_install():
    program = (
        "from absent import hide_extras; hide_extras(); import l1jax\n"
        "try: l1jax.load\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=Path(__file__).parent
    )
    assert "pip install 'l1jax[train]'" in done.stdout, done.stderr

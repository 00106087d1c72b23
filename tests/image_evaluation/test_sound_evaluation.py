"""Speed with and without dead channels, and the nearest training clip, of a generator of sound."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from l1jax.config import Config, MlpGan, TonesData
from l1jax.data.opening import open_source
from l1jax.data.source import take
from l1jax.image_evaluation import sound as sound_evaluation
from l1jax.image_evaluation.sound import (
    compare_with_training,
    evaluate_sound,
    without_dead_channels,
)
from l1jax.serialization.loaded_generator import LoadedGenerator
from l1jax.serialization.rebuild_generator import rebuild
from l1jax.training.keys import named_seed_key
from l1jax.training.sampling import draw_latents, make_sampler
from l1jax.training.state import Average

DATA = TonesData(count=24, mels=8, frames=12, n_fft=128, hop=40, sample_rate=4000)
SETTINGS_RANGE = np.log(128 / 4) + 4.6  # natural logarithms between black and white


@pytest.fixture(scope="module")
def loaded():
    """An untrained generator of three classes."""
    model = MlpGan(latent_size=4, generator_hidden=(8, 6), classes=3)
    made = rebuild(model, (8, 12, 1), {})
    average = Average(*jax.jit(made.network.init)(jax.random.key(0)))
    return LoadedGenerator(Config(data=DATA, model=model), made, average, 7, {})


@pytest.fixture(scope="module")
def source():
    return open_source(DATA)


@pytest.fixture(autouse=True)
def few_clips(monkeypatch):
    monkeypatch.setattr(sound_evaluation, "NUM_COMPARED_CLIPS", 10)
    monkeypatch.setattr(sound_evaluation, "NUM_TIMED_CLIPS", 4)
    monkeypatch.setattr(sound_evaluation, "NUM_TIMED_ROUNDS", 1)


def kill(loaded, units):
    """Make units of the first hidden layer constant, by zeros in front of and behind them."""
    params = jax.tree.map(np.array, loaded.average.params)
    params["hidden_0"]["kernel"][:, units] = 0
    params["hidden_1"]["kernel"][units] = 0
    return loaded._replace(average=loaded.average._replace(params=params))


def distances(images, others):
    """Of all pairs, by the definition."""
    difference = (images[:, None].astype(float) - others[None]) * SETTINGS_RANGE / 255
    return np.sqrt(np.mean(difference**2, axis=(2, 3, 4)))


@pytest.mark.slow
def test_the_nearest_training_clip_is_that_of_all_pairs(loaded, source):
    known = take(source, np.arange(24))
    latents = draw_latents(loaded.generator, named_seed_key(0, "evaluation"), 10)
    drawn = make_sampler(loaded.generator)(loaded.average, latents)
    held_out = np.roll(known[:6], 3, axis=1)
    result = compare_with_training(loaded, DATA, source, held_out)
    assert result["training_clips"] == 24
    np.testing.assert_allclose(
        [result["of_drawn"], result["of_real"]],
        [np.median(distances(images, known).min(axis=1)) for images in (drawn, held_out)],
        rtol=1e-5,
    )


def test_without_held_out_clips_a_training_clip_is_not_its_own_nearest(loaded, source, monkeypatch):
    monkeypatch.setattr(sound_evaluation, "NUM_COMPARED_CLIPS", 24)
    known = take(source, np.arange(24))
    pairs = distances(known, known) + np.where(np.eye(24), np.inf, 0)
    result = compare_with_training(loaded, DATA, source, None)
    assert result["of_real"] == pytest.approx(np.median(pairs.min(axis=1)), rel=1e-5)
    assert result["of_real"] > 0


def test_dead_channels_are_removed_and_the_clips_stay(loaded):
    assert without_dead_channels(loaded, print) is None
    killed = kill(loaded, [0, 2, 5])
    smaller = without_dead_channels(killed, print)
    widths = {leaf.shape[-1] for leaf in jax.tree.leaves(smaller.average.params) if leaf.ndim == 2}
    assert 5 in widths
    assert 8 not in widths
    latents = jnp.asarray(draw_latents(loaded.generator, jax.random.key(1), 5))
    images = [make_sampler(g.generator)(g.average, latents) for g in (killed, smaller)]
    assert np.abs(images[0].astype(int) - images[1]).max() <= 1


@pytest.mark.slow
def test_speeds_are_told_of_both_and_fit_each_other(loaded, source):
    said = []
    result = evaluate_sound(kill(loaded, [1]), DATA, source, None, said.append)
    assert said == []
    assert result["clips"] == 4
    for speed in (result, result["compact"]):
        seconds = 1e-3 * speed["milliseconds_per_clip"]
        assert speed["real_time_factor"] == pytest.approx(12 * 40 / 4000 / seconds)
    assert "compact" not in evaluate_sound(loaded, DATA, source, None, said.append)

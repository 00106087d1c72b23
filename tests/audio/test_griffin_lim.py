"""Griffin–Lim against librosa's, and on magnitudes whose signal is known."""

import jax
import jax.numpy as jnp
import librosa
import numpy as np
import pytest

from l1jax.audio import framing, griffin_lim, stft

FRAMES = framing(64, 16, centered=True)
SIGNAL = np.random.default_rng(0).standard_normal(800).astype(np.float32)
MAGNITUDES = np.abs(librosa.stft(SIGNAL, n_fft=64, hop_length=16, pad_mode="constant"))


@pytest.mark.parametrize("momentum", [0.0, 0.99])
@pytest.mark.parametrize("iterations", [1, 7])
def test_signals_are_those_of_librosa(momentum, iterations):
    ours = griffin_lim(jnp.asarray(MAGNITUDES.T), FRAMES, 800, iterations, momentum)
    theirs = librosa.griffinlim(
        MAGNITUDES, n_iter=iterations, hop_length=16, n_fft=64, length=800,
        init=None, momentum=momentum,
    )  # fmt: skip
    np.testing.assert_allclose(ours, theirs, atol=2e-4)


def inconsistency(signal):
    difference = jnp.abs(stft(signal, FRAMES)) - MAGNITUDES.T
    return float(jnp.linalg.norm(difference) / jnp.linalg.norm(MAGNITUDES))


def test_momentum_converges_faster_and_more_iterations_come_nearer():
    magnitudes = jnp.asarray(MAGNITUDES.T)
    plain = inconsistency(griffin_lim(magnitudes, FRAMES, 800, 30, 0.0))
    fast = inconsistency(griffin_lim(magnitudes, FRAMES, 800, 30))
    long = inconsistency(griffin_lim(magnitudes, FRAMES, 800, 200))
    assert long < fast < plain < 0.5


def test_random_phases_follow_the_key():
    magnitudes = jnp.asarray(MAGNITUDES.T)
    first, again, other = (
        griffin_lim(magnitudes, FRAMES, 800, 2, key=jax.random.key(seed)) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1


def test_silence_stays_silent_and_finite():
    silent = griffin_lim(jnp.zeros((FRAMES.num_frames(800), 33)), FRAMES, 800, 3)
    np.testing.assert_array_equal(silent, np.zeros(800))

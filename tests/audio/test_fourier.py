"""The short-time transform against librosa, and its inverse against the signal."""

import jax.numpy as jnp
import librosa
import numpy as np
import pytest

from l1jax.audio import framing, hann_window, istft, stft

SIGNAL = np.random.default_rng(0).standard_normal(1000).astype(np.float32)


@pytest.mark.parametrize(("n_fft", "hop"), [(64, 16), (64, 13), (64, 50), (63, 10)])
def test_the_centred_transform_is_that_of_librosa(n_fft, hop):
    ours = stft(jnp.asarray(SIGNAL), framing(n_fft, hop, centered=True))
    theirs = librosa.stft(SIGNAL, n_fft=n_fft, hop_length=hop, pad_mode="constant")
    np.testing.assert_allclose(ours, theirs.T, atol=1e-4)


def test_frames_are_centred_on_their_hop_and_as_many_as_the_hops():
    frames = framing(64, 16)
    assert frames.num_frames(160) == 10
    impulse = jnp.zeros(160).at[40].set(1.0)  # in the middle of the samples of frame 2
    magnitudes = jnp.abs(stft(impulse, frames))
    np.testing.assert_allclose(magnitudes[2], np.ones(33), rtol=1e-5)  # the window's middle
    np.testing.assert_allclose(magnitudes[1], magnitudes[3], rtol=1e-4)


@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize(("n_fft", "hop", "samples"), [(64, 16, 1000), (64, 13, 999), (63, 40, 87)])
def test_the_inverse_gives_back_what_frames_cover(n_fft, hop, samples, centered):
    frames = framing(n_fft, hop, centered=centered)
    signal = SIGNAL[:samples]
    weights = np.zeros(frames.before + samples + frames.after + n_fft)
    for t in range(frames.num_frames(samples)):
        weights[t * hop : t * hop + n_fft] += np.hanning(n_fft + 1)[:-1] ** 2
    weights = weights[frames.before : frames.before + samples]
    recovered = istft(stft(jnp.asarray(signal), frames), frames, samples)
    assert recovered.shape == (samples,)
    np.testing.assert_allclose(
        np.where(weights > 1e-3, recovered, 0), np.where(weights > 1e-3, signal, 0), atol=1e-3
    )


@pytest.mark.slow
def test_of_any_spectrum_the_inverse_is_the_nearest_signal():
    """The residual is orthogonal to the transform of every signal (weights of a real transform)."""
    frames = framing(16, 6)
    rng = np.random.default_rng(1)
    shape = (frames.num_frames(60), 9)
    spectrum = jnp.asarray(rng.standard_normal(shape) + 1j * rng.standard_normal(shape))
    spectrum = spectrum.at[:, [0, -1]].set(spectrum[:, [0, -1]].real)  # as of real frames
    residual = spectrum - stft(istft(spectrum, frames, 60), frames)
    both_halves = np.full(9, 2.0)
    both_halves[[0, -1]] = 1.0
    directions = stft(jnp.eye(60), frames)
    products = np.real(np.conj(directions) * residual) @ both_halves
    np.testing.assert_allclose(products.sum(axis=1), np.zeros(60), atol=1e-3)


def test_leading_axes_are_a_batch():
    frames = framing(32, 8)
    clips = SIGNAL.reshape(2, 5, 100)
    spectra = stft(jnp.asarray(clips), frames)
    assert spectra.shape == (2, 5, frames.num_frames(100), 17)
    np.testing.assert_allclose(spectra[1, 2], stft(jnp.asarray(clips[1, 2]), frames), atol=1e-5)
    np.testing.assert_allclose(istft(spectra, frames, 100)[..., :90], clips[..., :90], atol=1e-4)


def test_the_window_is_that_of_librosa():
    np.testing.assert_allclose(hann_window(63), librosa.filters.get_window("hann", 63), atol=1e-12)


@pytest.mark.parametrize("hop", [0, 65])
def test_a_hop_that_leaves_gaps_is_refused(hop):
    with pytest.raises(ValueError, match=rf"`hop` \(={hop}\) must be at least 1 and at most"):
        framing(64, hop)


def test_signals_and_spectra_of_the_wrong_size_are_refused():
    with pytest.raises(ValueError, match=r"`signal` \(samples=15\) must have at least 16"):
        stft(jnp.zeros(15), framing(64, 16))
    with pytest.raises(ValueError, match=r"`spectrum` .* must end in \(10, 33\)"):
        istft(jnp.zeros((9, 33), jnp.complex64), framing(64, 16), 160)

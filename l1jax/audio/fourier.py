"""Short-time Fourier transform and its inverse."""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

_SMALLEST_WEIGHT = 1e-6  # of a sample by the windows over it; below, no frame says what it is


class Framing(NamedTuple):
    """How a signal is cut into frames; `framing` makes one."""

    n_fft: int
    """Samples per frame."""
    hop: int
    """Samples from the start of one frame to the start of the next."""
    before: int
    """Zeros that are put before the signal."""
    after: int
    """Zeros that are put after the signal."""

    def num_frames(self, num_samples: int) -> int:
        """Return the number of frames of a signal of `num_samples`."""
        return 1 + (self.before + num_samples + self.after - self.n_fft) // self.hop


def framing(n_fft: int, hop: int, *, centered: bool = False) -> Framing:
    """Decide where the frames of a signal lie; zeros before and after it fill them up.

    Args:
        n_fft: samples per frame.
        hop: samples between the starts of frames, at most `n_fft`.
        centered: if False, frame t is centred on samples [t·hop, (t+1)·hop), so that a signal of
            T·hop samples has T frames. If True, frame t is centred on sample t·hop, so that it has
            T + 1 frames, as in librosa and PyTorch.

    Raises:
        ValueError: unless 1 ≤ `hop` ≤ `n_fft`.
    """
    if not 1 <= hop <= n_fft:
        raise ValueError(
            f"`hop` (={hop}) must be at least 1 and at most `n_fft` (={n_fft}), so that frames "
            "leave no gaps."
        )
    if centered:
        return Framing(n_fft, hop, n_fft // 2, n_fft // 2)
    before = (n_fft - hop) // 2
    return Framing(n_fft, hop, before, n_fft - hop - before)


def hann_window(length: int) -> Float[np.ndarray, " length"]:
    """Return the periodic Hann window, sin²(πn / length)."""
    return np.sin(np.pi * np.arange(length) / length) ** 2


def stft(
    signal: Float[Array, "*batch samples"], frames: Framing
) -> Complex[Array, "*batch frames bins"]:
    """Transform the Hann-windowed frames of signals to n_fft // 2 + 1 frequencies each.

    Raises:
        ValueError: if the signal is shorter than a frame, zeros before and after it included.
    """
    n_fft, hop, before, after = frames
    num_samples = signal.shape[-1]
    if before + num_samples + after < n_fft:
        raise ValueError(
            f"`signal` (samples={num_samples}) must have at least {n_fft - before - after} "
            f"samples to fill one frame of {n_fft}."
        )
    num_frames = frames.num_frames(num_samples)
    num_pieces = math.ceil(n_fft / hop)  # of a hop each, that make up a frame
    padded_samples = (num_frames + num_pieces - 1) * hop
    missing = max(0, padded_samples - before - num_samples)
    widths = [(0, 0)] * (signal.ndim - 1) + [(before, missing)]
    padded = jnp.pad(signal, widths)[..., :padded_samples]
    pieces = padded.reshape(*signal.shape[:-1], -1, hop)
    shifted = [pieces[..., i : i + num_frames, :] for i in range(num_pieces)]
    framed = jnp.concatenate(shifted, axis=-1)[..., :n_fft]
    window = hann_window(n_fft).astype(signal.dtype)
    return jnp.fft.rfft(framed * window)


def istft(
    spectrum: Complex[Array, "*batch frames bins"], frames: Framing, num_samples: int
) -> Float[Array, "*batch samples"]:
    """Return the signals whose transform is nearest to a spectrum, in the least-squares sense.

    Of the transform of a signal it gives back that signal. Samples that no frame covers are 0.

    Args:
        spectrum: as `stft` returns it.
        frames: how the signals were cut.
        num_samples: of each signal.

    Raises:
        ValueError: if the spectrum does not have `n_fft` // 2 + 1 frequencies, or not the number
            of frames that such signals have.

    Source: Griffin, Lim, IEEE Transactions on Acoustics, Speech, and Signal Processing 32, 1984,
        equation 6.
    """
    expected = (frames.num_frames(num_samples), frames.n_fft // 2 + 1)
    if spectrum.shape[-2:] != expected:
        raise ValueError(
            f"`spectrum` (shape={spectrum.shape}) must end in {expected}, the frames and "
            f"frequencies of signals of `num_samples` (={num_samples})."
        )
    window = hann_window(frames.n_fft)
    framed = jnp.fft.irfft(spectrum, frames.n_fft)
    summed = _overlap_add(framed * window.astype(framed.dtype), frames, num_samples)
    return summed * _inverse_weights(frames, num_samples).astype(framed.dtype)


def _overlap_add(
    framed: Float[Array, "*batch frames n_fft"], frames: Framing, num_samples: int
) -> Float[Array, "*batch samples"]:
    """Add frames where they lie in the signal."""
    n_fft, hop, before, _ = frames
    num_pieces = math.ceil(n_fft / hop)  # of a hop each, that make up a frame
    num_frames = framed.shape[-2]
    num_rows = num_frames + num_pieces - 1  # of a hop each, that make up the signal
    batch = [(0, 0)] * (framed.ndim - 2)
    pad_frames = (num_pieces - 1, num_pieces - 1)
    padded = jnp.pad(framed, [*batch, pad_frames, (0, num_pieces * hop - n_fft)])
    rows = 0
    for i in range(num_pieces):  # piece i of frame t lies in row t + i
        first = num_pieces - 1 - i
        rows = rows + padded[..., first : first + num_rows, i * hop : (i + 1) * hop]
    signal = jnp.reshape(rows, (*framed.shape[:-2], num_rows * hop))
    out_of_reach = max(0, before + num_samples - num_rows * hop)
    signal = jnp.pad(signal, [*batch, (0, out_of_reach)])
    return signal[..., before : before + num_samples]


def _inverse_weights(frames: Framing, num_samples: int) -> Float[np.ndarray, " samples"]:
    """Return 1 / Σ window² over the frames at each sample, and 0 where there are none."""
    n_fft, hop, before, after = frames
    weights = np.zeros(before + num_samples + after + n_fft)
    window = hann_window(n_fft)
    for t in range(frames.num_frames(num_samples)):
        weights[t * hop : t * hop + n_fft] += window**2
    weights = weights[before : before + num_samples]
    covered = weights > _SMALLEST_WEIGHT
    return np.where(covered, 1 / np.where(covered, weights, 1), 0)

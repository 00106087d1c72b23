"""Signals from magnitudes alone, by the fast Griffin–Lim algorithm."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float, Int, Key

from l1jax.audio.fourier import Framing, istft, stft

_TINY = 1e-24  # keeps the phase of 0 defined; is compared with squares of magnitudes

Spectrum = Complex[Array, "*batch frames bins"]
Signal = Float[Array, "*batch samples"]


@partial(jax.jit, static_argnames=("frames", "num_samples", "iterations", "momentum"))
def griffin_lim(
    magnitudes: Float[Array, "*batch frames bins"],
    frames: Framing,
    num_samples: int,
    iterations: int = 16,
    momentum: float = 0.99,
    key: Key[Array, ""] | None = None,
) -> Signal:
    """Find signals whose short-time Fourier transforms have nearly these magnitudes.

    Each iteration takes the signal that fits the spectrum best, goes on by `momentum` times the
    change from the last such signal, and restores the magnitudes of its transform. A momentum of 0
    is the algorithm of Griffin and Lim. The transform is linear, so going on from the signals is
    the same as going on from their transforms, as the source does, and costs less.

    Args:
        magnitudes: of the transforms.
        frames: how the signals are cut.
        num_samples: of each signal.
        iterations: how many.
        momentum: at least 0; up to about 1 it converges in practice.
        key: that the first phases are drawn from; None for phases of 0, which need no randomness.

    Raises:
        ValueError: if the magnitudes are not those of signals of `num_samples`.

    Source: Perraudin, Balazs, Søndergaard, "A fast Griffin–Lim algorithm", WASPAA 2013, algorithm
        2.
    """
    angles = jnp.zeros_like(magnitudes)
    if key is not None:
        angles = jax.random.uniform(key, magnitudes.shape, magnitudes.dtype, 0, 2 * jnp.pi)
    start = jax.lax.complex(magnitudes * jnp.cos(angles), magnitudes * jnp.sin(angles))
    silence = jnp.zeros((*magnitudes.shape[:-2], num_samples), magnitudes.dtype)

    def iterate(_: Int[Array, ""], state: tuple[Spectrum, Signal]) -> tuple[Spectrum, Signal]:
        spectrum, previous = state
        signal = istft(spectrum, frames, num_samples)
        moved = stft(signal + momentum * (signal - previous), frames)
        squares = moved.real**2 + moved.imag**2
        return moved * (magnitudes * jax.lax.rsqrt(jnp.maximum(squares, _TINY))), signal

    spectrum, _ = jax.lax.fori_loop(0, iterations, iterate, (start, silence))
    return istft(spectrum, frames, num_samples)

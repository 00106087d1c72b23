"""Points drawn from mixtures of Gaussians in the plane: what mode collapse is measured on."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32


class Mixture(NamedTuple):
    """Equally likely normal distributions, all with the same standard deviation."""

    means: Float32[np.ndarray, "modes 2"]
    deviation: float


def ring() -> Mixture:
    """8 modes on the unit circle, σ = 0.01. Lin et al., "PacGAN", NeurIPS 2018, section 4.1."""
    angle = np.arange(8) * (2 * np.pi / 8)
    return Mixture(np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32), 0.01)


def grid() -> Mixture:
    """25 modes at {-4, -2, 0, 2, 4}², σ = 0.05. Lin et al., "PacGAN", NeurIPS 2018, section 4.1."""
    side = np.arange(-4, 5, 2, dtype=np.float32)
    return Mixture(np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1).reshape(-1, 2), 0.05)


MIXTURES = {"ring": ring, "grid": grid}


def draw(
    mixture: Mixture, count: int, seed: int
) -> tuple[Float32[np.ndarray, "count 2"], Int32[np.ndarray, " count"]]:
    """Points and the mode of each; the same for the same seed, the first ones also for another count."""
    points, modes = np.empty((count, 2), np.float32), np.empty(count, np.int32)
    for i in range(0, count, 1000):  # in blocks, each with a stream of its own
        generator = np.random.Generator(np.random.Philox(key=(seed << 32) + i))
        stop = min(i + 1000, count)
        modes[i:stop] = generator.integers(len(mixture.means), size=1000)[: stop - i]
        noise = generator.standard_normal((1000, 2))[: stop - i]
        points[i:stop] = mixture.means[modes[i:stop]] + mixture.deviation * noise
    return points, modes

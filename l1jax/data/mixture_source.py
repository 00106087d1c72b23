"""Points drawn from mixtures of Gaussians in the plane, on which mode collapse is measured."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32

from l1jax import config
from l1jax.data.source import Source, fingerprint

_BLOCK = 1000  # points that share one random stream


class Mixture(NamedTuple):
    """Equally likely normal distributions that share one standard deviation."""

    means: Float32[np.ndarray, "modes 2"]
    deviation: float


def ring() -> Mixture:
    """Make 8 modes on the unit circle with σ = 0.01.

    Source: Lin et al., "PacGAN", NeurIPS 2018, section 4.1.
    """
    angle = np.arange(8) * (2 * np.pi / 8)
    return Mixture(np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32), 0.01)


def grid() -> Mixture:
    """Make 25 modes at {-4, -2, 0, 2, 4}² with σ = 0.05.

    Source: Lin et al., "PacGAN", NeurIPS 2018, section 4.1.
    """
    side = np.arange(-4, 5, 2, dtype=np.float32)
    return Mixture(np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1).reshape(-1, 2), 0.05)


MIXTURES = {"ring": ring, "grid": grid}


def draw_points(
    mixture: Mixture, count: int, seed: int
) -> tuple[Float32[np.ndarray, "count 2"], Int32[np.ndarray, " count"]]:
    """Draw points and the mode that each belongs to.

    The same seed gives the same points; a larger `count` only adds points at the end.

    Args:
        mixture: the distribution to draw from.
        count: number of points.
        seed: seed of the draw.
    """
    points = np.empty((count, 2), np.float32)
    modes = np.empty(count, np.int32)
    for start in range(0, count, _BLOCK):
        generator = np.random.Generator(np.random.Philox(key=(seed << 32) + start))
        stop = min(start + _BLOCK, count)
        # Every block is drawn in full, so that its first points do not depend on `count`.
        modes[start:stop] = generator.integers(len(mixture.means), size=_BLOCK)[: stop - start]
        noise = generator.standard_normal((_BLOCK, 2))[: stop - start]
        points[start:stop] = mixture.means[modes[start:stop]] + mixture.deviation * noise
    return points, modes


def open_mixture(data: config.MixtureData) -> Source:
    """Open drawn points as images of one pixel whose two channels are the coordinates."""
    points, modes = draw_points(MIXTURES[data.shape](), data.count, data.draw_seed)
    points = points.reshape(-1, 1, 1, 2)
    return Source(
        length=data.count,
        image_shape=(1, 1, 2),
        example=points.__getitem__,
        fingerprint=fingerprint("mixture", data.shape, data.count, data.draw_seed),
        labels=modes,
        dtype=np.float32,
        gather=points.__getitem__,
    )

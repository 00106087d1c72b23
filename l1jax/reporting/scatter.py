"""Plots of points in the plane."""

import io

import numpy as np
from jaxtyping import Float32, Shaped
from PIL import Image

from l1jax.reporting.grid import image_grid


def sample_picture(
    samples: Shaped[np.ndarray, "count height width channels"],
    real: Shaped[np.ndarray, "n height width channels"] | None = None,
    columns: int = 0,
) -> Image.Image:
    """A grid of images, or a plot of points over the real ones.

    Args:
        samples: uint8 images, or float32 points as images of one pixel with two channels.
        real: what they are compared with; drawn behind points, not used for images.
        columns: images per row; 0 makes the grid as square as it can be.
    """
    if samples.dtype == np.uint8:
        return image_grid(samples, columns)
    return point_plot(samples.reshape(-1, 2), None if real is None else real.reshape(-1, 2))


def point_plot(
    points: Float32[np.ndarray, "count 2"], real: Float32[np.ndarray, "n 2"] | None = None
) -> Image.Image:
    """Points in blue over the real ones in grey, on equal axes that hold the real ones."""
    from matplotlib.backends.backend_agg import (
        FigureCanvasAgg,
    )  # half a second that image runs do not need
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 6), layout="constrained")
    axes = FigureCanvasAgg(figure).figure.add_subplot(aspect="equal", xlabel="x", ylabel="y")
    if real is not None and len(real):
        axes.scatter(*real.T, s=30, color="0.8", linewidths=0, label=f"real ({len(real):,})")
        middle = (real.min(0) + real.max(0)) / 2
        reach = 0.65 * max((real.max(0) - real.min(0)).max(), 1e-6)
        axes.set(
            xlim=(middle[0] - reach, middle[0] + reach), ylim=(middle[1] - reach, middle[1] + reach)
        )
    axes.scatter(
        *points.T, s=3, color="tab:blue", linewidths=0, label=f"generated ({len(points):,})"
    )
    axes.legend(loc="upper right", markerscale=2)
    written = io.BytesIO()
    figure.savefig(written, format="png", dpi=100)
    return Image.open(written)

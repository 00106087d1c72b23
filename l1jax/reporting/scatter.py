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
    """Draw samples as a grid of images, or as a plot of points over the real ones.

    Args:
        samples: uint8 images, or float32 points as images of one pixel with two channels.
        real: what points are compared with, which is drawn behind them. Not used for images.
        columns: images per row; 0 makes the grid as square as it can be.
    """
    if samples.dtype == np.uint8:
        return image_grid(samples, columns)
    real_points = None if real is None else real.reshape(-1, 2)
    return point_plot(samples.reshape(-1, 2), real_points)


def point_plot(
    points: Float32[np.ndarray, "count 2"], real: Float32[np.ndarray, "n 2"] | None = None
) -> Image.Image:
    """Plot points in blue over the real ones in grey, on equal axes that hold the real ones."""
    # Matplotlib takes half a second to import, which runs on images do not need.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 6), layout="constrained")
    axes = FigureCanvasAgg(figure).figure.add_subplot(aspect="equal", xlabel="x", ylabel="y")
    if real is not None and len(real):
        axes.scatter(*real.T, s=30, color="0.8", linewidths=0, label=f"real ({len(real):,})")
        low = real.min(axis=0)
        high = real.max(axis=0)
        center_x, center_y = (low + high) / 2
        half_width = 0.65 * max((high - low).max(), 1e-6)
        axes.set(
            xlim=(center_x - half_width, center_x + half_width),
            ylim=(center_y - half_width, center_y + half_width),
        )
    label = f"generated ({len(points):,})"
    axes.scatter(*points.T, s=3, color="tab:blue", linewidths=0, label=label)
    axes.legend(loc="upper right", markerscale=2)
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=100)
    return Image.open(png)

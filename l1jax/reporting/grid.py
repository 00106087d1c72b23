"""Grids of sample images."""

import math
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from l1jax.files import atomic_write

MIN_CELL_SIDE = 64  # pixels; smaller images are enlarged to at least this


def image_grid(
    images: UInt8[np.ndarray, "count height width channels"], columns: int = 0
) -> Image.Image:
    """Lay images out in rows with a gap between them, and enlarge small images smoothly.

    Args:
        images: images with 1 (grey) or 3 (colour) channels.
        columns: images per row; 0 makes the grid as square as it can be.

    Raises:
        ValueError: if there is no image, the channels are neither 1 nor 3, or `columns` is
        negative.
    """
    count, height, width, channels = images.shape
    if count < 1 or channels not in (1, 3):
        raise ValueError(
            f"`images` (of shape {images.shape}) must be at least one image with 1 or 3 channels."
        )
    if columns < 0:
        raise ValueError(f"`columns` (={columns}) must be at least 0.")
    columns = min(columns or math.ceil(math.sqrt(count)), count)
    enlargement = max(1, math.ceil(MIN_CELL_SIDE / max(height, width)))
    cell_width = width * enlargement
    cell_height = height * enlargement
    gap = max(2, cell_width // 16)
    rows = math.ceil(count / columns)
    size = (gap + columns * (cell_width + gap), gap + rows * (cell_height + gap))
    mode = "L" if channels == 1 else "RGB"
    grid = Image.new(mode, size, "white")
    for i, image in enumerate(images):
        cell = to_pillow(image)
        if enlargement > 1:
            cell = cell.resize((cell_width, cell_height), Image.Resampling.BICUBIC)
        row, column = divmod(i, columns)
        left = gap + column * (cell_width + gap)
        top = gap + row * (cell_height + gap)
        grid.paste(cell, (left, top))
    return grid


def to_pillow(image: UInt8[np.ndarray, "height width channels"]) -> Image.Image:
    """Convert a grey or colour image to Pillow's."""
    if image.shape[-1] == 1:
        return Image.fromarray(image[..., 0])
    return Image.fromarray(image)


def save_image(image: Image.Image, path: Path) -> None:
    """Write a PNG, which appears whole or not at all."""
    with atomic_write(path) as partial:
        image.save(partial, format="PNG")

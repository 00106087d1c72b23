"""Pictures of rows of images that change evenly, still or moving."""

import math
from collections.abc import Sequence
from pathlib import Path

from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image, ImageDraw, ImageFont

from l1jax.files import atomic_write
from l1jax.reporting.grid import image_grid

MILLISECONDS = 50  # that a frame is shown
FONT_SIZE = 16  # pixels
TITLE_HEIGHT = 22  # pixels
ANIMATIONS = {".gif": "GIF", ".webp": "WebP"}


def rows_picture(
    images: UInt8[ndarray, "count height width channels"], frames: int, titles: Sequence[str] = ()
) -> Image.Image:
    """Lay rows of images out below each other, in as many groups as there are titles.

    Args:
        images: row after row.
        frames: images in a row.
        titles: of the groups, which have equally many rows, in ASCII; without any there is one
            group.

    Raises:
        ValueError: if the channels are neither 1 nor 3.
    """
    if not titles:
        return image_grid(images, frames)
    count = len(images) // len(titles)
    grids = [image_grid(images[i * count : (i + 1) * count], frames) for i in range(len(titles))]
    font = ImageFont.load_default(FONT_SIZE)
    gap = (TITLE_HEIGHT - FONT_SIZE) // 2
    width, height = grids[0].size
    widest = math.ceil(max(font.getlength(title) for title in titles)) + 4 * gap
    size = (max(width, widest), len(grids) * (height + TITLE_HEIGHT))
    picture = Image.new(grids[0].mode, size, "white")
    draw = ImageDraw.Draw(picture)
    for i, (title, grid) in enumerate(zip(titles, grids, strict=True)):
        top = i * (height + TITLE_HEIGHT)
        draw.text((2 * gap, top + gap), title, fill="black", font=font)
        picture.paste(grid, (0, top + TITLE_HEIGHT))
    return picture


def save_animation(
    images: UInt8[ndarray, "count height width channels"], frames: int, columns: int, path: Path
) -> None:
    """Show all rows side by side as images that move to the end of their row and back, for ever.

    Args:
        images: row after row.
        frames: images in a row, at least 2.
        columns: rows that are shown beside each other; 0 for a grid as square as it can be.
        path: of the .gif or .webp, which appears whole or not at all.

    Raises:
        ValueError: if the channels are neither 1 nor 3.
    """
    pictures = [image_grid(images[i::frames], columns) for i in range(frames)]
    pictures += pictures[-2:0:-1]
    options = {"lossless": True} if path.suffix.lower() == ".webp" else {"disposal": 1}
    with atomic_write(path) as partial:
        pictures[0].save(
            partial,
            format=ANIMATIONS[path.suffix.lower()],
            save_all=True,
            append_images=pictures[1:],
            duration=MILLISECONDS,
            loop=0,
            **options,
        )

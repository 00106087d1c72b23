import os

import numpy as np
import pytest
from PIL import Image

from l1jax.reporting import image_grid, save_image

RNG = np.random.default_rng(0)


def cells(grid, size, gap, columns, rows):
    """Cut a grid into its cells, row by row, and check that the rest is white."""
    pixels = np.asarray(grid).copy()
    assert pixels.shape[:2] == (gap + rows * (size + gap), gap + columns * (size + gap))
    found = []
    for row in range(rows):
        for column in range(columns):
            top, left = gap + row * (size + gap), gap + column * (size + gap)
            found.append(pixels[top : top + size, left : left + size].copy())
            pixels[top : top + size, left : left + size] = 255
    assert (pixels == 255).all()
    return found


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("count", "columns", "rows"), [(1, 1, 1), (4, 2, 2), (5, 3, 2), (7, 3, 3), (64, 8, 8)]
)
def test_images_lie_in_rows_unchanged_with_a_gap_between(count, columns, rows, channels):
    images = RNG.integers(0, 256, (count, 64, 64, channels), dtype=np.uint8)
    grid = image_grid(images)
    assert grid.mode == ("L" if channels == 1 else "RGB")
    found = cells(grid, 64, 4, columns, rows)
    for cell, image in zip(found, images, strict=False):
        np.testing.assert_array_equal(cell.reshape(image.shape), image)
    assert all((cell == 255).all() for cell in found[count:])


@pytest.mark.parametrize(("columns", "rows"), [(1, 6), (2, 3), (4, 2), (6, 1)])
def test_columns_can_be_chosen(columns, rows):
    images = RNG.integers(0, 256, (6, 64, 64, 1), dtype=np.uint8)
    for cell, image in zip(
        cells(image_grid(images, columns), 64, 4, columns, rows), images, strict=False
    ):
        np.testing.assert_array_equal(cell, image[..., 0])


def test_more_columns_than_images_leave_no_empty_ones():
    assert image_grid(np.zeros((3, 64, 64, 1), np.uint8), 100).size == (4 + 3 * 68, 4 + 68)


@pytest.mark.parametrize(
    ("size", "cell"), [(8, 64), (28, 84), (32, 64), (48, 96), (63, 126), (64, 64), (100, 100)]
)
def test_small_images_are_enlarged_by_whole_factors_to_64_pixels_or_more(size, cell):
    gap = max(2, cell // 16)
    assert image_grid(np.zeros((2, size, size, 3), np.uint8)).size == (
        gap + 2 * (cell + gap),
        gap + cell + gap,
    )


def test_small_images_are_enlarged_smoothly():
    ramp = np.repeat(np.linspace(0, 255, 8).astype(np.uint8)[None], 8, 0)[..., None]
    (cell,) = cells(image_grid(ramp[None]), 64, 4, 1, 1)
    middle = cell[32, 8:56].astype(int)  # at the rim there is less to interpolate
    places = (np.arange(8, 56) + 0.5) / 8 - 0.5
    np.testing.assert_allclose(middle, np.interp(places, range(8), ramp[0, :, 0]), atol=4)
    assert np.diff(middle).max() < 10  # blocks would jump by 36


def test_pictures_need_not_be_square():
    assert image_grid(np.zeros((1, 16, 32, 1), np.uint8)).size == (4 + 64 + 4, 4 + 32 + 4)


@pytest.mark.parametrize("shape", [(0, 8, 8, 1), (1, 8, 8, 2), (1, 8, 8, 4)])
def test_what_is_no_picture_is_refused(shape):
    with pytest.raises(ValueError, match="must be at least one image with 1 or 3 channels"):
        image_grid(np.zeros(shape, np.uint8))


def test_negative_columns_are_refused():
    with pytest.raises(ValueError, match=r"`columns` \(=-1\) must be at least 0"):
        image_grid(np.zeros((1, 8, 8, 1), np.uint8), -1)


def test_a_picture_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "grid.png"
    old, new = (Image.fromarray(np.full((4, 4), value, np.uint8)) for value in (1, 2))
    save_image(old, path)
    assert [p.name for p in tmp_path.iterdir()] == ["grid.png"]

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(OSError, match="No space"):
            save_image(new, path)
    with Image.open(path) as kept:
        np.testing.assert_array_equal(kept, 1)
    save_image(new, path)
    with Image.open(path) as written:
        np.testing.assert_array_equal(written, 2)
        assert written.format == "PNG"

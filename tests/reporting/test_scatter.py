import numpy as np

from l1jax.reporting import image_grid, point_plot, sample_picture


def blue(picture):
    """Pixels of the generated points' colour, as x and y from the top left, the legend left out."""
    r, g, b = np.moveaxis(np.asarray(picture.convert("RGB")).astype(int), -1, 0)
    y, x = np.nonzero((b > 150) & (b - r > 80) & (g < 170))
    kept = y > 120
    return np.stack([x[kept], y[kept]], 1)


def test_points_lie_where_the_axes_say():
    corners = np.float32([[-4, -4], [-4, 4], [4, -4], [4, 4]])
    places = [
        blue(point_plot(np.float32([point]), corners)).mean(0)
        for point in [(0, 0), (2, 0), (0, -2)]
    ]
    right, down = places[1] - places[0], places[2] - places[0]
    np.testing.assert_allclose(right[1], 0, atol=1)
    np.testing.assert_allclose(down[0], 0, atol=1)
    assert right[0] > 50
    np.testing.assert_allclose(right[0], down[1], rtol=0.03)  # equal axes


def test_points_far_from_the_real_ones_do_not_move_the_axes():
    corners = np.float32([[-4, -4], [4, 4]])
    alone, beside = (
        blue(point_plot(np.float32(points), corners)) for points in ([(0, 0)], [(0, 0), (900, 0)])
    )
    np.testing.assert_allclose(beside.mean(0), alone.mean(0), atol=0.5)


def test_points_alone_are_plotted_and_images_are_laid_out():
    assert len(blue(sample_picture(np.float32([[[[0, 0]]], [[[1, 1]]], [[[0, 1]]]]))))
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), np.uint8)
    np.testing.assert_array_equal(sample_picture(images, images, 3), image_grid(images, 3))

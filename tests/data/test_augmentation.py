"""Augmentations, compared with the same changes in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from l1jax.data.affine import (
    NUM_COLOUR_MAPS,
    NUM_POSITION_MAPS,
    colour_maps,
    position_maps,
    recolour,
    warp,
)
from l1jax.data.augmentation import (
    TRANSFORMATIONS,
    adapt_probability,
    adaptive_augmentation,
    brightness,
    contrast,
    cutout,
    differentiable_augmentation,
    flip,
    saturation,
    translation,
)

RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(-1, 1, (6, 8, 12, 3)).astype(np.float32)
AUGMENTATIONS = {
    "diffaugment": differentiable_augmentation("color", "translation", "cutout"),
    "flip": differentiable_augmentation("flip"),
    "ada": adaptive_augmentation(),
}


def numbers(*values):
    """The same numbers for every image."""
    return jnp.broadcast_to(jnp.asarray(values, jnp.float32), (len(IMAGES), len(values)))


def test_transformations_are_their_formulas():
    x = jnp.asarray(IMAGES)
    u = numbers(0.75, 0.1)
    mean = IMAGES.mean((1, 2, 3), keepdims=True)
    np.testing.assert_allclose(brightness(x, u), IMAGES + 0.25, rtol=1e-6)
    np.testing.assert_allclose(contrast(x, u), mean + 1.25 * (IMAGES - mean), atol=1e-6)
    grey = IMAGES.mean(3, keepdims=True)
    np.testing.assert_allclose(saturation(x, u), grey + 1.5 * (IMAGES - grey), atol=1e-6)
    np.testing.assert_array_equal(flip(x, u), IMAGES[:, :, ::-1])
    np.testing.assert_array_equal(flip(x, numbers(0.2)), IMAGES)


@pytest.mark.parametrize(
    ("u", "rows", "columns"), [((0.0, 0.999), -1, 2), ((0.5, 0.5), 0, 0), ((0.999, 0.0), 1, -2)]
)
def test_translation_moves_up_to_an_eighth_and_lets_zeros_in(u, rows, columns):
    padded = np.pad(IMAGES, ((0, 0), (2, 2), (3, 3), (0, 0)))
    expected = padded[:, 2 - rows : 10 - rows, 3 - columns : 15 - columns]
    np.testing.assert_array_equal(translation(jnp.asarray(IMAGES), numbers(*u)), expected)


def test_cutout_covers_half_of_each_side_with_its_centre_anywhere():
    u = jnp.asarray(RNG.uniform(size=(500, 2)), jnp.float32)
    ones = jnp.ones((500, 8, 12, 1))
    covered = np.asarray(cutout(ones, u))[..., 0] == 0
    rows = covered.any(2).sum(1)
    columns = covered.any(1).sum(1)
    np.testing.assert_array_equal(covered.sum((1, 2)), rows * columns)  # a rectangle
    assert set(rows) == {2, 3, 4}  # less where the border cuts it
    assert set(columns) == {3, 4, 5, 6}
    assert covered.any(0).all()


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_images_stay_with_probability_0_and_change_with_1(name):
    augmentation = AUGMENTATIONS[name]
    u = augmentation.draw(jax.random.key(0), len(IMAGES))
    apply = jax.jit(augmentation.apply)
    np.testing.assert_allclose(apply(jnp.asarray(IMAGES), u, 0.0), IMAGES, atol=1e-5)
    assert np.abs(apply(jnp.asarray(IMAGES), u, 1.0) - IMAGES).max() > 0.1


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_an_image_depends_on_no_other_images_numbers(name):
    augmentation = AUGMENTATIONS[name]
    u = augmentation.draw(jax.random.key(1), len(IMAGES))
    apply = jax.jit(augmentation.apply)
    whole = apply(jnp.asarray(IMAGES), u, 1.0)
    halves = [apply(jnp.asarray(IMAGES[i : i + 3]), u[i : i + 3], 1.0) for i in (0, 3)]
    np.testing.assert_allclose(np.concatenate(halves), whole, atol=1e-5)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_gradients_reach_the_images(name):
    augmentation = AUGMENTATIONS[name]
    u = augmentation.draw(jax.random.key(2), len(IMAGES))

    def total(x):
        return jnp.sum(jnp.square(augmentation.apply(x, u, 1.0)))

    x = jnp.asarray(IMAGES)
    direction = jnp.asarray(RNG.normal(size=IMAGES.shape), jnp.float32)
    slope = jnp.vdot(jax.jit(jax.grad(total))(x), direction)
    above = jax.jit(total)(x + 1e-2 * direction)
    below = jax.jit(total)(x - 1e-2 * direction)
    np.testing.assert_allclose(slope, (above - below) / 2e-2, rtol=2e-2)
    assert np.isfinite(slope)


@pytest.mark.slow
def test_images_in_another_range_are_augmented_alike():
    for make in (
        lambda r: differentiable_augmentation("color", "translation", "cutout", image_range=r),
        adaptive_augmentation,
    ):
        augmentation = make((0.0, 1.0))
        u = augmentation.draw(jax.random.key(3), len(IMAGES))
        expected = make((-1.0, 1.0)).apply(jnp.asarray(IMAGES), u, 1.0)
        augmented = augmentation.apply(jnp.asarray((IMAGES + 1) / 2), u, 1.0)
        np.testing.assert_allclose(2 * augmented - 1, expected, atol=1e-5)


def test_each_transformation_is_used_with_the_given_probability():
    u = differentiable_augmentation("flip").draw(jax.random.key(0), 4000)
    image = jnp.broadcast_to(jnp.asarray([-1.0, 1.0]).reshape(1, 1, 2, 1), (4000, 1, 2, 1))
    flipped = np.mean(differentiable_augmentation("flip").apply(image, u, 0.6)[:, 0, 0, 0] == 1)
    assert abs(flipped - 0.3) < 4 * np.sqrt(0.21 / 4000)


places = jax.jit(position_maps, static_argnums=(2, 3))
colours = jax.jit(colour_maps)
warped = jax.jit(warp)
recoloured = jax.jit(recolour)
NORMAL_1 = 0.8413447  # the uniform number that becomes 1 in the standard normal distribution


def one_gate_open(count, place, *values):
    """Uniform numbers that use one of `count` maps, with these values."""
    u = np.full((1, count, 3), 0.99, np.float32)
    u[0, place] = [0.0, *values, *[0.5] * (2 - len(values))]
    return jnp.asarray(u)


@pytest.mark.parametrize(
    ("place", "values", "expected"),
    [
        (0, [0.9], lambda x: x[:, :, ::-1]),
        (1, [0.3], lambda x: np.rot90(x, 1, (1, 2))),
        (1, [0.6], lambda x: np.rot90(x, 2, (1, 2))),
        (2, [0.5, 1.0], lambda x: np.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0)), "symmetric")[:, 2:]),
        (4, [0.75], lambda x: np.rot90(x, 1, (1, 2))),
        (6, [1.0], lambda x: np.rot90(x, 2, (1, 2))),
    ],
)
def test_positions_move_as_numpy_moves_them(place, values, expected):
    x = IMAGES[:1, :, :8]
    maps = places(one_gate_open(NUM_POSITION_MAPS, place, *values), 0.5, 8, 8)
    np.testing.assert_allclose(warped(jnp.asarray(x), maps), expected(x), atol=1e-4)


@pytest.mark.slow
def test_one_rotation_or_the_other_happens_with_the_probability():
    u = np.full((4000, NUM_POSITION_MAPS, 3), 0.99, np.float32)
    u[:, [4, 6], 0], u[:, [4, 6], 1] = RNG.uniform(size=(2, 4000, 2))
    rotated = np.mean(np.abs(places(jnp.asarray(u), 0.75, 8, 8)[:, 0, 0] - 1) > 1e-6)
    assert abs(rotated - 0.75) < 4 * np.sqrt(0.75 * 0.25 / 4000)


def test_scaling_enlarges_about_the_centre_and_stretching_keeps_the_area():
    np.testing.assert_allclose(
        places(one_gate_open(NUM_POSITION_MAPS, 3, NORMAL_1), 0.5, 8, 8)[0],
        np.diag([2**-0.2, 2**-0.2, 1]),
        atol=1e-4,
    )
    stretched = places(one_gate_open(NUM_POSITION_MAPS, 5, NORMAL_1), 0.5, 8, 8)[0]
    np.testing.assert_allclose(stretched, np.diag([2**-0.2, 2**0.2, 1]), atol=1e-4)


def test_colours_change_as_they_should():
    x = IMAGES[:1]
    grey = x.mean(3, keepdims=True)

    def changed(place, value):
        maps = colours(one_gate_open(NUM_COLOUR_MAPS, place, value), 0.5)
        return np.asarray(recoloured(jnp.asarray(x), maps))

    np.testing.assert_allclose(changed(0, NORMAL_1), x + 0.2, atol=1e-4)
    np.testing.assert_allclose(changed(1, NORMAL_1), x * np.sqrt(2), atol=1e-4)
    # The luminance changes its sign, and nothing else.
    np.testing.assert_allclose(changed(2, 0.9), x - 2 * grey, atol=1e-5)
    np.testing.assert_allclose(changed(4, NORMAL_1), grey + 2 * (x - grey), atol=1e-4)
    third = changed(3, 0.5 + 1 / 3)  # a third of a turn of hue exchanges the colours in a circle
    np.testing.assert_allclose(third, x[..., [2, 0, 1]], atol=1e-5)


def test_grey_images_stay_grey():
    x = IMAGES[:, :, :, :1]
    u = jnp.asarray(RNG.uniform(size=(len(x), NUM_COLOUR_MAPS, 3)), jnp.float32)
    coloured = recoloured(jnp.repeat(jnp.asarray(x), 3, 3), colours(u, 1.0))
    np.testing.assert_allclose(
        recoloured(jnp.asarray(x), colours(u, 1.0)), coloured[..., :1], atol=1e-5
    )
    with pytest.raises(ValueError, match=r"`images` \(channels=2\) must have 1 or 3 channels"):
        recolour(jnp.zeros((6, 2, 2, 2)), colours(u, 1.0))


def test_the_probability_rises_with_overfitting_and_falls_without():
    p = jnp.asarray(0.5)
    np.testing.assert_allclose(adapt_probability(p, jnp.asarray(0.9), 5000), 0.51, rtol=1e-6)
    np.testing.assert_allclose(adapt_probability(p, jnp.asarray(0.1), 5000), 0.49, rtol=1e-6)
    assert adapt_probability(jnp.asarray(0.0), jnp.asarray(0.1), 5000) == 0
    assert adapt_probability(jnp.asarray(1.0), jnp.asarray(0.9), 5000) == 1


def test_an_unknown_name_is_an_error():
    with pytest.raises(
        ValueError, match=rf"`names` \(='blur'\) must be of {', '.join(TRANSFORMATIONS)}"
    ):
        differentiable_augmentation("flip", "blur")

"""Rows of latents: what is truncated, in which order, and of which class."""

import numpy as np
import pytest
from generators import generator

from l1jax.training.latent_rows import (
    Choice,
    class_rows,
    direction_rows,
    independent_latents,
    interpolation_rows,
)

OWN = generator("mlp", 3).generator
PLAIN = Choice(seed=2, count=4)
NEAR = PLAIN._replace(truncation=0.5)


@pytest.mark.slow  # compiles the truncated normal
def test_every_latent_of_a_way_is_truncated_and_keeps_its_order():
    free = np.asarray(interpolation_rows(OWN, PLAIN, 3).latents)
    near = np.asarray(interpolation_rows(OWN, NEAR, 3).latents)
    assert np.abs(near).max() <= 0.5 < np.abs(free).max()
    np.testing.assert_array_equal(np.argsort(near, axis=None), np.argsort(free, axis=None))


@pytest.mark.slow
def test_latents_are_truncated_before_they_are_moved():
    steps = np.array([-2.0, 0.0, 2.0])
    rows = direction_rows(OWN, NEAR, np.eye(6)[:2], steps).latents.reshape(2, 4, 3, 6)
    middle = np.asarray(independent_latents(OWN, NEAR).latents)
    for number in range(2):
        np.testing.assert_array_equal(rows[number, :, 1], middle)
        moved = np.asarray(rows[number, :, 2] - middle)
        np.testing.assert_allclose(moved, np.tile(2 * np.eye(6)[number], (4, 1)), atol=1e-6)


def test_a_row_of_classes_has_one_latent_and_begins_with_its_class():
    chosen = class_rows(OWN, PLAIN, 1, 3)
    latents = np.asarray(independent_latents(OWN, PLAIN).latents)
    np.testing.assert_array_equal(chosen.latents, np.repeat(latents, 3, axis=0))
    weights = np.asarray(chosen.labels).reshape(4, 3, 3)
    np.testing.assert_array_equal(weights[:, 0], np.eye(3)[[0, 1, 2, 0]])
    np.testing.assert_array_equal(weights[:, 1], (weights[:, 0] + np.eye(3)[1]) / 2)
    np.testing.assert_array_equal(weights[:, 2], np.eye(3)[[1] * 4])


def test_a_row_has_one_class_and_a_latent_keeps_it_along_every_direction():
    ways = interpolation_rows(OWN, PLAIN, 2).labels
    np.testing.assert_array_equal(ways, [0, 0, 1, 1, 2, 2, 0, 0])
    steps = np.array([-1.0, 1.0])
    along = direction_rows(OWN, PLAIN, np.eye(6)[:2], steps).labels
    np.testing.assert_array_equal(along, np.tile([0, 0, 1, 1, 2, 2, 0, 0], 2))
    chosen = direction_rows(OWN, PLAIN._replace(label=2), np.eye(6)[:1], steps).labels
    np.testing.assert_array_equal(chosen, [2] * 8)
    assert independent_latents(generator("mlp").generator, PLAIN).labels is None

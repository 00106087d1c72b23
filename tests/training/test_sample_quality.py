"""What training judges its averaged generator by."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from l1jax.evaluation import frechet_distance
from l1jax.models import mlp_gan
from l1jax.training.keys import named_seed_key
from l1jax.training.sample_quality import make_checkpoint_metric, make_evaluation_metrics
from l1jax.training.sampling import draw_latents, make_sampler
from l1jax.training.state import Average

POINTS = mlp_gan((1, 1, 2), 2, (8,), (8,), output="linear")
IMAGES = mlp_gan((8, 8, 1), 2, (8,), (8,))
RNG = np.random.default_rng(0)


def average_of(gan):
    return Average(*jax.jit(gan.generator.network.init)(jax.random.key(0)))


def test_points_are_judged_as_they_are():
    real = RNG.normal(size=(100, 1, 1, 2)).astype(np.float32)
    found = make_evaluation_metrics(POINTS.generator, real, 3)(average_of(POINTS))
    latents = draw_latents(POINTS.generator, named_seed_key(3, "evaluated"), 100)
    drawn = make_sampler(POINTS.generator)(average_of(POINTS), latents)
    expected = frechet_distance(real.reshape(-1, 2), drawn.reshape(-1, 2))
    assert found["evaluation/frechet_distance"] == pytest.approx(expected)
    assert set(found) == {
        f"evaluation/{n}"
        for n in ("frechet_distance", "kernel_distance", "precision", "recall", "coverage")
    }


def test_images_of_the_generator_itself_are_nearer_than_others():
    average = average_of(IMAGES)
    own = make_sampler(IMAGES.generator)(
        average, draw_latents(IMAGES.generator, jax.random.key(5), 64)
    )
    other = RNG.integers(0, 256, own.shape, np.uint8)
    distances = [
        make_evaluation_metrics(IMAGES.generator, real, 0)(average)["evaluation/frechet_distance"]
        for real in (own, other)
    ]
    assert distances[0] < 0.1 * distances[1]
    assert make_checkpoint_metric(IMAGES.generator, own, 0)(average) < make_checkpoint_metric(
        IMAGES.generator, other, 0
    )(average)


def test_there_is_no_score_of_a_handful_or_of_what_is_not_finite():
    real = RNG.normal(size=(100, 1, 1, 2)).astype(np.float32)
    assert make_evaluation_metrics(POINTS.generator, real[:15], 0)(average_of(POINTS)) == {}
    broken = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), average_of(POINTS))
    assert make_evaluation_metrics(POINTS.generator, real, 0)(broken) == {}
    assert make_checkpoint_metric(POINTS.generator, real, 0)(broken) == np.inf

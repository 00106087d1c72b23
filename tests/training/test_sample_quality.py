"""What training judges its averaged generator by."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from l1jax.evaluation import frechet_distance
from l1jax.evaluation.classifier import Classifier, Network
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


@pytest.mark.slow
def test_images_are_seen_through_a_classifier_too_which_is_opened_once():
    parameters = Network(3, 6).init(jax.random.key(1), jnp.zeros((1, 8, 8, 1)), False)["params"]
    stored = jax.tree.map(np.asarray, parameters)
    classifier = Classifier(stored, 3, (8, 8, 1), 0.75, "", 40, 0.4)
    opened = []

    def open_classifier():
        opened.append(1)
        return classifier

    real = RNG.integers(0, 256, (40, 8, 8, 1), np.uint8)
    average = average_of(IMAGES)
    evaluate = make_evaluation_metrics(IMAGES.generator, real, 3, open_classifier)
    assert opened == []  # a run that is never evaluated trains no classifier
    found = evaluate(average)
    assert found == evaluate(average)
    assert opened == [1]
    latents = draw_latents(IMAGES.generator, named_seed_key(3, "evaluated"), 40)
    drawn = make_sampler(IMAGES.generator)(average, latents)
    network = Network(3, 6)
    features = [
        network.apply({"params": parameters}, jnp.asarray(images / 127.5 - 1), False)[0]
        for images in (real, drawn)
    ]
    expected = frechet_distance(*features)
    assert found["evaluation/classifier/frechet_distance"] == pytest.approx(expected, rel=1e-4)
    assert found["evaluation/classifier/held_out_accuracy"] == 0.75
    plain = make_evaluation_metrics(IMAGES.generator, real, 3)(average)
    assert {name: found[name] for name in plain} == plain
    larger = classifier._replace(shape=(9, 9, 1))
    assert make_evaluation_metrics(IMAGES.generator, real, 3, lambda: larger)(average) == plain


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

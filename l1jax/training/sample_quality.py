"""How good the averaged generator is: one number at each checkpoint, more every few checkpoints."""

import math
from collections.abc import Callable
from functools import cache, partial
from typing import TypeAlias

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Shaped

from l1jax.evaluation import kernel_distance
from l1jax.evaluation.classifier import Classifier, classifier_features
from l1jax.evaluation.features import Extracted, extract_all, random_features
from l1jax.evaluation.scores import feature_scores, reference_of
from l1jax.models import Generator
from l1jax.training.keys import named_seed_key
from l1jax.training.sampling import draw_latents, make_sampler
from l1jax.training.state import Average

Images = Shaped[np.ndarray, "_n _height _width _channels"]
NUM_METRIC_IMAGES = 512  # real and generated each, for the kernel distance of a checkpoint
NUM_EVALUATION_IMAGES = 2_000  # real and generated each, for an evaluation
MIN_EVALUATION_IMAGES = 16  # that precision and recall need
OpenClassifier: TypeAlias = Callable[[], Classifier | None]
Score: TypeAlias = Callable[[Images], dict[str, float]]
SCORES = ("frechet_distance", "kernel_distance", "precision", "recall", "coverage")


def make_checkpoint_metric(
    generator: Generator, real: Images, seed: int
) -> Callable[[Average], float]:
    """Build average → kernel distance on the pixels of 512 images, from the same latents each time.

    Args:
        generator: the network.
        real: images to compare with.
        seed: of the latents.
    """
    real = real[:NUM_METRIC_IMAGES]
    sampler = make_sampler(generator)
    latents = draw_latents(generator, named_seed_key(seed, "judged"), len(real))
    return lambda average: pixel_kernel_distance(sampler(average, latents), real)


def make_evaluation_metrics(
    generator: Generator,
    real: Images,
    seed: int,
    open_classifier: OpenClassifier = lambda: None,
) -> Callable[[Average], dict[str, float]]:
    """Build average → scores against the real images, as `l1jax.evaluate` computes them.

    The features are those of fixed random convolutions, and under `evaluation/classifier/` those of
    a classifier; points are their own features. There are no scores if there are fewer than 16 real
    images or if a generated one is not finite.

    Args:
        generator: the network.
        real: images to compare with.
        seed: of the latents and of the scores.
        open_classifier: () → classifier of the training images, or None. It is called at the first
            evaluation, because it may have to be trained.
    """
    if len(real) < MIN_EVALUATION_IMAGES:
        return lambda average: {}
    sampler = make_sampler(generator)
    latents = draw_latents(generator, named_seed_key(seed, "evaluated"), len(real))

    def extract_points(points: Images) -> Extracted:
        return Extracted(points.reshape(len(points), -1))

    extract = extract_points
    if generator.image_range is not None:
        extract = partial(extract_all, random_features())
    score = _make_scores("evaluation", extract, real, seed)
    of_classifier = cache(partial(_make_classifier_scores, generator, real, seed, open_classifier))

    def evaluation_metrics(average: Average) -> dict[str, float]:
        generated = sampler(average, latents)
        if not np.all(np.isfinite(generated)):
            return {}
        return score(generated) | of_classifier()(generated)

    return evaluation_metrics


def _make_scores(
    prefix: str, extract: Callable[[Images], Extracted], real: Images, seed: int
) -> Score:
    """Build images → scores on some features, whose names begin with the prefix."""
    reference = reference_of(extract(real))

    def score(generated: Images) -> dict[str, float]:
        scores = feature_scores(reference, extract(generated), seed)
        return {f"{prefix}/{name}": scores[name] for name in SCORES}

    return score


def _make_classifier_scores(
    generator: Generator, real: Images, seed: int, open_classifier: OpenClassifier
) -> Score:
    """Build images → scores on a classifier's features, and its held-out accuracy.

    There are none without a classifier of such images.
    """
    classifier = open_classifier()
    if classifier is None or classifier.shape != generator.image_shape:
        return lambda generated: {}
    prefix = "evaluation/classifier"
    extract = partial(extract_all, classifier_features(classifier))
    score = _make_scores(prefix, extract, real, seed)
    accuracy = {f"{prefix}/held_out_accuracy": classifier.accuracy}
    return lambda generated: score(generated) | accuracy


def pixel_kernel_distance(a: Images, b: Images) -> float:
    """Return the kernel distance of two sets of images on their pixels in [-1, 1], or of points.

    It is infinite if a set has fewer than two images or one that is not finite.
    """
    if min(len(a), len(b)) < 2:
        return math.inf
    if not (np.all(np.isfinite(a)) and np.all(np.isfinite(b))):
        return math.inf
    distance = float(kernel_distance(_flatten(a), _flatten(b)))
    if not math.isfinite(distance):
        return math.inf
    return distance


def _flatten(images: Images) -> Float[jnp.ndarray, "_n features"]:
    flat = images.reshape(len(images), -1)
    if images.dtype == np.uint8:
        flat = flat.astype(np.float32) / 127.5 - 1
    return jnp.asarray(flat)

"""How good the averaged generator is, as training goes on: a small number at each checkpoint, more now and then."""

import math
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Shaped

from l1jax.evaluation import kernel_distance
from l1jax.evaluation.features import Extracted, extract_all, random_features
from l1jax.evaluation.scores import feature_scores
from l1jax.models import Generator
from l1jax.training.keys import named_seed_key
from l1jax.training.sampling import draw_latents, make_sampler
from l1jax.training.state import Average

Images = Shaped[np.ndarray, "_n _height _width _channels"]
NUM_METRIC_IMAGES = (
    512  # images, real and generated each, that the kernel distance of a checkpoint looks at
)
NUM_EVALUATION_IMAGES = 2_000  # images, real and generated each, of an evaluation
MIN_EVALUATION_IMAGES = 16  # images that precision and recall need
SCORES = ("frechet_distance", "kernel_distance", "precision", "recall", "coverage")


def make_checkpoint_metric(
    generator: Generator, real: Images, seed: int
) -> Callable[[Average], float]:
    """Build average → kernel distance on the pixels of 512 images, of the same latents each time."""
    real = real[:NUM_METRIC_IMAGES]
    sampler, latents = (
        make_sampler(generator),
        draw_latents(generator, named_seed_key(seed, "judged"), len(real)),
    )
    return lambda average: pixel_kernel_distance(sampler(average, latents), real)


def make_evaluation_metrics(
    generator: Generator, real: Images, seed: int
) -> Callable[[Average], dict[str, float]]:
    """Build average → scores against the real images, as `l1jax.evaluate` takes them on fixed random convolutions.

    Points are seen as they are. There are no scores of fewer than 16 real images.
    """
    if len(real) < MIN_EVALUATION_IMAGES:
        return lambda average: {}
    sampler, latents = (
        make_sampler(generator),
        draw_latents(generator, named_seed_key(seed, "evaluated"), len(real)),
    )
    features = None if generator.image_range is None else random_features()

    def see(images: Images) -> Extracted:
        return (
            Extracted(images.reshape(len(images), -1))
            if features is None
            else extract_all(features, images)
        )

    seen = see(real)

    def evaluate(average: Average) -> dict[str, float]:
        generated = sampler(average, latents)
        if not np.all(np.isfinite(generated)):
            return {}
        scores = feature_scores(seen, see(generated), seed)
        return {f"evaluation/{name}": scores[name] for name in SCORES}

    return evaluate


def pixel_kernel_distance(a: Images, b: Images) -> float:
    """Kernel distance of two sets of images on their pixels in [-1, 1], or of points; infinite where there is none."""
    if min(len(a), len(b)) < 2 or not (np.all(np.isfinite(a)) and np.all(np.isfinite(b))):
        return math.inf

    def features(images: Images) -> Float[np.ndarray, "_n features"]:
        flat = images.reshape(len(images), -1)
        return flat.astype(np.float32) / 127.5 - 1 if images.dtype == np.uint8 else flat

    distance = float(kernel_distance(jnp.asarray(features(a)), jnp.asarray(features(b))))
    return distance if math.isfinite(distance) else math.inf

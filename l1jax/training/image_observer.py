"""Grids, health and scores of a generator of images, or of points, in training."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Shaped

from l1jax.config import Sound
from l1jax.models import Generator
from l1jax.reporting import sample_picture
from l1jax.reporting.sound import make_sample_clip
from l1jax.training.keys import named_seed_key
from l1jax.training.log import Log
from l1jax.training.monitoring import make_health_metrics
from l1jax.training.observer import Observer, ShowSamples, no_evaluation
from l1jax.training.sample_quality import (
    NUM_METRIC_IMAGES,
    OpenClassifier,
    make_checkpoint_metric,
    make_evaluation_metrics,
)
from l1jax.training.sampling import draw_latents, grid_columns, make_sampler
from l1jax.training.state import Metrics, State

NUM_GRID_IMAGES = 64
NUM_PLOT_POINTS = 2_000
NUM_CLIPS = 8  # whose sound is made, unless the grid has a column for each class
NUM_HEALTH_IMAGES = 128  # generated for the health metrics


def make_image_observer(
    generator: Generator,
    reference: Shaped[np.ndarray, "n h w c"],
    seed: int,
    *,
    evaluates: bool,
    sound: Sound | None = None,
    bound: Callable[[State], float] | None = None,
    open_classifier: OpenClassifier = lambda: None,
) -> Observer:
    """Build the observer of a generator of images or points.

    Args:
        generator: the network.
        reference: real images, or points, to compare with, in random order.
        seed: of the latents.
        evaluates: whether evaluations are due every few checkpoints.
        sound: how the images became spectrograms; None if they are none.
        bound: state → the bound of held-out images; None if it is not wanted.
        open_classifier: () → classifier of the training images, or None; for evaluations.
    """
    evaluate = no_evaluation
    if evaluates:
        evaluate = make_evaluation_metrics(generator, reference, seed, open_classifier)
    health_metrics = make_health_metrics(generator)
    # The names choose the random numbers of runs that exist, so they stay as they are.
    health_key = named_seed_key(seed, "probe")
    real = reference[:NUM_METRIC_IMAGES]
    num_latents = min(NUM_HEALTH_IMAGES, len(real))
    latents = draw_latents(generator, named_seed_key(seed, "judged"), num_latents)

    def health(state: State) -> Metrics:
        return health_metrics(state, jnp.asarray(real), latents, health_key)

    return Observer(
        show_samples=make_grid_logger(generator, reference, seed, sound),
        health=health,
        score_name="kernel_distance",
        score=make_checkpoint_metric(generator, reference, seed),
        evaluation_name="evaluation/frechet_distance",
        evaluate=evaluate,
        rate_name="images_per_second",
        rate_per_example=1,
        bound=bound,
    )


def make_grid_logger(
    generator: Generator,
    reference: Shaped[np.ndarray, "n h w c"],
    seed: int,
    sound: Sound | None = None,
) -> ShowSamples:
    """Build (step, state, log) → None, which logs a picture of samples of the averaged generator.

    Of spectrograms it also logs the sound of the grid's first row.

    Args:
        generator: whose samples are drawn, always from the same latents.
        reference: real points, shown beside generated ones.
        seed: of the latents.
        sound: how the images became spectrograms; None if they are none.
    """
    columns = grid_columns(generator.classes)
    count = NUM_PLOT_POINTS
    if generator.image_range is not None:
        count = NUM_GRID_IMAGES - NUM_GRID_IMAGES % (columns or 1)
    sampler = make_sampler(generator)
    latents = draw_latents(generator, named_seed_key(seed, "grid"), count)
    real = reference[:NUM_METRIC_IMAGES]

    def log_grid(step: int, state: State, log: Log) -> None:
        images = sampler(state.average, latents)
        log.grid(step, sample_picture(images, real, columns))
        if sound is not None:
            clip = make_sample_clip(images[: columns or NUM_CLIPS], sound)
            log.sound(step, clip, sound.sample_rate)

    return log_grid

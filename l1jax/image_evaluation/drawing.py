"""Draw the images of each seed that are evaluated: those of `l1jax.sample` with the same seed."""

from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from l1jax.evaluation.comparison import SeedImages
from l1jax.processes.agreement import divide_rows
from l1jax.serialization.loaded_generator import LoadedGenerator, check_drawn
from l1jax.training.latent_rows import Choice, independent_latents
from l1jax.training.sampling import BATCH, make_sampler


def draw_for_seeds(loaded: LoadedGenerator, num_seeds: int, count: int) -> Iterator[SeedImages]:
    """Yield the generated images, or points, of each seed; the same for the same seed.

    Several processes share the work, so all of them must call it.

    Args:
        loaded: the generator.
        num_seeds: seeds 0 to `num_seeds` − 1 are taken.
        count: images per seed.

    Raises:
        InputError: if images are NaN or infinite.
    """
    sampler = make_sampler(loaded.generator)  # compiled once for all seeds
    for seed in range(num_seeds):
        latents, _ = independent_latents(loaded.generator, Choice(seed, count))
        label = np.arange(count, dtype=np.int32) % max(loaded.generator.classes, 1)

        def draw(
            start: int, stop: int, latents: Array = latents, label: np.ndarray = label
        ) -> list[np.ndarray]:
            part = slice(start, stop)
            return [sampler(loaded.average, latents[part], jnp.asarray(label[part]))]

        (images,) = divide_rows(count, BATCH, draw)
        check_drawn(loaded, images)
        labels = label if loaded.generator.classes else None
        yield SeedImages(seed, images, labels)

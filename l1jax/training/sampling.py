"""Images from the averaged generator."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, Shaped

from l1jax.models import Generator, to_uint8
from l1jax.training.state import Average

BATCH = 128  # images generated in one compiled call


def draw_latents(
    generator: Generator, key: Key[Array, ""], count: int
) -> Float[Array, "count latent"]:
    """Latents of which the first n are the same for every `count` ≥ n."""
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(count))
    return jax.vmap(lambda k: generator.latents(k, 1)[0])(keys)


def grid_columns(classes: int) -> int:
    """Columns of a grid whose images take the classes in turn: one per class, up to 20; else 0, its own choice."""
    return classes if 1 < classes <= 20 else 0


def make_sampler(generator: Generator):
    """Build (average, latents, label=None) → uint8 images or float32 points, generated in batches of one size.

    Without labels, a class-conditional generator draws its classes in turn.
    """

    @jax.jit
    def generate(
        average: Average, latents: Float[Array, "batch latent"], label: Int[Array, " batch"]
    ) -> Shaped[Array, "batch h w c"]:
        images, _ = generator.network.apply(
            average.params, average.batch_stats, latents, False, label
        )
        return images if generator.image_range is None else to_uint8(images, generator.image_range)

    def sample(
        average: Average,
        latents: Float[Array, "count latent"],
        label: Int[Array, " count"] | None = None,
    ) -> Shaped[np.ndarray, "count h w c"]:
        count = len(latents)
        size = min(BATCH, count)
        padded = jnp.pad(latents, ((0, -count % size), (0, 0)))
        label = jnp.arange(count) % max(generator.classes, 1) if label is None else label
        labels = jnp.pad(label, (0, -count % size))
        starts = range(0, count, size)
        parts = [
            np.asarray(generate(average, padded[i : i + size], labels[i : i + size]))
            for i in starts
        ]
        return np.concatenate(parts)[:count]

    return sample

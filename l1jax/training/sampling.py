"""Images from the averaged generator."""

from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, Shaped

from l1jax.models import Generator, to_uint8
from l1jax.training.state import Average

BATCH = 128  # images generated in one compiled call
MAX_GRID_CLASSES = 20  # that have a column of their own in a grid


@runtime_checkable
class Sampler(Protocol):
    """The function that `make_sampler` builds."""

    def __call__(
        self,
        average: Average,
        latents: Float[Array, "count latent"],
        label: Int[Array, " count"] | Float[Array, "count classes"] | None = None,
    ) -> Shaped[np.ndarray, "count h w c"]:
        """Generate images.

        Args:
            average: parameters and batch statistics.
            latents: one for each image.
            label: one for each image, or weights of the classes; by default the classes take
                turns.

        Returns:
            uint8 images, or float32 points.
        """
        ...


def draw_latents(
    generator: Generator, key: Key[Array, ""], count: int
) -> Float[Array, "count latent"]:
    """Draw latents, of which the first n are the same for every `count` ≥ n.

    Args:
        generator: for the size of the latents.
        key: that they are drawn from.
        count: how many.
    """
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(count))
    return jax.vmap(lambda k: generator.latents(k, 1)[0])(keys)


def grid_columns(num_classes: int) -> int:
    """Return the columns of a grid whose images take the classes in turn.

    There is one per class, up to 20 classes; otherwise 0, which leaves the choice to the grid.
    """
    if 1 < num_classes <= MAX_GRID_CLASSES:
        return num_classes
    return 0


def make_sampler(generator: Generator) -> Sampler:
    """Build the function that generates images on the device, in batches of one size."""

    @jax.jit
    def generate(
        average: Average,
        latents: Float[Array, "batch latent"],
        label: Int[Array, " batch"] | Float[Array, "batch classes"],
    ) -> Shaped[Array, "batch h w c"]:
        images, _ = generator.network.apply(
            average.params, average.batch_stats, latents, False, label
        )
        if generator.image_range is None:
            return images
        return to_uint8(images, generator.image_range)

    def sample(
        average: Average,
        latents: Float[Array, "count latent"],
        label: Int[Array, " count"] | Float[Array, "count classes"] | None = None,
    ) -> Shaped[np.ndarray, "count h w c"]:
        count = len(latents)
        if label is None:
            label = jnp.arange(count) % max(generator.classes, 1)
        size = min(BATCH, count)
        padding = (0, -count % size)
        padded_latents = jnp.pad(latents, (padding, (0, 0)))
        padded_label = jnp.pad(label, [padding, *[(0, 0)] * (label.ndim - 1)])
        batches = []
        for start in range(0, count, size):
            batch = slice(start, start + size)
            images = generate(average, padded_latents[batch], padded_label[batch])
            batches.append(np.asarray(images))
        return np.concatenate(batches)[:count]

    return sample

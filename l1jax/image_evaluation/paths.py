"""The path length of a generator, on the features of random convolutions."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from l1jax.evaluation.comparison import MAX_RANDOM_SIDE, JsonObject, SeedStatistics
from l1jax.evaluation.features import random_features
from l1jax.evaluation.path_length import path_length
from l1jax.serialization.loaded_generator import LoadedGenerator
from l1jax.terminal import Say
from l1jax.training.keys import named_seed_key


def add_path_length(scores: JsonObject, loaded: LoadedGenerator, say: Say) -> None:
    """Add `path_length` to the scores on random convolutions.

    The classes of a class-conditional generator take turns; a path stays within one.

    Args:
        scores: what the generator's images were measured to be, which is changed.
        loaded: the generator of images.
        say: takes a sentence if there are no such features.
    """
    generator = loaded.generator
    random = scores.get("features", {}).get("random")
    if random is None or generator.image_range is None:
        say(
            f"the path length is left out: it is measured on the random convolutions of images of "
            f"at most {MAX_RANDOM_SIDE:,} pixels a side."
        )
        return
    low, high = generator.image_range
    features = random_features()
    weights = jax.tree.map(jnp.asarray, features.parameters)

    def generate(latents: Float[Array, "count latent"]) -> Float[Array, "count h w c"]:
        label = jnp.arange(len(latents)) % max(generator.classes, 1)
        images, _ = generator.network.apply(*loaded.average, latents, False, label)
        return 255 * (images - low) / (high - low)

    def extract(images: Float[Array, "count h w c"]) -> Float[Array, "count features"]:
        return jnp.asarray(features.extract(weights, images).features)

    key = named_seed_key(0, "path length")
    found = path_length(generate, extract, key, generator.latent_size)
    measured = SeedStatistics(found.mean, found.standard_error, [found.mean])
    random["path_length"] = measured._asdict()

"""The likelihood that a variational autoencoder gives to images."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree, UInt8

from l1jax.models import Vae
from l1jax.objectives.variational import LIKELIHOODS, log_weights


def log_likelihood(
    vae: Vae, samples: int = 512, chunk: int = 32
) -> Callable[..., Float[Array, " batch"]]:
    """Build (encoder parameters, decoder parameters, images, key, label=None) → nats per image.

    The result is the importance-weighted bound log 1/K Σ p(x, z_k)/q(z_k|x) with z_k from the
    encoder. It is a lower bound on log p(x) and becomes tight as K grows. Compile the function with
    `jax.jit`; it needs the memory of `chunk` draws per image.

    Args:
        vae: the networks.
        samples: K, draws of z per image.
        chunk: draws that are decoded at once. It divides `samples`.

    Raises:
        ValueError: if `chunk` does not divide `samples`.

    Source: Burda, Grosse, Salakhutdinov, ICLR 2016, equation 8.
    """
    if samples % chunk:
        raise ValueError(f"`samples` (={samples}) must be divisible by `chunk` (={chunk}).")
    likelihood = LIKELIHOODS[vae.likelihood]
    latent_size = vae.generator.latent_size

    def bound(
        encoder: PyTree,
        decoder: PyTree,
        images: UInt8[Array, "batch height width channels"],
        key: Key[Array, ""],
        label: Int[Array, " batch"] | None = None,
    ) -> Float[Array, " batch"]:
        pixel_key, latent_key = jax.random.split(key)
        x = likelihood.prepare(images, jax.random.uniform(pixel_key, images.shape))
        encoded, _ = vae.encoder.apply(encoder, {}, x, False, label)
        mean, log_variance = jnp.split(encoded, 2, axis=-1)

        def add_weights(
            total: Float[Array, " batch"], key: Key[Array, ""]
        ) -> tuple[Float[Array, " batch"], None]:
            noise = jax.random.normal(key, (chunk, len(images), latent_size))
            z = mean + jnp.exp(0.5 * log_variance) * noise
            labels = None if label is None else jnp.tile(label, chunk)
            outputs, _ = vae.decoder.apply(decoder, {}, z.reshape(-1, latent_size), False, labels)
            repeated = jnp.tile(x, (chunk, 1, 1, 1))
            log_p_of_x = likelihood.log_likelihood(outputs, repeated).reshape(chunk, -1)
            weights = log_weights(log_p_of_x, z, mean, log_variance)
            return jnp.logaddexp(total, jax.nn.logsumexp(weights, axis=0)), None

        keys = jax.random.split(latent_key, samples // chunk)
        total, _ = jax.lax.scan(add_weights, jnp.full(len(images), -jnp.inf), keys)
        return total - jnp.log(samples)

    return bound

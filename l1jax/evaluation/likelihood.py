"""How likely a variational autoencoder finds images."""

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

    The importance-weighted bound log 1/K Σ p(x, z_k)/q(z_k|x), z_k from the encoder: a lower bound on
    log p(x), tight as K grows. Compile it with `jax.jit`; memory is that of `chunk` draws per image.

    Args:
        vae: the networks.
        samples: K, draws of z per image.
        chunk: draws decoded at once; divides `samples`.

    Raises:
        ValueError: if `chunk` does not divide `samples`.

    Source: Burda, Grosse, Salakhutdinov, ICLR 2016, equation 8.
    """
    if samples % chunk:
        raise ValueError(f"`samples` (={samples}) must be divisible by `chunk` (={chunk}).")
    likelihood, latent_size = LIKELIHOODS[vae.likelihood], vae.generator.latent_size

    def bound(
        encoder: PyTree,
        decoder: PyTree,
        images: UInt8[Array, "batch height width channels"],
        key: Key[Array, ""],
        label: Int[Array, " batch"] | None = None,
    ) -> Float[Array, " batch"]:
        pixel_key, latent_key = jax.random.split(key)
        x = likelihood.prepare(images, jax.random.uniform(pixel_key, images.shape))
        mean, log_variance = jnp.split(
            vae.encoder.apply(encoder, {}, x, False, label)[0], 2, axis=-1
        )

        def weigh(
            total: Float[Array, " batch"], key: Key[Array, ""]
        ) -> tuple[Float[Array, " batch"], None]:
            noise = jax.random.normal(key, (chunk, len(images), latent_size))
            z = mean + jnp.exp(0.5 * log_variance) * noise
            labels = None if label is None else jnp.tile(label, chunk)
            outputs, _ = vae.decoder.apply(decoder, {}, z.reshape(-1, latent_size), False, labels)
            value = likelihood.log_likelihood(outputs, jnp.tile(x, (chunk, 1, 1, 1))).reshape(
                chunk, -1
            )
            weights = jax.nn.logsumexp(log_weights(value, z, mean, log_variance), axis=0)
            return jnp.logaddexp(total, weights), None

        keys = jax.random.split(latent_key, samples // chunk)
        total, _ = jax.lax.scan(weigh, jnp.full(len(images), -jnp.inf), keys)
        return total - jnp.log(samples)

    return bound

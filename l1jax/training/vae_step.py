"""One step of a variational autoencoder."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key, PyTree

from l1jax.data.batches import Batch
from l1jax.models import Vae
from l1jax.models.network import AXIS, local_slice
from l1jax.objectives.variational import (
    LIKELIHOODS,
    gaussian_kl,
    importance_weighted_bound,
    log_weights,
    negative_elbo,
)
from l1jax.training.parts import (
    agree,
    all_finite,
    gradient_norms,
    in_parts,
    settle,
    update,
    varying,
)
from l1jax.training.state import Average, Metrics, NetworkState, VaeState


def init_vae(
    vae: Vae,
    encoder_tx: optax.GradientTransformation,
    decoder_tx: optax.GradientTransformation,
    key: Key[Array, ""],
) -> VaeState:
    """Draw both networks."""
    keys = jax.random.split(key)
    (encoder, statistics), (decoder, d_statistics) = (
        vae.encoder.init(keys[0]),
        vae.decoder.init(keys[1]),
    )
    average = Average(
        *jax.tree.map(jnp.copy, (decoder, d_statistics))
    )  # memory of its own: the state is donated
    return VaeState(
        jnp.zeros([], jnp.int32),
        NetworkState(encoder, statistics, encoder_tx.init(encoder)),
        NetworkState(decoder, d_statistics, decoder_tx.init(decoder)),
        average,
    )


def vae_step(
    vae: Vae,
    encoder_tx: optax.GradientTransformation,
    decoder_tx: optax.GradientTransformation,
    *,
    beta: float = 1.0,
    free_nats: float = 0.0,
    samples: int = 1,
    accumulate: int = 1,
    ema_decay: float = 0.999,
):
    """Build the step (state, batch, key) → (state, metrics), per device.

    Minimises −E log p(x|z) + β·Σ_j max(free_nats, E KL_j), z = μ + σε, or with several samples the
    importance-weighted bound. The noise ε, and what a likelihood draws, is a function of (key, index
    in the whole batch): any number of devices trains the same model. A step whose loss or gradients
    are not finite changes nothing but the count.

    Args:
        vae: the networks.
        encoder_tx: the encoder's optimiser, penalty included.
        decoder_tx: the decoder's.
        beta: weight of the divergence; 1 for the bound.
        free_nats: nats per latent dimension that cost nothing.
        samples: draws of z per image; above 1, beta must be 1 and free_nats 0.
        accumulate: parts of the batch, one after the other; free nats are then counted part by part.
        ema_decay: decay of the decoder's average per step, in [0, 1).

    Source: Kingma, Welling, ICLR 2014, section 2.4; Burda, Grosse, Salakhutdinov, ICLR 2016, section 3.
    """
    likelihood, latent_size = LIKELIHOODS[vae.likelihood], vae.generator.latent_size

    def step(state: VaeState, batch: Batch, key: Key[Array, ""]) -> tuple[VaeState, Metrics]:
        pixels, label = jnp.asarray(batch.image[0]), jnp.asarray(batch.label[0])
        whole = pixels.shape[0] * jax.lax.axis_size(AXIS)
        pixel_key, latent_key = jax.random.split(key)
        x = likelihood.prepare(
            pixels, local_slice(jax.random.uniform(pixel_key, (whole, *pixels.shape[1:])))
        )
        noise = local_slice(jax.random.normal(latent_key, (whole, samples, latent_size)))

        def loss(
            params: tuple[PyTree, PyTree], x: Array, noise: Array, label: Array
        ) -> tuple[Float[Array, ""], tuple[tuple[PyTree, PyTree], Metrics]]:
            moments, statistics = vae.encoder.apply(
                params[0], state.encoder.statistics, x, True, label
            )
            mean, log_variance = jnp.split(moments, 2, axis=-1)
            z = mean + jnp.exp(0.5 * log_variance) * noise.swapaxes(0, 1)
            flat, labels = z.reshape(-1, latent_size), jnp.tile(label, samples)
            outputs, d_statistics = vae.decoder.apply(
                params[1], state.generator.statistics, flat, True, labels
            )
            log_likelihood = likelihood.log_likelihood(outputs, jnp.tile(x, (samples, 1, 1, 1)))
            kl = gaussian_kl(mean, log_variance)
            if samples == 1:
                value = negative_elbo(log_likelihood, kl, beta, free_nats, AXIS)
            else:
                weights = log_weights(log_likelihood.reshape(samples, -1), z, mean, log_variance)
                value = -jnp.mean(importance_weighted_bound(weights))
            metrics = {
                "loss": value,
                "log_likelihood": jnp.mean(log_likelihood),
                "divergence": jnp.mean(jnp.sum(kl, axis=-1)),
            }
            return value, ((statistics, d_statistics), metrics)

        params = varying((state.encoder.params, state.generator.params))

        def gradient(part: tuple[Array, ...], _: Key[Array, ""]) -> tuple[PyTree, PyTree, Metrics]:
            grads, (statistics, metrics) = jax.grad(loss, has_aux=True)(params, *part)
            return grads, statistics, metrics

        grads, statistics, metrics = agree(
            *in_parts(gradient, (x, noise, label), key, accumulate), accumulate
        )
        metrics["bound"] = metrics["log_likelihood"] - metrics["divergence"]
        metrics |= gradient_norms("encoder", grads[0]) | gradient_norms("generator", grads[1])
        encoder = update(state.encoder, grads[0], statistics[0], encoder_tx)
        decoder = update(state.generator, grads[1], statistics[1], decoder_tx)

        finite = all_finite(*metrics.values())
        new = settle(finite, state._replace(encoder=encoder, generator=decoder), state, ema_decay)
        return new, {**metrics, "taken": finite.astype(jnp.float32)}

    return step

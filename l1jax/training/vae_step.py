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
from l1jax.training.keys import named_key
from l1jax.training.state import (
    NO_WEIGHTS,
    Average,
    Metrics,
    NetworkState,
    Step,
    VaeState,
    Weights,
)
from l1jax.training.step import (
    Gradients,
    accumulate_gradients,
    commit_or_skip,
    gradient_norms,
    pmean_gradients,
    update_network,
    varying,
)

Pair = tuple[PyTree, PyTree]  # of the encoder, of the decoder


def init_vae(
    vae: Vae,
    encoder_tx: optax.GradientTransformation,
    decoder_tx: optax.GradientTransformation,
    key: Key[Array, ""],
    weights: Weights = NO_WEIGHTS,
) -> VaeState:
    """Draw the parameters of both networks.

    Args:
        vae: the networks.
        encoder_tx: the encoder's optimiser.
        decoder_tx: the decoder's optimiser.
        key: for the parameters.
        weights: of the networks that are not drawn; the decoder's are the generator's.
    """
    encoder_key, decoder_key = jax.random.split(key)
    params, batch_stats = weights.get("encoder") or vae.encoder.init(encoder_key)
    encoder = NetworkState(params, batch_stats, encoder_tx.init(params))
    params, batch_stats = weights.get("generator") or vae.decoder.init(decoder_key)
    decoder = NetworkState(params, batch_stats, decoder_tx.init(params))
    # The average starts as a copy: the step donates the whole state, so no memory is shared.
    average = Average(*jax.tree.map(jnp.copy, (params, batch_stats)))
    return VaeState(jnp.zeros([], jnp.int32), encoder, decoder, average)


def make_vae_step(
    vae: Vae,
    encoder_tx: optax.GradientTransformation,
    decoder_tx: optax.GradientTransformation,
    *,
    beta: float = 1.0,
    free_nats: float = 0.0,
    samples: int = 1,
    accumulate: int = 1,
    ema_decay: optax.ScalarOrSchedule = 0.999,
) -> Step:
    """Build the step (state, batch, key) → (state, metrics), on one device of several.

    It minimises −E log p(x|z) + β·Σ_j max(free_nats, E KL_j) with z = μ + σε, or, with several
    samples, the negative importance-weighted bound. The noise ε, and what a likelihood or dropout
    draws, is a function of (key, index in the whole batch), so any number of devices trains the
    same model. A step whose loss or gradients are not finite changes nothing but the count.

    Args:
        vae: the networks.
        encoder_tx: the encoder's optimiser, penalty included.
        decoder_tx: the decoder's optimiser, penalty included.
        beta: weight of the divergence; 1 for the bound.
        free_nats: nats per latent dimension that cost nothing.
        samples: draws of z per image; above 1, beta must be 1 and free_nats 0.
        accumulate: number of parts of the batch, computed one after the other; free nats are
            then counted part by part.
        ema_decay: decay of the decoder's average per step, in [0, 1).

    Source: Kingma, Welling, ICLR 2014, section 2.4; Burda, Grosse, Salakhutdinov, ICLR 2016,
        section 3.
    """
    likelihood = LIKELIHOODS[vae.likelihood]
    latent_size = vae.generator.latent_size

    def vae_step(state: VaeState, batch: Batch, key: Key[Array, ""]) -> tuple[VaeState, Metrics]:
        pixels = jnp.asarray(batch.example[0])
        label = jnp.asarray(batch.label[0])
        whole_batch = pixels.shape[0] * jax.lax.axis_size(AXIS)
        pixel_key, latent_key = jax.random.split(key)
        uniform = jax.random.uniform(pixel_key, (whole_batch, *pixels.shape[1:]))
        x = likelihood.prepare(pixels, local_slice(uniform))
        normal = jax.random.normal(latent_key, (whole_batch, samples, latent_size))
        noise = local_slice(normal)

        def loss(
            params: Pair, x: Array, noise: Array, label: Array, key: Key[Array, ""]
        ) -> tuple[Float[Array, ""], tuple[Pair, Metrics]]:
            encoder_params, decoder_params = params
            moments, encoder_stats = vae.encoder.apply(
                encoder_params,
                state.encoder.batch_stats,
                x,
                True,
                label,
                named_key(key, "encoder"),
            )
            mean, log_variance = jnp.split(moments, 2, axis=-1)
            # The samples of an image follow each other, so that the decoder's batch over all
            # devices, and with it the mask of each, does not depend on how many devices there are.
            z = mean[:, None] + jnp.exp(0.5 * log_variance)[:, None] * noise
            outputs, decoder_stats = vae.decoder.apply(
                decoder_params,
                state.generator.batch_stats,
                z.reshape(-1, latent_size),
                True,
                jnp.repeat(label, samples),
                named_key(key, "generator"),
            )
            log_likelihood = likelihood.log_likelihood(outputs, jnp.repeat(x, samples, axis=0))
            kl = gaussian_kl(mean, log_variance)
            if samples == 1:
                value = negative_elbo(log_likelihood, kl, beta, free_nats, AXIS)
            else:
                of_samples = log_likelihood.reshape(-1, samples).T
                weights = log_weights(of_samples, z.swapaxes(0, 1), mean, log_variance)
                value = -jnp.mean(importance_weighted_bound(weights))
            metrics = {
                "loss": value,
                "log_likelihood": jnp.mean(log_likelihood),
                "divergence": jnp.mean(jnp.sum(kl, axis=-1)),
            }
            return value, ((encoder_stats, decoder_stats), metrics)

        params = varying((state.encoder.params, state.generator.params))

        def of_part(part: tuple[Array, Array, Array], key: Key[Array, ""]) -> Gradients:
            grads, (batch_stats, metrics) = jax.grad(loss, has_aux=True)(params, *part, key)
            return Gradients(grads, batch_stats, metrics)

        gradients = accumulate_gradients(of_part, (x, noise, label), key, accumulate)
        grads, batch_stats, metrics = pmean_gradients(gradients, accumulate)
        metrics["bound"] = metrics["log_likelihood"] - metrics["divergence"]
        metrics |= gradient_norms("encoder", grads[0]) | gradient_norms("generator", grads[1])
        encoder = update_network(state.encoder, grads[0], batch_stats[0], encoder_tx)
        decoder = update_network(state.generator, grads[1], batch_stats[1], decoder_tx)
        new = state._replace(encoder=encoder, generator=decoder)
        return commit_or_skip(new, state, metrics, ema_decay)

    return vae_step

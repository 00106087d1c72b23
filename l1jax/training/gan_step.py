"""One step of a GAN: `n_critic` discriminator updates, then one of the generator."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key, PyTree, UInt8

from l1jax.data.batches import Batch
from l1jax.models import Gan, from_uint8
from l1jax.models.gan import AXIS, local_slice
from l1jax.objectives.adversarial import AdversarialLoss
from l1jax.objectives.gradient_penalty import with_squared_gradient
from l1jax.training.parts import (
    all_finite,
    keep_if,
    mean_over_devices,
    move_average,
    update,
    varying,
)
from l1jax.training.state import Average, GanState, Metrics, NetworkState

Images = Float[Array, "batch height width channels"]


def init_gan(
    gan: Gan,
    generator_tx: optax.GradientTransformation,
    discriminator_tx: optax.GradientTransformation,
    key: Key[Array, ""],
) -> GanState:
    """Draw both networks."""
    generator_key, discriminator_key = jax.random.split(key)
    params, statistics = gan.generator.network.init(generator_key)
    generator = NetworkState(params, statistics, generator_tx.init(params))
    d_params, d_statistics = gan.discriminator.init(discriminator_key)
    discriminator = NetworkState(d_params, d_statistics, discriminator_tx.init(d_params))
    # The average starts at the generator, in memory of its own: the state is donated whole.
    average = Average(*jax.tree.map(jnp.copy, (params, statistics)))
    return GanState(jnp.zeros([], jnp.int32), generator, discriminator, average)


def gan_step(
    gan: Gan,
    loss: AdversarialLoss,
    generator_tx: optax.GradientTransformation,
    discriminator_tx: optax.GradientTransformation,
    *,
    r1: float = 0.0,
    r2: float = 0.0,
    n_critic: int = 1,
    ema_decay: float = 0.999,
):
    """Build the step of alternating training, (state, batch, key) → (state, metrics), per device.

    The discriminator minimises its loss + r1/2·E‖∇D(x)‖² + r2/2·E‖∇D(G(z))‖² on one batch of real
    images per update; then the generator minimises its own on the last batch and the images that
    the last discriminator update saw, so that one generator pass serves both. Latents are a function
    of (key, index in the whole batch): any number of devices trains the same model. A step whose
    losses or gradients are not finite changes nothing but the count.

    Args:
        gan: the networks.
        loss: what they minimise, from logits.
        generator_tx: the generator's optimiser, penalty included.
        discriminator_tx: the discriminator's.
        r1: γ of the gradient penalty on real images, 0 for none.
        r2: γ of the gradient penalty on generated images, 0 for none.
        n_critic: discriminator updates per step; the batch leads with as many draws.
        ema_decay: decay of the generator's average per step, in [0, 1).

    Source: Goodfellow et al., NeurIPS 2014, algorithm 1.
    """

    def draw_latents(key: Key[Array, ""], local_batch: int) -> Float[Array, "batch latent"]:
        whole = local_batch * jax.lax.axis_size(AXIS)
        return local_slice(gan.generator.latents(key, whole))

    def discriminator_loss(
        params: PyTree, statistics: PyTree, real: Images, fake: Images
    ) -> tuple[Float[Array, ""], tuple[PyTree, Metrics]]:
        def score(images: Images, statistics: PyTree, gamma: float):
            def apply(inputs: Images):
                return gan.discriminator.apply(params, statistics, inputs, True)

            if gamma == 0:
                return *apply(images), jnp.zeros(())
            logits, moved, squared = with_squared_gradient(apply, images)
            return logits, moved, gamma / 2 * jnp.mean(squared)

        real_logits, statistics, real_penalty = score(real, statistics, r1)
        fake_logits, statistics, fake_penalty = score(fake, statistics, r2)
        value = loss.discriminator(real_logits, fake_logits)
        metrics = {
            "discriminator/loss": value,
            "discriminator/gradient_penalty": real_penalty + fake_penalty,
            "discriminator/real_logit": jnp.mean(real_logits),
            "discriminator/fake_logit": jnp.mean(fake_logits),
        }
        return value + real_penalty + fake_penalty, (statistics, metrics)

    def update_discriminator(state: NetworkState, real: Images, fake: Images) -> tuple[NetworkState, Metrics]:
        gradient = jax.grad(discriminator_loss, has_aux=True)
        grads, (statistics, metrics) = gradient(varying(state.params), state.statistics, real, fake)
        grads, metrics = mean_over_devices((grads, metrics))
        metrics["discriminator/gradient_norm"] = optax.tree.norm(grads)
        return update(state, grads, statistics, discriminator_tx), metrics

    def generator_loss(fake: Images, real: Images, discriminator: NetworkState) -> Float[Array, ""]:
        def score(images: Images) -> Float[Array, " batch"]:
            return gan.discriminator.apply(discriminator.params, discriminator.statistics, images, True)[0]

        return loss.generator(score(real), score(fake))

    def step(state: GanState, batch: Batch, key: Key[Array, ""]) -> tuple[GanState, Metrics]:
        def real_images(image: UInt8[Array, "batch height width channels"]) -> Images:
            return from_uint8(image, gan.generator.image_range)

        def extra_update(
            discriminator: NetworkState, inputs: tuple[UInt8[Array, "..."], Key[Array, ""]]
        ) -> tuple[NetworkState, None]:
            image, latent_key = inputs
            z = draw_latents(latent_key, image.shape[0])
            fake, _ = gan.generator.network.apply(state.generator.params, state.generator.statistics, z, True)
            return update_discriminator(discriminator, real_images(image), fake)[0], None

        keys, image = jax.random.split(key, n_critic), jnp.asarray(batch.image)
        discriminator, real = state.discriminator, real_images(image[-1])
        if n_critic > 1:
            discriminator, _ = jax.lax.scan(extra_update, discriminator, (image[:-1], keys[:-1]))

        def generate(params: PyTree) -> tuple[Images, PyTree]:
            z = draw_latents(keys[-1], real.shape[0])
            return gan.generator.network.apply(params, state.generator.statistics, z, True)

        fake, pullback, statistics = jax.vjp(generate, varying(state.generator.params), has_aux=True)
        discriminator, metrics = update_discriminator(discriminator, real, jax.lax.stop_gradient(fake))
        value, fake_gradient = jax.value_and_grad(generator_loss)(fake, real, discriminator)
        grads, value = mean_over_devices((pullback(fake_gradient)[0], value))
        generator = update(state.generator, grads, statistics, generator_tx)
        metrics["generator/loss"] = value
        metrics["generator/gradient_norm"] = optax.tree.norm(grads)

        finite = all_finite(*metrics.values())
        average = move_average(state.average, generator, state.step, ema_decay)
        new = GanState(state.step, generator, discriminator, average)
        new = keep_if(finite, new, state)._replace(step=state.step + 1)
        return new, {**metrics, "taken": finite.astype(jnp.float32)}

    return step

"""What a GAN step is configured with, and the forward passes that its updates are made of."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, PyTree, Shaped

from l1jax.models import Gan, from_uint8
from l1jax.models.network import AXIS, local_slice
from l1jax.objectives.adversarial import AdversarialLoss
from l1jax.training.controllers import Balancer, Controllers
from l1jax.training.discriminator_loss import (
    NO_REGULARIZERS,
    Examples,
    Images,
    Regularizers,
    augment,
    sample_noise,
)
from l1jax.training.keys import named_key
from l1jax.training.state import NO_WEIGHTS, Average, GanState, NetworkState, Weights
from l1jax.training.step import varying


class GanStepConfig(NamedTuple):
    """What `gan_step` needs to know besides its state.

    Attributes:
        gan: the networks.
        loss: what they minimise, as functions of logits.
        generator_tx: the generator's optimiser, penalty included.
        discriminator_tx: the discriminator's optimiser, penalty included.
        regularizers: what the discriminator minimises besides its loss, and how its images are
            augmented.
        n_critic: discriminator updates per step; the batch leads with as many draws.
        accumulate: number of parts that a device's batch is cut into, computed one after the
            other to save memory. Gradients and batch statistics are the means over the parts, so
            batch norm normalises within a part. One part needs one pass of the generator for the
            updates of both networks, several parts need two.
        ema_decay: decay of the generator's average per step, in [0, 1); or that as a function of
            the number of steps so far.
        balancer: how the discriminator's strength follows the balance ratio, if it does; the
            state then holds `controllers.balance`.
        adapt: (probability, mean sign of the real logits, number of images) → probability of
            augmentation, if that is adaptive; the state then holds `controllers.probability`.
        discriminator_first: steps at the start that leave the generator and its average as they
            are, so that a new discriminator catches up with a trained generator.
        at_step: (this, number of steps so far) → this with the numbers of that step; None where
            no number changes over the steps.
    """

    gan: Gan
    loss: AdversarialLoss
    generator_tx: optax.GradientTransformation
    discriminator_tx: optax.GradientTransformation
    regularizers: Regularizers = NO_REGULARIZERS
    n_critic: int = 1
    accumulate: int = 1
    ema_decay: optax.ScalarOrSchedule = 0.999
    balancer: Balancer | None = None
    adapt: Callable[[Array, Array, int], Float[Array, ""]] | None = None
    discriminator_first: int = 0
    at_step: Callable[[Any, Int[Array, ""]], Any] | None = None


class DiscriminatorState(NamedTuple):
    """The discriminator and the controllers that follow its updates."""

    network: NetworkState
    controllers: Controllers


class GeneratorVjp(NamedTuple):
    """A forward pass of the generator that can be differentiated later.

    Attributes:
        images: that it generated.
        vjp: cotangent of the images → of the parameters.
        batch_stats: after the pass.
    """

    images: Images
    vjp: Callable[[Images], tuple[PyTree]]
    batch_stats: PyTree


def init_gan(
    gan: Gan,
    generator_tx: optax.GradientTransformation,
    discriminator_tx: optax.GradientTransformation,
    key: Key[Array, ""],
    controllers: Controllers | None = None,
    weights: Weights = NO_WEIGHTS,
) -> GanState:
    """Draw the parameters of both networks.

    Args:
        gan: the networks.
        generator_tx: the generator's optimiser.
        discriminator_tx: the discriminator's optimiser.
        key: for the parameters.
        controllers: the initial state of those that the step uses; None for none.
        weights: of the networks that are not drawn.
    """
    generator_key, discriminator_key = jax.random.split(key)
    params, batch_stats = weights.get("generator") or gan.generator.network.init(generator_key)
    generator = NetworkState(params, batch_stats, generator_tx.init(params))
    # The average starts as a copy: the step donates the whole state, so no memory is shared.
    average = Average(*jax.tree.map(jnp.copy, (params, batch_stats)))
    params, batch_stats = weights.get("discriminator") or gan.discriminator.init(discriminator_key)
    discriminator = NetworkState(params, batch_stats, discriminator_tx.init(params))
    step = jnp.zeros([], jnp.int32)
    return GanState(step, generator, discriminator, average, controllers or Controllers())


def draw_examples(
    config: GanStepConfig,
    image: Shaped[Array, "..."],
    label: Int[Array, " batch"],
    key: Key[Array, ""],
) -> Examples:
    """Collect real images, latents and noise for this device's part of the batch.

    Args:
        config: of the step.
        image: real images as they are stored.
        label: their labels.
        key: for everything random.
    """
    generator = config.gan.generator
    real = from_uint8(image, generator.image_range)
    latents = local_slice(generator.latents(key, real.shape[0] * jax.lax.axis_size(AXIS)))
    return Examples(real, label, latents, sample_noise(config.regularizers, real, key))


def generate(
    config: GanStepConfig, params: PyTree, state: GanState, examples: Examples, key: Key[Array, ""]
) -> tuple[Images, PyTree]:
    """Generate images in training mode.

    Args:
        config: of the step.
        params: the generator's.
        state: for the generator's batch statistics.
        examples: for latents and labels.
        key: of the update.

    Returns:
        The images, and the batch statistics after the pass.
    """
    return config.gan.generator.network.apply(
        params,
        state.generator.batch_stats,
        examples.latents,
        True,
        examples.label,
        named_key(key, "generator"),
    )


def differentiable_pass(
    config: GanStepConfig, state: GanState, examples: Examples, key: Key[Array, ""]
) -> GeneratorVjp:
    """Generate images and keep what their gradient needs.

    Args:
        config: of the step.
        state: for the generator.
        examples: for latents and labels.
        key: of the update.
    """
    images, vjp, batch_stats = jax.vjp(
        lambda params: generate(config, params, state, examples, key),
        varying(state.generator.params),
        has_aux=True,
    )
    return GeneratorVjp(images, vjp, batch_stats)


def compute_logits(
    config: GanStepConfig,
    discriminator: DiscriminatorState,
    kind: Literal["real", "fake"],
    images: Images,
    examples: Examples,
    key: Key[Array, ""],
) -> Float[Array, " logits"]:
    """Return the discriminator's logits of augmented images, without changing its statistics.

    Args:
        config: of the step.
        discriminator: its parameters, and the probability of augmentation.
        kind: which noise of `examples` augments the images.
        images: before augmentation.
        examples: for labels and noise.
        key: of the update.
    """
    network, controllers = discriminator
    images = augment(config.regularizers, kind, images, examples, controllers)
    logits, _ = config.gan.discriminator.apply(
        network.params,
        network.batch_stats,
        images,
        True,
        examples.label,
        named_key(key, f"judge {kind}"),
    )
    return logits

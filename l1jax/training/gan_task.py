"""The task of a GAN, and what its discriminator minimises."""

from collections.abc import Callable
from functools import partial
from typing import Any

import optax
from jaxtyping import Array, Int, Key

from l1jax import config
from l1jax.build import build_loss
from l1jax.build_optimizer import build_ramp
from l1jax.data.augmentation import (
    adapt_probability,
    adaptive_augmentation,
    differentiable_augmentation,
)
from l1jax.models import Gan
from l1jax.training.controllers import Balancer, init_controllers
from l1jax.training.discriminator_loss import Regularizers
from l1jax.training.gan_passes import GanStepConfig, init_gan
from l1jax.training.gan_step import gan_step
from l1jax.training.state import NO_WEIGHTS, Task, Weights
from l1jax.training.task_parts import Channels, ema_decay, network_optimizer


def gan_task(
    experiment: config.Config,
    objective: config.Adversarial,
    gan: Gan,
    discriminator: config.Optimizer,
    channels: Channels,
) -> Task:
    """Build the task of a GAN.

    Args:
        experiment: its configuration.
        objective: that of the experiment.
        gan: the model.
        discriminator: the optimiser of the experiment's discriminator.
        channels: what finds the channels of each network.

    Raises:
        InputError: if fields of the experiment do not go together.
    """
    if experiment.discriminator_steps_first >= experiment.steps:
        raise config.InputError(
            f"`discriminator_steps_first` (={experiment.discriminator_steps_first}) must be below "
            f"`steps` (={experiment.steps}), or the generator never learns."
        )
    balancer = None
    max_sparsity = 1.0
    if objective.balance:
        if discriminator.sparsity_target or not getattr(discriminator.penalty, "strength", 0):
            raise config.InputError(
                "`objective.balance` moves the discriminator's strength: give "
                "`discriminator.penalty` a positive strength, and no `sparsity_target`, which "
                "moves it too."
            )
        balancer = Balancer(**vars(objective.balance))
        max_sparsity = objective.balance.max_sparsity
    adapt = None
    if isinstance(objective.augment, config.Ada):
        ada = objective.augment
        adapt = partial(adapt_probability, target=ada.target, full_after=ada.images)
    generator_tx = network_optimizer(experiment, "generator", gan, channels)
    discriminator_tx = network_optimizer(
        experiment, "discriminator", gan, channels, objective.n_critic, max_sparsity
    )
    step_config = GanStepConfig(
        gan,
        build_loss(objective),
        generator_tx,
        discriminator_tx,
        regularizers=build_regularizers(objective, gan.generator.image_range),
        n_critic=objective.n_critic,
        accumulate=experiment.accumulate,
        ema_decay=ema_decay(experiment),
        balancer=balancer,
        adapt=adapt,
        discriminator_first=experiment.discriminator_steps_first,
        at_step=_numbers_at_step(objective),
    )

    def init(key: Key[Array, ""], weights: Weights = NO_WEIGHTS) -> Any:
        controllers = init_controllers(
            lecam=objective.lecam > 0, adaptive=adapt is not None, balancer=balancer
        )
        return init_gan(gan, generator_tx, discriminator_tx, key, controllers, weights)

    return Task(
        init=init,
        step=partial(gan_step, step_config),
        generator=gan.generator,
        batches_per_step=objective.n_critic,
        penalised={},
    )


def _numbers_at_step(
    objective: config.Adversarial,
) -> Callable[[GanStepConfig, Int[Array, ""]], GanStepConfig] | None:
    """Build what sets γ and the probability of augmentation of a step; None if both stay.

    Raises:
        InputError: if γ is to change and is 0, or a probability is to go above 1.
    """
    gamma = objective.r1 or objective.r2
    ramp = objective.gamma_ramp
    augment = objective.augment
    if ramp.steps and not gamma:
        raise config.InputError(
            f"`objective.gamma_ramp.steps` (={ramp.steps}) changes γ, which is 0: give a positive "
            "`objective.r1` or `objective.r2` to begin with."
        )
    probability: optax.ScalarOrSchedule = 1.0
    if isinstance(augment, config.RampedAda):
        if augment.ramp.end > 1:
            raise config.InputError(
                f"`objective.augment.ramp.end` (={augment.ramp.end}) must be a probability, at "
                "most 1."
            )
        probability = build_ramp(augment.probability, augment.ramp)
    gamma_of_step = build_ramp(gamma, ramp)
    if not callable(gamma_of_step) and not callable(probability):
        return None

    def at_step(step_config: GanStepConfig, step: Int[Array, ""]) -> GanStepConfig:
        regularizers = step_config.regularizers
        if callable(gamma_of_step):
            scale = gamma_of_step(step) / gamma
            regularizers = regularizers._replace(gamma_scale=scale)
        if callable(probability):
            regularizers = regularizers._replace(probability=probability(step))
        return step_config._replace(regularizers=regularizers)

    return at_step


def build_regularizers(
    objective: config.Adversarial, image_range: tuple[float, float] | None
) -> Regularizers:
    """Build what the discriminator minimises besides its loss, and its augmentation.

    Args:
        objective: the configuration.
        image_range: of the images that are augmented; None for points.

    Raises:
        InputError: if points, which have no range, are to be augmented.
    """
    augmentation = None
    consistency_transform = None
    probability = 1.0
    match objective.augment:
        case config.DiffAugment() as chosen:
            used = {
                "color": chosen.colour,
                "translation": chosen.translation,
                "cutout": chosen.cutout,
            }
            names = [name for name, is_used in used.items() if is_used]
            augmentation = differentiable_augmentation(
                *names, image_range=_require_range(image_range)
            )
        case config.Ada():
            augmentation = adaptive_augmentation(_require_range(image_range))
        case config.RampedAda() as ramped:
            augmentation = adaptive_augmentation(_require_range(image_range))
            probability = ramped.probability
    if objective.consistency:
        consistency_transform = differentiable_augmentation(
            "flip", "translation", "cutout", image_range=_require_range(image_range)
        )
    return Regularizers(
        r1=objective.r1,
        r2=objective.r2,
        wgan_gp=objective.wgan_gp,
        dragan=objective.dragan,
        penalty_every=objective.penalty_every,
        consistency=objective.consistency,
        lecam=objective.lecam,
        augmentation=augmentation,
        consistency_transform=consistency_transform,
        probability=probability,
    )


def _require_range(image_range: tuple[float, float] | None) -> tuple[float, float]:
    if image_range is None:
        raise config.InputError(
            "`objective.augment` and `objective.consistency` change images; points have none."
        )
    return image_range

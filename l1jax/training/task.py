"""From an experiment to the task that the loop trains."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, Key

from l1jax import config
from l1jax.build import build_loss, build_model
from l1jax.build_optimizer import (
    ChannelGroups,
    build_optimizer,
    build_penalty,
    build_ramp,
    counted_groups,
    prunes,
)
from l1jax.data.augmentation import (
    adapt_probability,
    adaptive_augmentation,
    differentiable_augmentation,
)
from l1jax.data.batches import Batch
from l1jax.models import Flow, Gan, Generator, LanguageModel, Vae
from l1jax.models.network import AXIS, local_slice
from l1jax.training.controllers import Balancer, init_controllers
from l1jax.training.discriminator_loss import Regularizers
from l1jax.training.flow_step import make_flow_step
from l1jax.training.frozen_layers import freeze_layers
from l1jax.training.gan_passes import GanStepConfig, init_gan
from l1jax.training.gan_step import gan_step
from l1jax.training.keys import named_key, named_seed_key
from l1jax.training.network_channels import channel_finders, penalised_pattern
from l1jax.training.next_token_step import make_next_token_step
from l1jax.training.reconstruction_step import init_generator, make_reconstruction_step
from l1jax.training.state import NO_WEIGHTS, Metrics, Step, Task, Weights
from l1jax.training.vae_step import init_vae, make_vae_step

Channels = Mapping[str, ChannelGroups]
"""By the name of a network, what finds its channels."""
SHORTEST_HALF_LIFE = 1e-8  # images; at which nothing is averaged


def make_task(experiment: config.Config, shape: tuple[int, ...]) -> Task:
    """Build the task for examples of this shape, as `l1jax.build.example_shape` returns it.

    Raises:
        InputError: if model, objective and optimisers do not go together.
    """
    model = build_model(experiment.model, shape)
    objective = experiment.objective
    optimizers = {"generator": experiment.generator}
    channels = channel_finders(model)
    match model, objective:
        case Gan(), config.Adversarial() if experiment.discriminator:
            optimizers["discriminator"] = experiment.discriminator
            task = _gan_task(experiment, objective, model, experiment.discriminator, channels)
        case Vae(), config.Variational() if experiment.encoder:
            optimizers["encoder"] = experiment.encoder
            task = _vae_task(experiment, objective, model, experiment.encoder, channels)
        case Generator(), config.Reconstruction():
            task = _generator_task(experiment, objective, model, channels)
        case Flow(), config.FlowMatching():
            task = _flow_task(experiment, objective, model, channels)
        case LanguageModel(), config.NextToken():
            task = _language_task(experiment, model, channels)
        case _:
            raise _mismatch(experiment)
    if experiment.discriminator_steps_first and not isinstance(model, Gan):
        raise config.InputError(
            f"`discriminator_steps_first` (={experiment.discriminator_steps_first}) must be 0 "
            f"for `model` (={type(experiment.model).__name__}), which has no discriminator."
        )
    if experiment.flip:
        image_range = getattr(task.generator, "image_range", None)
        if image_range is None or isinstance(objective, config.Reconstruction):
            raise config.InputError(
                "`flip` (=True) must be False for points and text, and for Reconstruction, where "
                "each latent belongs to one image."
            )
        task = task._replace(step=with_flips(task.step))
    penalised = {name: penalised_pattern(o, channels[name]) for name, o in optimizers.items()}
    groups = {
        name: counted_groups(o.penalty, build_penalty(o.penalty, channels[name]))
        for name, o in optimizers.items()
        if o.sparsity_target and not prunes(o)
    }
    return task._replace(penalised=penalised, groups=groups)


def _mismatch(experiment: config.Config) -> config.InputError:
    def state_of(optimizer: config.Optimizer | None) -> str:
        return "set" if optimizer else "None"

    model = getattr(experiment.model, "factory", type(experiment.model).__name__)
    return config.InputError(
        f"`objective` (={type(experiment.objective).__name__}) does not go with `model` "
        f"(={model}) and the optimisers (`discriminator` "
        f"{state_of(experiment.discriminator)}, `encoder` {state_of(experiment.encoder)}): "
        "Adversarial needs a GAN and a discriminator's optimiser, Variational a VAE and an "
        "encoder's, Reconstruction a generator alone such as DenseGenerator, FlowMatching and "
        "MeanFlow a flow such as FlowMlp or Unet, NextToken a Transformer."
    )


def with_flips(step: Step) -> Step:
    """Build a step that mirrors each real image left and right with probability ½ first."""

    def step_with_flips(state: Any, batch: Batch, key: Key[Array, ""]) -> tuple[Any, Metrics]:
        image = jnp.asarray(batch.example)
        num_draws, num_local = image.shape[:2]
        shape = (num_local * jax.lax.axis_size(AXIS), num_draws)
        coins = local_slice(jax.random.bernoulli(named_key(key, "flip"), 0.5, shape))
        is_mirrored = coins.T[:, :, None, None, None]
        image = jnp.where(is_mirrored, image[..., ::-1, :], image)
        return step(state, batch._replace(example=image), key)

    return step_with_flips


def ema_decay(experiment: config.Config) -> optax.ScalarOrSchedule:
    """Return the decay per step of an average with the configured half-life; 0 for no average.

    It is a function of the number of steps so far where the half-life changes.
    """
    half_life = build_ramp(experiment.ema_half_life, experiment.ema_ramp)
    if callable(half_life):
        return lambda step: (
            0.5 ** (experiment.batch_size / jnp.maximum(half_life(step), SHORTEST_HALF_LIFE))
        )
    if not experiment.ema_half_life:
        return 0.0
    return 0.5 ** (experiment.batch_size / experiment.ema_half_life)


def _gan_task(
    experiment: config.Config,
    objective: config.Adversarial,
    gan: Gan,
    discriminator: config.Optimizer,
    channels: Channels,
) -> Task:
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
    generator_tx = build_optimizer(
        experiment.generator, channels=channels["generator"], seed=experiment.seed
    )
    discriminator_tx = build_optimizer(
        discriminator,
        objective.n_critic,
        max_sparsity,
        channels["discriminator"],
        experiment.seed,
    )
    generator_tx = freeze_layers(experiment, "generator", generator_tx, gan)
    discriminator_tx = freeze_layers(experiment, "discriminator", discriminator_tx, gan)
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


def _generator_task(
    experiment: config.Config,
    objective: config.Reconstruction,
    generator: Generator,
    channels: Channels,
) -> Task:
    tx = build_optimizer(experiment.generator, channels=channels["generator"], seed=experiment.seed)
    tx = freeze_layers(experiment, "generator", tx, generator)
    step = make_reconstruction_step(
        generator,
        tx,
        latent_key=named_seed_key(experiment.seed, "latents of examples"),
        activity_strength=objective.activity_strength,
        hidden_activity_strength=objective.hidden_activity_strength,
        accumulate=experiment.accumulate,
        ema_decay=ema_decay(experiment),
    )
    return Task(
        init=partial(init_generator, generator, tx),
        step=step,
        generator=generator,
        batches_per_step=1,
        penalised={},
    )


def check_guidance(experiment: config.Config) -> None:
    """Refuse guidance of a flow model whose training leaves out no labels, and guiding it twice.

    Args:
        experiment: of a flow model.

    Raises:
        InputError: naming what to train with, or to leave out.
    """
    guidance = getattr(experiment.model, "guidance", 0.0)
    learned = getattr(experiment.objective, "guidance", 0.0)
    dropout = getattr(experiment.objective, "label_dropout", 0.0)
    if guidance and learned:
        raise config.InputError(
            f"`model.guidance` (={guidance}) must be 0 for a network whose training has guidance "
            f"(`objective.guidance` ={learned}): leave one of them out."
        )
    for name, value in {"model": guidance, "objective": learned}.items():
        if value and not dropout:
            raise config.InputError(
                f"`{name}.guidance` (={value}) needs a network that knows images without their "
                "class: train with --objective.label-dropout 0.1."
            )


def _flow_task(
    experiment: config.Config, objective: config.FlowMatching, flow: Flow, channels: Channels
) -> Task:
    classes = flow.generator.classes
    if objective.label_dropout and not classes:
        raise config.InputError(
            f"`objective.label_dropout` (={objective.label_dropout}) must be 0 for a model without "
            "classes: give `model.classes`, or leave it out."
        )
    if classes and objective.pairing != "independent":
        raise config.InputError(
            f"`objective.pairing` (={objective.pairing}) must be independent for a model with "
            "classes: each class would be learned from a part of the noise alone, and drawn from "
            "all of it."
        )
    if objective.dequantize and flow.generator.image_range is None:
        raise config.InputError(
            f"`objective.dequantize` (={objective.dequantize}) must be False for points, which "
            "have a density without it."
        )
    check_guidance(experiment)
    _check_average_velocity(objective, flow)
    tx = build_optimizer(experiment.generator, channels=channels["generator"], seed=experiment.seed)
    tx = freeze_layers(experiment, "generator", tx, flow)
    step = make_flow_step(
        flow,
        tx,
        **vars(objective),
        accumulate=experiment.accumulate,
        ema_decay=ema_decay(experiment),
    )
    return Task(
        init=partial(init_generator, flow.generator, tx),
        step=step,
        generator=flow.generator,
        batches_per_step=1,
        penalised={},
    )


def _check_average_velocity(objective: config.FlowMatching, flow: Flow) -> None:
    """Raise unless average velocities are trained just where the network gives them."""
    is_trained = isinstance(objective, config.MeanFlow)
    if is_trained and not flow.average_velocity:
        raise config.InputError(
            f"`objective` (={type(objective).__name__}) needs a network that reads the length of "
            "an interval: give --model.average-velocity, and --model.method average to draw "
            "with it."
        )
    if flow.average_velocity and not is_trained:
        raise config.InputError(
            "`model.average_velocity` (=True) must be False for `objective` "
            f"(={type(objective).__name__}), which does not train average velocities: give "
            "--objective mean-flow."
        )
    if isinstance(objective, config.MeanFlow) and objective.instants + objective.whole > 1:
        raise config.InputError(
            f"`objective.whole` (={objective.whole}) must be at most {1 - objective.instants:g}, "
            f"what `objective.instants` (={objective.instants}) leaves of the batch."
        )


def _language_task(experiment: config.Config, model: LanguageModel, channels: Channels) -> Task:
    tx = build_optimizer(experiment.generator, channels=channels["generator"], seed=experiment.seed)
    tx = freeze_layers(experiment, "generator", tx, model)
    step = make_next_token_step(
        model, tx, accumulate=experiment.accumulate, ema_decay=ema_decay(experiment)
    )
    return Task(
        init=partial(init_generator, model, tx),
        step=step,
        generator=model,
        batches_per_step=1,
        penalised={},
    )


def _vae_task(
    experiment: config.Config,
    objective: config.Variational,
    vae: Vae,
    encoder: config.Optimizer,
    channels: Channels,
) -> Task:
    if objective.samples > 1 and (objective.beta != 1 or objective.free_nats):
        raise config.InputError(
            f"`objective.samples` (={objective.samples}) asks for the importance-weighted bound, "
            f"which has neither `objective.beta` (={objective.beta}) other than 1 nor "
            f"`objective.free_nats` (={objective.free_nats}): leave them out, or take one sample."
        )
    encoder_tx = build_optimizer(encoder, channels=channels["encoder"], seed=experiment.seed)
    decoder_tx = build_optimizer(
        experiment.generator, channels=channels["generator"], seed=experiment.seed
    )
    encoder_tx = freeze_layers(experiment, "encoder", encoder_tx, vae)
    decoder_tx = freeze_layers(experiment, "generator", decoder_tx, vae)
    step = make_vae_step(
        vae,
        encoder_tx,
        decoder_tx,
        beta=objective.beta,
        free_nats=objective.free_nats,
        samples=objective.samples,
        accumulate=experiment.accumulate,
        ema_decay=ema_decay(experiment),
    )
    return Task(
        init=partial(init_vae, vae, encoder_tx, decoder_tx),
        step=step,
        generator=vae.generator,
        batches_per_step=1,
        penalised={},
    )

"""From an experiment to the task that the loop trains."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from l1jax import config
from l1jax.build import build_model
from l1jax.build_optimizer import build_penalty, counted_groups, prunes
from l1jax.data.batches import Batch
from l1jax.models import Flow, Gan, Generator, LanguageModel, Vae
from l1jax.models.network import AXIS, local_slice
from l1jax.training.flow_task import flow_task
from l1jax.training.gan_task import gan_task
from l1jax.training.keys import named_key, named_seed_key
from l1jax.training.network_channels import channel_finders, penalised_pattern
from l1jax.training.next_token_step import make_next_token_step
from l1jax.training.reconstruction_step import init_generator, make_reconstruction_step
from l1jax.training.state import Metrics, Step, Task
from l1jax.training.task_parts import Channels, ema_decay, network_optimizer
from l1jax.training.vae_step import init_vae, make_vae_step


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
            task = gan_task(experiment, objective, model, experiment.discriminator, channels)
        case Vae(), config.Variational() if experiment.encoder:
            optimizers["encoder"] = experiment.encoder
            task = _vae_task(experiment, objective, model, channels)
        case Generator(), config.Reconstruction():
            task = _generator_task(experiment, objective, model, channels)
        case Flow(), config.FlowMatching():
            task = flow_task(experiment, objective, model, channels)
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


def _generator_task(
    experiment: config.Config,
    objective: config.Reconstruction,
    generator: Generator,
    channels: Channels,
) -> Task:
    tx = network_optimizer(experiment, "generator", generator, channels)
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


def _language_task(experiment: config.Config, model: LanguageModel, channels: Channels) -> Task:
    tx = network_optimizer(experiment, "generator", model, channels)
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
    channels: Channels,
) -> Task:
    if objective.samples > 1 and (objective.beta != 1 or objective.free_nats):
        raise config.InputError(
            f"`objective.samples` (={objective.samples}) asks for the importance-weighted bound, "
            f"which has neither `objective.beta` (={objective.beta}) other than 1 nor "
            f"`objective.free_nats` (={objective.free_nats}): leave them out, or take one sample."
        )
    encoder_tx = network_optimizer(experiment, "encoder", vae, channels)
    decoder_tx = network_optimizer(experiment, "generator", vae, channels)
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

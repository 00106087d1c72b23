"""What the tasks of all kinds of models are made of."""

from collections.abc import Mapping

import jax.numpy as jnp
import optax

from l1jax.build_optimizer import ChannelGroups, build_optimizer, build_ramp
from l1jax.config import Config
from l1jax.models import Flow, Gan, Generator, LanguageModel, Vae
from l1jax.training.frozen_layers import freeze_layers

Channels = Mapping[str, ChannelGroups]
"""By the name of a network, what finds its channels."""
SHORTEST_HALF_LIFE = 1e-8  # images; at which nothing is averaged


def network_optimizer(
    experiment: Config,
    name: str,
    model: Gan | Vae | Flow | Generator | LanguageModel,
    channels: Channels,
    updates_per_step: int = 1,
    max_sparsity: float = 1.0,
) -> optax.GradientTransformation:
    """Build the optimiser of a network, which leaves its frozen layers as they are.

    Args:
        experiment: its configuration.
        name: of the network: "generator", "discriminator" or "encoder".
        model: that has the network.
        channels: what finds the channels of each network.
        updates_per_step: how often it is updated per training step.
        max_sparsity: the share of zeros above which the strength falls; 1 for no limit.

    Raises:
        InputError: if algorithm, method, penalty, schedules and frozen layers do not go together.
    """
    tx = build_optimizer(
        getattr(experiment, name), updates_per_step, max_sparsity, channels[name], experiment.seed
    )
    return freeze_layers(experiment, name, tx, model)


def ema_decay(experiment: Config) -> optax.ScalarOrSchedule:
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

"""From the configuration of an optimiser to the transformation: algorithm, penalty, schedules."""

from l1jax.build_optimizer.optimizer import build_optimizer
from l1jax.build_optimizer.penalty import (
    ChannelGroups,
    CountedGroups,
    build_penalty,
    counted_groups,
    has_channel_groups,
)
from l1jax.build_optimizer.pruning import prunes
from l1jax.build_optimizer.schedules import build_ramp, build_schedule

__all__ = [
    "ChannelGroups",
    "CountedGroups",
    "build_optimizer",
    "build_penalty",
    "build_ramp",
    "build_schedule",
    "counted_groups",
    "has_channel_groups",
    "prunes",
]

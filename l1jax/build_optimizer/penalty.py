"""From the configuration of a penalty to the penalty."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

from l1jax import config
from l1jax.penalties import (
    Coupled,
    CoupledL0,
    CoupledMcp,
    Penalty,
    Slices,
    coupled,
    coupled_l0,
    coupled_mcp,
    from_configuration,
    l1,
    penalty_groups,
)
from l1jax.penalties.groups import Groups

ChannelGroups = Callable[[], Mapping[str, Slices]]
"""Finds the channels of the network that an optimiser trains."""
CountedGroups: TypeAlias = Groups | list[dict[str, Slices]] | None
"""The groups that a share of zeros counts; None if it counts single entries."""


def build_penalty(penalty: config.Penalty, channels: ChannelGroups | None = None) -> Penalty:
    """Build the penalty that a configuration names.

    Args:
        penalty: its configuration.
        channels: finds the groups of a penalty of channels; None where they cannot be found.

    Raises:
        ValueError: if a number is out of its range, or there are no channels to find.
    """
    match penalty:
        case config.GroupL1(strength, "channels"):
            return coupled(strength, _find(channels))
        case config.GroupL0(strength, "channels"):
            return coupled_l0(strength, _find(channels))
        case config.GroupMcp(strength, gamma, "channels"):
            return coupled_mcp(strength, gamma, _find(channels))
    if isinstance(penalty, config.ReweightedL1):
        return l1(penalty.strength)  # the weights are a scale, which `build_optimizer` adds
    return from_configuration(penalty)


def _find(channels: ChannelGroups | None) -> Mapping[str, Slices]:
    if channels is None:
        raise ValueError(
            "`groups` (=channels) must be output_channels, input_channels, scales or blocks where "
            "no network is given: channels over several layers are those of a network."
        )
    return channels()


def counted_groups(configuration: config.Penalty, penalty: Penalty) -> CountedGroups:
    """Return the groups that a target of zeros counts; None if it counts single entries.

    Args:
        configuration: the penalty's.
        penalty: of one leaf, as it is built.
    """
    if isinstance(configuration, config.SparseGroupL1):
        return None  # single entries of the groups are zero, too
    if isinstance(penalty, Coupled | CoupledL0 | CoupledMcp):
        return [dict(family) for family in penalty.families]
    return penalty_groups(penalty)


def has_channel_groups(penalty: config.Penalty) -> bool:
    """Tell whether a penalty has groups that extend over several arrays."""
    return getattr(penalty, "groups", None) == "channels"

"""The names under which checkpoints store the state, which outlive renamed fields.

Orbax stores the fields of a NamedTuple by name, and a checkpoint's layout is a hash of the names.
Batch statistics are stored as `statistics`.
"""

from typing import NamedTuple

import jax
import optax
from jaxtyping import PyTree

from l1jax.training.state import Average, NetworkState


class StoredNetworkState(NamedTuple):
    """A `NetworkState` as checkpoints store it."""

    params: PyTree
    statistics: PyTree
    opt_state: optax.OptState


class StoredAverage(NamedTuple):
    """An `Average` as checkpoints store it."""

    params: PyTree
    statistics: PyTree


def to_stored(state: PyTree) -> PyTree:
    """Give a state, or a template of one, the names that checkpoints store."""

    def rename(node: PyTree) -> PyTree:
        if isinstance(node, NetworkState):
            return StoredNetworkState(*node)
        if isinstance(node, Average):
            return StoredAverage(*node)
        return node

    renamed = (NetworkState, Average)
    return jax.tree.map(rename, state, is_leaf=lambda node: isinstance(node, renamed))


def from_stored(stored: PyTree) -> PyTree:
    """Give a stored state the names of today; the inverse of `to_stored`."""

    def rename(node: PyTree) -> PyTree:
        if isinstance(node, StoredNetworkState):
            return NetworkState(*node)
        if isinstance(node, StoredAverage):
            return Average(*node)
        return node

    renamed = (StoredNetworkState, StoredAverage)
    return jax.tree.map(rename, stored, is_leaf=lambda node: isinstance(node, renamed))

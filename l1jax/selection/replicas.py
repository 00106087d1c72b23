"""Train replicas of one model side by side: one for each fold of the data and each strength.

This is the engine of every path, of `train_path` as of `python -m l1jax.select`. All leaves of the
replicas' states lead with (folds, strengths), except those that all replicas share.
"""

from collections.abc import Callable
from typing import get_args

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, PyTree

from l1jax.config import InputError
from l1jax.config.choices import PathMode, WarmOrder

STRENGTH_AXIS = "path"  # the mesh axis over which the strengths are divided
DIVIDED = P(None, STRENGTH_AXIS)  # leaves that lead with (folds, strengths)
REPLICATED = P()


def strength_groups(count: int, how: str, order: str) -> list[list[int]]:
    """Return which strengths train side by side, one group after another.

    Args:
        count: how many strengths there are, numbered from weak to strong.
        how: "together" is one group of all strengths; "independent" and "warm" are groups of one.
        order: in which the groups of "warm" follow each other.

    Raises:
        InputError: if `how` or `order` is unknown.
    """
    if how not in get_args(PathMode):
        raise InputError(f"`how` (={how!r}) must be one of {', '.join(get_args(PathMode))}.")
    if order not in get_args(WarmOrder):
        raise InputError(f"`order` (={order!r}) must be one of {', '.join(get_args(WarmOrder))}.")
    if how == "together":
        return [list(range(count))]
    groups = [[index] for index in range(count)]
    if how == "warm" and order == "sparse-to-dense":
        groups.reverse()
    return groups


def vectorize(
    run: Callable[[PyTree, PyTree, PyTree], tuple[PyTree, PyTree]],
    *,
    state_axes: PyTree = 0,
    mesh: Mesh | None = None,
    state_spec: PyTree = DIVIDED,
    fold_spec: PyTree = REPLICATED,
    check_vma: bool = True,
) -> Callable[[PyTree, PyTree, PyTree], tuple[PyTree, PyTree]]:
    """Map the training of one replica over all folds and strengths, and over devices.

    Args:
        run: (state, fold, shared) → (state, outputs) of one replica. `fold` is what the replicas
            of one fold have in common, and `shared` is the same for all replicas.
        state_axes: 0, or a tree like the state with None for the leaves that all replicas share.
        mesh: the devices; its axis `STRENGTH_AXIS` divides the strengths. None for the default
            device alone.
        state_spec: how the mesh divides the states: `DIVIDED`, or a tree like the state with
            `REPLICATED` for the leaves that all replicas share.
        fold_spec: how the mesh divides the folds' inputs.
        check_vma: whether `jax.shard_map` checks which values differ between devices. `run` needs
            the check if it has collectives, and need not pass it if it has none.

    Returns:
        (states, folds, shared) → (states, outputs); `folds` lead with the folds, and the states
        and outputs with (folds, strengths).
    """
    over_strengths = jax.vmap(run, in_axes=(state_axes, None, None), out_axes=(state_axes, 0))
    over_folds = jax.vmap(over_strengths, in_axes=(state_axes, 0, None), out_axes=(state_axes, 0))
    if mesh is None:
        return over_folds
    return jax.shard_map(
        over_folds,
        mesh=mesh,
        in_specs=(state_spec, fold_spec, REPLICATED),
        out_specs=(state_spec, DIVIDED),
        check_vma=check_vma,
    )


def repeat_for_strengths(states: PyTree, count: int) -> PyTree:
    """Give every strength a copy of its fold's state: (folds, …) becomes (folds, strengths, …)."""

    def repeat(leaf: Array) -> Array:
        num_folds, *shape = leaf.shape
        return jnp.broadcast_to(leaf[:, None], (num_folds, count, *shape))

    return jax.tree.map(repeat, states)


def set_strengths(
    states: PyTree,
    strengths: Float[Array, " strengths"],
    set_strength: Callable[[PyTree, Float[Array, ""]], PyTree],
    state_axes: PyTree = 0,
) -> PyTree:
    """Set the strength of every replica.

    Args:
        states: of all replicas.
        strengths: one for each column of the replicas.
        set_strength: (state, strength) → the state of one replica with this strength.
        state_axes: as for `vectorize`.
    """
    over_strengths = jax.vmap(set_strength, in_axes=(state_axes, 0), out_axes=state_axes)
    over_folds = jax.vmap(over_strengths, in_axes=(state_axes, None), out_axes=state_axes)
    return over_folds(states, strengths)

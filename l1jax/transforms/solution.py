"""The exactly sparse iterate of methods whose parameters are not."""

from collections.abc import Hashable
from typing import TypeAlias

import jax
import jax.numpy as jnp
import optax

from l1jax.annotations import Array, ArrayLike, PyTree
from l1jax.penalties import path_name
from l1jax.penalties.sparsity import show_paths
from l1jax.transforms.acceleration import AcceleratedState
from l1jax.transforms.dual_averaging_update import DualAveragingState
from l1jax.transforms.sparse_iterates import SparseLookaheadState, SparseScheduleFreeState

KeyPath: TypeAlias = tuple[Hashable, ...]
WITH_SOLUTION = (
    AcceleratedState,
    DualAveragingState,
    SparseLookaheadState,
    SparseScheduleFreeState,
)


def solution(opt_state: optax.OptState, params: PyTree) -> PyTree:
    """Take the sparse iterate from the state where there is one, the parameters elsewhere.

    For `accelerated`, `regularized_dual_averaging`, `rmda`, `ramda`, `sparse_schedule_free` and
    `sparse_lookahead`, however deeply wrapped, this is the model to evaluate and to ship; for every
    other transformation it is `params`. Leaves that `optax.masked` or `partition` hides from these
    transformations, and leaves that are not of floating point, come from `params`.

    Args:
        opt_state: the state of any chain.
        params: the parameters that belong to it.

    Raises:
        ValueError: if the parameters do not have the leaves that the state has a solution of.

    >>> import jax.numpy as jnp, l1jax
    >>> tx, params = l1jax.rmda(1.0, l1jax.l1(0.5), momentum=0.5), jnp.ones(2)
    >>> updates, state = tx.update(jnp.array([0.25, 0.75]), tx.init(params), params)
    >>> l1jax.solution(state, params + updates).tolist()
    [0.25, 0.0]
    """
    for state in jax.tree.leaves(opt_state, is_leaf=_has_solution):
        if _has_solution(state):
            solution_leaves = dict(jax.tree_util.tree_leaves_with_path(state.solution))
            params = _replace_leaves(params, solution_leaves)
    return params


def _replace_leaves(params: PyTree, solution_leaves: dict[KeyPath, Array]) -> PyTree:
    """Replace the leaves of the parameters that the solution has, whatever boxes these are in."""
    paths = dict(jax.tree_util.tree_leaves_with_path(params))
    for path, leaf in solution_leaves.items():
        if path not in paths or jnp.shape(paths[path]) != leaf.shape:
            raise ValueError(
                f"`params` (leaves {show_paths([path_name(path) for path in paths])}) must be "
                "those of `opt_state`, which has a solution of "
                f"{show_paths([path_name(path) for path in solution_leaves])}."
            )

    def replace(path: KeyPath, p: ArrayLike) -> ArrayLike:
        if path not in solution_leaves:
            return p
        return solution_leaves[path].astype(jnp.result_type(p))

    return jax.tree_util.tree_map_with_path(replace, params)


def _has_solution(node: PyTree) -> bool:
    return isinstance(node, WITH_SOLUTION)

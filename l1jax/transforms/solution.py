"""The exactly sparse iterate of methods whose parameters are not."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from l1jax.penalties import path_name
from l1jax.penalties.sparsity import some
from l1jax.transforms.acceleration import AcceleratedState
from l1jax.transforms.dual_averaging import DualAveragingState


def solution(opt_state: optax.OptState, params: PyTree) -> PyTree:
    """Take the sparse iterate from the state where there is one, the parameters elsewhere.

    For `accelerated`, `regularized_dual_averaging`, `rmda` and `ramda`, however deeply wrapped, this
    is what to evaluate and to ship; for every other transformation it is `params`. Leaves that
    `optax.masked` or `partition` keeps from them, and those that are not of floating point, come from
    `params`.

    Args:
        opt_state: the state of any chain.
        params: the parameters that belong to it.

    Raises:
        ValueError: if the parameters have not the leaves that the state has a solution of.

    >>> import jax.numpy as jnp, l1jax
    >>> tx, params = l1jax.rmda(1.0, l1jax.l1(0.5), momentum=0.5), jnp.ones(2)
    >>> updates, state = tx.update(jnp.array([0.25, 0.75]), tx.init(params), params)
    >>> l1jax.solution(state, params + updates).tolist()
    [0.25, 0.0]
    """
    for state in jax.tree.leaves(opt_state, is_leaf=_has_solution):
        if _has_solution(state):
            params = _replaced(params, dict(jax.tree_util.tree_leaves_with_path(state.solution)))
    return params


def _replaced(params: PyTree, found: dict[Any, Array]) -> PyTree:
    """The parameters with the leaves that were found in the place of theirs; a state may box its own otherwise."""
    paths = dict(jax.tree_util.tree_leaves_with_path(params))
    if any(path not in paths or jnp.shape(paths[path]) != x.shape for path, x in found.items()):
        raise ValueError(
            f"`params` (leaves {some([path_name(path) for path in paths])}) must be those of `opt_state`, which has a "
            f"solution of {some([path_name(path) for path in found])}."
        )
    return jax.tree_util.tree_map_with_path(
        lambda path, p: found[path].astype(jnp.result_type(p)) if path in found else p, params
    )


def _has_solution(node: Any) -> bool:
    return isinstance(node, AcceleratedState | DualAveragingState)

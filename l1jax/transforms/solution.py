"""The exactly sparse iterate of methods whose parameters are not."""

from typing import Any

import jax
import optax
from jaxtyping import PyTree

from l1jax.transforms.acceleration import AcceleratedState
from l1jax.transforms.dual_averaging import DualAveragingState


def solution(opt_state: optax.OptState, params: PyTree) -> PyTree:
    """Take the sparse iterate from the state where there is one, the parameters elsewhere.

    For `accelerated`, `regularized_dual_averaging`, `rmda` and `ramda`, however deeply wrapped, this
    is what to evaluate and to ship; for every other transformation it is `params`. Leaves that
    `optax.masked` or `partition` keeps from them come from `params`.

    Args:
        opt_state: the state of any chain.
        params: the parameters that belong to it.

    >>> import jax.numpy as jnp, l1jax
    >>> tx, params = l1jax.rmda(1.0, l1jax.l1(0.5), momentum=0.5), jnp.ones(2)
    >>> updates, state = tx.update(jnp.array([0.25, 0.75]), tx.init(params), params)
    >>> l1jax.solution(state, params + updates).tolist()
    [0.25, 0.0]
    """
    for state in jax.tree.leaves(opt_state, is_leaf=_has_solution):
        if _has_solution(state):
            params = jax.tree.map(
                lambda x, p: p if _is_masked(x) else x.astype(p.dtype), state.solution, params, is_leaf=_is_masked
            )
    return params


def _has_solution(node: Any) -> bool:
    return isinstance(node, AcceleratedState | DualAveragingState)


def _is_masked(node: Any) -> bool:
    return isinstance(node, optax.MaskedNode)

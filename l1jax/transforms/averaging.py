"""Averages of parameters that keep exact zeros."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Int, PyTree

from l1jax.penalties import check_number
from l1jax.penalties.numerics import is_inexact, upcast
from l1jax.transforms.floating_leaves import is_number
from l1jax.transforms.leaves import copy_leaves, require_params, schedule_value


class SparseEmaState(NamedTuple):
    """State of `sparse_ema`."""

    count: Int[Array, ""]  # updates applied so far
    average: PyTree  # like the parameters, with their zeros


def sparse_ema(decay: optax.ScalarOrSchedule) -> optax.GradientTransformation:
    """Keep an exponential average of the parameters that has their zeros; chain it last.

    Passes the updates on as they are; its state's `average` is the model to sample from. It starts
    at the parameters and moves by `sparse_average` to every new value, so it needs no bias
    correction and converges to where the parameters do.

    Args:
        decay: the share of the old average that is kept, in [0, 1); a scalar or a schedule of the
            number of updates so far.

    Raises:
        ValueError: if `decay` is outside [0, 1); from `update` without `params`.

    Source: Polyak and Juditsky, SIAM J. Control Optim. 30 (1992), on averaging.

    >>> import jax.numpy as jnp, l1jax, optax
    >>> tx, params = optax.chain(optax.sgd(1.0), l1jax.sparse_ema(0.75)), jnp.array([4.0, 1.0])
    >>> updates, state = tx.update(jnp.array([2.0, 1.0]), tx.init(params), params)
    >>> state[-1].average.tolist()  # ¾·4 + ¼·2; 0, where the plain average has ¾
    [3.5, 0.0]
    """
    if not callable(decay):
        check_number("decay", decay, below=1, remedy="such as 0.999")

    def init(params: optax.Params) -> SparseEmaState:
        return SparseEmaState(jnp.zeros([], jnp.int32), copy_leaves(params))

    def update(
        updates: optax.Updates, state: PyTree, params: optax.Params | None = None
    ) -> tuple[optax.Updates, SparseEmaState]:
        moved = jax.tree.map(_moved, require_params(params, "the average follows them"), updates)
        average = sparse_average(state.average, moved, schedule_value(decay, state.count))
        return updates, state._replace(count=optax.safe_increment(state.count), average=average)

    return optax.GradientTransformation(init, update)


def sparse_average(average: PyTree, params: PyTree, decay: ArrayLike) -> PyTree:
    """Move an exponential average towards `params`, keeping every zero of `params` exactly zero.

    avg ← 0 where p = 0; p where avg = 0 (an entry that comes back starts afresh, not from its
    zero); decay·avg + (1 − decay)·p elsewhere. Leaves that are not of floating point have no average and
    are p.

    Args:
        average: the average so far; `params` at the start.
        params: the parameters now, a tree of the same structure.
        decay: in [0, 1); the share of the old average that is kept.

    >>> import jax.numpy as jnp, l1jax
    >>> l1jax.sparse_average(jnp.array([4.0, 1.0, 0.0]), jnp.array([2.0, 0.0, 3.0]), 0.5).tolist()
    [3.0, 0.0, 3.0]
    """

    def move(a: Any, p: Any) -> Any:
        if not is_inexact(a):
            return p
        old, new = upcast(jnp.asarray(a)), upcast(jnp.asarray(p))
        mixed = old + (1 - decay) * (new - old)
        return jnp.where((new == 0) | (old == 0), new, mixed).astype(jnp.result_type(a))

    return jax.tree.map(move, average, params)


def _moved(p: Any, u: Any) -> Any:
    """The parameter after the update; one that is not of floating point may have a gradient of float0."""
    return optax.apply_updates(p, u) if is_number(u) else p

"""Averages of parameters that keep exact zeros."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from l1jax.annotations import Array, ArrayLike, Int, PyTree
from l1jax.penalties import check_number
from l1jax.penalties.numerics import Leaf, is_inexact, upcast
from l1jax.transforms.floating_leaves import is_number
from l1jax.transforms.leaves import copy_leaves, require_params, schedule_value


class SparseEmaState(NamedTuple):
    """State of `sparse_ema`."""

    count: Int[Array, ""]  # updates applied so far
    average: PyTree  # like the parameters, with their zeros


def sparse_ema(decay: optax.ScalarOrSchedule) -> optax.GradientTransformation:
    """Keep an exponential average of the parameters that has their zeros; chain it last.

    It passes the updates on as they are. The `average` in its state is the model to sample from: it
    starts at the parameters and moves by `sparse_average` towards every new value, so it needs no
    bias correction and converges to where the parameters converge.

    Args:
        decay: the share of the old average that is kept, in [0, 1); a scalar or a schedule of the
            number of updates so far.

    Raises:
        ValueError: if `decay` is outside [0, 1); from `update` without `params`.

    Source: Polyak and Juditsky, SIAM J. Control Optim. 30 (1992), on averaging.

    >>> import jax.numpy as jnp, l1jax, optax
    >>> tx = optax.chain(optax.sgd(1.0), l1jax.sparse_ema(0.75))
    >>> params = jnp.array([4.0, 1.0])
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
        params = require_params(params, "the average follows them")
        new_params = jax.tree.map(_apply_update, params, updates)
        average = sparse_average(state.average, new_params, schedule_value(decay, state.count))
        return updates, state._replace(count=optax.safe_increment(state.count), average=average)

    return optax.GradientTransformation(init, update)


def sparse_average(average: PyTree, params: PyTree, decay: ArrayLike) -> PyTree:
    """Move an exponential average towards `params`, keeping every zero of `params` exactly zero.

    avg ← 0 where p = 0; p where avg = 0 (an entry that comes back starts afresh, not from its
    zero); decay·avg + (1 − decay)·p elsewhere. Leaves that are not of floating point have no
    average: they become p.

    Args:
        average: the average so far; `params` at the start.
        params: the parameters now, a tree of the same structure.
        decay: the share of the old average that is kept, in [0, 1).

    >>> import jax.numpy as jnp, l1jax
    >>> average, params = jnp.array([4.0, 1.0, 0.0]), jnp.array([2.0, 0.0, 3.0])
    >>> l1jax.sparse_average(average, params, 0.5).tolist()
    [3.0, 0.0, 3.0]
    """

    def update(a: Leaf, p: Leaf) -> Leaf:
        if not is_inexact(a):
            return p
        old = upcast(a)
        new = upcast(p)
        mixed = old + (1 - decay) * (new - old)
        return jnp.where((new == 0) | (old == 0), new, mixed).astype(jnp.result_type(a))

    return jax.tree.map(update, average, params)


def _apply_update(p: Leaf, u: Leaf) -> Leaf:
    """Return the parameter after its update, or as it is where the update is of float0."""
    if not is_number(u):
        return p
    return optax.apply_updates(p, u)

"""Training on a fixed support, without the penalty's bias."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from l1jax.penalties import check_number, select_leaves
from l1jax.penalties.numerics import is_inexact
from l1jax.transforms.leaves import require_params_like


def freeze_support(pattern: str = "", start: int = 0) -> optax.GradientTransformation:
    """Keep every zero at zero and train the rest freely: the debiasing phase; chain it last.

    u ← 0 where p = 0. L1 shrinks what it keeps; after it has chosen the support, train on without the
    penalty under this transformation, for instance `optax.chain(optax.adam(1e-4), freeze_support())`.
    Converges to a stationary point of the loss alone among the parameters with this support (the
    relaxed lasso for linear models). The zeros of the parameters are the mask.

    Args:
        pattern: regular expression, searched in the leaf's path; by default every leaf, so biases
            that are still at their initial zero stay there too. Leaves that are not of floating point
            are left alone.
        start: update, counted from 0, from which zeros stay; before it nothing is changed.

    Raises:
        ValueError: if `start` is negative or `pattern` no regular expression; from `init` if it matches no
            leaf; from `update` without `params`.

    Source: Meinshausen, Relaxed lasso, Comput. Stat. Data Anal. 52 (2007).

    >>> import jax.numpy as jnp, l1jax, optax
    >>> tx, params = optax.chain(optax.sgd(1.0), l1jax.freeze_support()), jnp.array([2.0, 0.0])
    >>> updates, _ = tx.update(jnp.ones(2), tx.init(params), params)
    >>> optax.apply_updates(params, updates).tolist()
    [1.0, 0.0]
    """

    check_number("start", start)

    def init(params: optax.Params) -> optax.OptState:
        select_leaves(params, pattern)
        return optax.ScaleByScheduleState(jnp.zeros([], jnp.int32)) if start else optax.EmptyState()

    def update(
        updates: optax.Updates, state: PyTree, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.OptState]:
        params = require_params_like(params, updates, "their zeros are the ones to keep")
        begun = state.count >= start if start else True
        updates = jax.tree.map(
            lambda u, p, frozen: _frozen(u, p, begun) if frozen else u,
            updates,
            params,
            select_leaves(params, pattern),
        )
        return updates, optax.ScaleByScheduleState(
            optax.safe_increment(state.count)
        ) if start else state

    return optax.GradientTransformation(init, update)


def _frozen(u: Any, p: Any, begun: bool | Array) -> Any:
    """0 where p = 0, if p is of floating point."""
    return jnp.where(begun & (jnp.asarray(p) == 0), jnp.zeros_like(u), u) if is_inexact(p) else u

"""Training on a fixed support, without the penalty's bias."""

import jax
import jax.numpy as jnp
import optax

from l1jax.annotations import PyTree
from l1jax.penalties import check_number, select_leaves
from l1jax.penalties.numerics import Leaf, is_inexact
from l1jax.transforms.leaves import require_params_like


def freeze_support(pattern: str = "", start: int = 0) -> optax.GradientTransformation:
    """Keep every zero at zero and train the rest freely: the debiasing phase; chain it last.

    u ← 0 where p = 0. L1 shrinks the entries that it does not make zero. After it has chosen the
    support, train on without the penalty under this transformation, for instance with
    `optax.chain(optax.adam(1e-4), freeze_support())`. It converges to a stationary point of the
    loss alone among the parameters with this support (the relaxed lasso for linear models). The
    zeros of the parameters are the mask.

    Args:
        pattern: regular expression, searched in the leaf's path; by default every leaf, so biases
            that are still at their initial zero stay there too. Leaves that are not of floating
            point are left alone.
        start: the update, counted from 0, from which zeros stay; nothing is changed before it.

    Raises:
        ValueError: if `start` is negative or `pattern` no regular expression; from `init` if it
            matches no leaf; from `update` without `params`.

    Source: Meinshausen, Relaxed lasso, Comput. Stat. Data Anal. 52 (2007).

    >>> import jax.numpy as jnp, l1jax, optax
    >>> tx = optax.chain(optax.sgd(1.0), l1jax.freeze_support())
    >>> params = jnp.array([2.0, 0.0])
    >>> updates, _ = tx.update(jnp.ones(2), tx.init(params), params)
    >>> optax.apply_updates(params, updates).tolist()
    [1.0, 0.0]
    """
    check_number("start", start)

    def init(params: optax.Params) -> optax.OptState:
        select_leaves(params, pattern)  # raises if it matches no leaf
        if not start:
            return optax.EmptyState()
        return optax.ScaleByScheduleState(jnp.zeros([], jnp.int32))

    def update(
        updates: optax.Updates, state: PyTree, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.OptState]:
        params = require_params_like(params, updates, "their zeros are the ones to keep")
        active = state.count >= start if start else True

        def freeze(u: Leaf, p: Leaf, selected: bool) -> Leaf:
            if not selected or not is_inexact(p):
                return u
            return jnp.where(active & (jnp.asarray(p) == 0), jnp.zeros_like(u), u)

        updates = jax.tree.map(freeze, updates, params, select_leaves(params, pattern))
        if not start:
            return updates, state
        return updates, optax.ScaleByScheduleState(optax.safe_increment(state.count))

    return optax.GradientTransformation(init, update)

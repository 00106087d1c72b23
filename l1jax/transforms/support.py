"""Training on a fixed support, without the penalty's bias."""

import jax
import jax.numpy as jnp
import optax

from l1jax.penalties import selected
from l1jax.transforms.leaves import matched


def freeze_support(pattern: str = "") -> optax.GradientTransformation:
    """Keep every zero at zero and train the rest freely: the debiasing phase; chain it last.

    u ← 0 where p = 0. L1 shrinks what it keeps; after it has chosen the support, train on without the
    penalty under this transformation, for instance `optax.chain(optax.adam(1e-4), freeze_support())`.
    Converges to a stationary point of the loss alone among the parameters with this support (the
    relaxed lasso for linear models). The state is empty: the zeros of the parameters are the mask.

    Args:
        pattern: regular expression, searched in the leaf's path; by default every leaf, so biases
            that are still at their initial zero stay there too.

    Raises:
        ValueError: if `pattern` is no regular expression; from `init` if it matches no leaf; from
            `update` without `params`.

    Source: Meinshausen, Relaxed lasso, Comput. Stat. Data Anal. 52 (2007).

    >>> import jax.numpy as jnp, l1jax, optax
    >>> tx, params = optax.chain(optax.sgd(1.0), l1jax.freeze_support()), jnp.array([2.0, 0.0])
    >>> updates, _ = tx.update(jnp.ones(2), tx.init(params), params)
    >>> optax.apply_updates(params, updates).tolist()
    [1.0, 0.0]
    """

    def init(params: optax.Params) -> optax.OptState:
        selected(params, pattern)
        return optax.EmptyState()

    def update(
        updates: optax.Updates, state: optax.OptState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.OptState]:
        params = matched(params, updates, "their zeros are the ones to keep")
        updates = jax.tree.map(
            lambda u, p, frozen: jnp.where(p == 0, jnp.zeros_like(u), u) if frozen else u,
            updates,
            params,
            selected(params, pattern),
        )
        return updates, state

    return optax.GradientTransformation(init, update)

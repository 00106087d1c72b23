"""The learning rate in force: part of the optimiser's state, readable, and lowered from outside."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Float, Int, PyTree

from l1jax.transforms.leaves import schedule_value


class LearningRateState(NamedTuple):
    """State of `with_learning_rate`."""

    count: Int[Array, ""]  # updates applied so far
    scale: Float[Array, ""]  # what the user sets: multiplies the learning rate
    value: Float[Array, ""]  # the learning rate of the last update, schedule and scale included
    inner: optax.OptState


def with_learning_rate(
    make: Callable[[Float[Array, ""]], optax.GradientTransformation],
    learning_rate: optax.ScalarOrSchedule,
) -> optax.GradientTransformation:
    """Build an optimiser anew at every update, with the learning rate of that update.

    The whole chain sees one number, the threshold of a prox as well as the step before it; so
    `set_learning_rate_scale` slows a run down without another compilation, and solves the same problem.

    Args:
        make: learning rate → transformation; the same state for every learning rate.
        learning_rate: a scalar or a schedule of the number of updates so far.

    >>> import jax.numpy as jnp, l1jax, optax
    >>> tx, params = with_learning_rate(lambda rate: l1jax.proximal_sgd(rate, l1jax.l1(1.0)), 0.5), jnp.ones(1)
    >>> state = set_learning_rate_scale(tx.init(params), 0.5)
    >>> updates, _ = tx.update(jnp.ones(1), state, params)
    >>> updates.tolist()  # −¼·1 of the gradient, −¼·1 of the penalty
    [-0.5]
    """

    def init(params: optax.Params) -> LearningRateState:
        rate = jnp.asarray(schedule_value(learning_rate, jnp.zeros([], jnp.int32)), float)
        return LearningRateState(
            jnp.zeros([], jnp.int32), jnp.ones([], float), rate, make(rate).init(params)
        )

    def update(
        updates: optax.Updates, state: PyTree, params: optax.Params | None = None
    ) -> tuple[optax.Updates, LearningRateState]:
        rate = (schedule_value(learning_rate, state.count) * state.scale).astype(state.value.dtype)
        updates, inner = make(rate).update(updates, state.inner, params)
        return updates, state._replace(
            count=optax.safe_increment(state.count), value=rate, inner=inner
        )

    return optax.GradientTransformation(init, update)


def learning_rate(opt_state: optax.OptState) -> Float[Array, ""]:
    """Read the learning rate of the last update from a state of `with_learning_rate`; NaN where there is none."""
    states = [node for node in jax.tree.leaves(opt_state, is_leaf=_has_rate) if _has_rate(node)]
    return states[0].value if states else jnp.asarray(jnp.nan)


def set_learning_rate_scale(tree: Any, scale: ArrayLike) -> Any:
    """Multiply the learning rate of every optimiser in a tree of states by `scale`, from the next update on."""
    return jax.tree.map(
        lambda node: (
            node._replace(scale=jnp.asarray(scale, node.scale.dtype)) if _has_rate(node) else node
        ),
        tree,
        is_leaf=_has_rate,
    )


def learning_rate_scales(tree: Any) -> list[Float[Array, ""]]:
    """Read what multiplies the learning rate of each optimiser in a tree of states."""
    return [node.scale for node in jax.tree.leaves(tree, is_leaf=_has_rate) if _has_rate(node)]


def _has_rate(node: Any) -> bool:
    return isinstance(node, LearningRateState)

"""The learning rate in force: a part of the optimiser's state that can be read and lowered."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from l1jax.annotations import Array, ArrayLike, Float, Int, PyTree
from l1jax.transforms.leaves import schedule_value


class LearningRateState(NamedTuple):
    """State of `with_learning_rate`."""

    count: Int[Array, ""]  # updates applied so far
    scale: Float[Array, ""]  # set by the user: multiplies the learning rate
    value: Float[Array, ""]  # the learning rate of the last update, schedule and scale included
    inner: optax.OptState


def with_learning_rate(
    make: Callable[..., optax.GradientTransformation],
    learning_rate: optax.ScalarOrSchedule,
    b2: optax.ScalarOrSchedule | None = None,
) -> optax.GradientTransformation:
    """Build an optimiser anew at every update, with the learning rate of that update.

    All links of a chain see the same number, the threshold of a prox as well as the step before it.
    So `set_learning_rate_scale` slows a run down without another compilation, and the run solves
    the same problem.

    Args:
        make: a function of the learning rate, and of `b2` where it is given, that builds the
            optimiser, whose state must have the same structure for all their values.
        learning_rate: a scalar or a schedule of the number of updates so far.
        b2: the decay of the second moment, likewise.

    >>> import jax.numpy as jnp, l1jax, optax
    >>> tx = with_learning_rate(lambda rate: l1jax.proximal_sgd(rate, l1jax.l1(1.0)), 0.5)
    >>> params = jnp.ones(1)
    >>> state = set_learning_rate_scale(tx.init(params), 0.5)
    >>> updates, _ = tx.update(jnp.ones(1), state, params)
    >>> updates.tolist()  # −¼·1 of the gradient, −¼·1 of the penalty
    [-0.5]
    """

    def others(count: Int[Array, ""]) -> tuple[ArrayLike, ...]:
        if b2 is None:
            return ()
        return (b2(count),) if callable(b2) else (b2,)

    def init(params: optax.Params) -> LearningRateState:
        count = jnp.zeros([], jnp.int32)
        rate = jnp.asarray(schedule_value(learning_rate, count), float)
        return LearningRateState(
            count, jnp.ones([], float), rate, make(rate, *others(count)).init(params)
        )

    def update(
        updates: optax.Updates, state: PyTree, params: optax.Params | None = None
    ) -> tuple[optax.Updates, LearningRateState]:
        rate = schedule_value(learning_rate, state.count) * state.scale
        rate = rate.astype(state.value.dtype)
        built = make(rate, *others(state.count))
        updates, inner = built.update(updates, state.inner, params)
        count = optax.safe_increment(state.count)
        return updates, state._replace(count=count, value=rate, inner=inner)

    return optax.GradientTransformation(init, update)


def learning_rate(opt_state: optax.OptState) -> Float[Array, ""]:
    """Read the learning rate of the last update, or NaN where no `with_learning_rate` is."""
    states = _learning_rate_states(opt_state)
    if not states:
        return jnp.asarray(jnp.nan)
    return states[0].value


def set_learning_rate_scale(tree: PyTree, scale: ArrayLike) -> PyTree:
    """Multiply the learning rate of every optimiser in a tree of states from the next update on."""

    def replace_scale(node: PyTree) -> PyTree:
        if not _has_rate(node):
            return node
        return node._replace(scale=jnp.asarray(scale, node.scale.dtype))

    return jax.tree.map(replace_scale, tree, is_leaf=_has_rate)


def learning_rate_scales(tree: PyTree) -> list[Float[Array, ""]]:
    """Read the factor on the learning rate of each optimiser in a tree of states."""
    return [state.scale for state in _learning_rate_states(tree)]


def _learning_rate_states(tree: PyTree) -> list[LearningRateState]:
    return [node for node in jax.tree.leaves(tree, is_leaf=_has_rate) if _has_rate(node)]


def _has_rate(node: PyTree) -> bool:
    return isinstance(node, LearningRateState)

"""Lookahead and the schedule-free method in forms that keep exact zeros."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from l1jax.annotations import Array, ArrayLike, Float, Int, PyTree
from l1jax.penalties import check_number, is_concrete_number
from l1jax.penalties.numerics import upcast
from l1jax.transforms.averaging import sparse_average
from l1jax.transforms.floating_leaves import on_floating_leaves
from l1jax.transforms.leaves import check_rate, copy_leaves, require_params_like, schedule_value


class SparseLookaheadState(NamedTuple):
    """State of `sparse_lookahead`."""

    count: Int[Array, ""]  # updates applied so far
    solution: PyTree  # the slow parameters, with the zeros of the fast ones
    inner: optax.OptState


class SparseScheduleFreeState(NamedTuple):
    """State of `sparse_schedule_free`."""

    count: Int[Array, ""]  # updates applied so far
    largest_rate: Float[Array, ""]  # of the learning rates so far
    weight: Float[Array, ""]  # of all iterates in the average so far
    iterate: PyTree  # z, what the inner optimiser moves
    solution: PyTree  # x, the average, with the zeros of z
    inner: optax.OptState


def sparse_lookahead(
    inner: optax.GradientTransformation, sync_period: int, slow_step_size: ArrayLike
) -> optax.GradientTransformation:
    """Pull the parameters back to slow ones now and then, keeping every zero of the fast ones.

    After every `sync_period` updates of `inner` the slow parameters move by `sparse_average` a
    share of the way to the parameters, which then continue from there. In `optax.lookahead` an
    entry that `inner` has made zero would creep there: its slow value shrinks by 1 − slow_step_size
    at a time. The fixed points are those of `inner`, to which it converges if `inner` does.

    The solution is `l1jax.solution(opt_state, params)`, the slow parameters.

    Args:
        inner: a whole optimiser whose last step is a prox, such as `l1jax.proximal_adam`.
        sync_period: updates of `inner` between two of the slow parameters, at least 1.
        slow_step_size: the share of the way, in (0, 1].

    Raises:
        ValueError: if `sync_period` is below 1 or `slow_step_size` outside (0, 1]; from `update`
            without `params`.

    Source: Zhang, Lucas, Hinton, Ba, Lookahead optimizer: k steps forward, 1 step back, NeurIPS
    2019, algorithm 1.

    >>> import jax.numpy as jnp, l1jax, optax
    >>> tx = l1jax.sparse_lookahead(l1jax.proximal_sgd(0.5, l1jax.l1(1.0)), 2, 0.5)
    >>> params = jnp.array([4.0, 0.5])
    >>> state = tx.init(params)
    >>> for _ in range(2):  # without gradients the prox subtracts 0.5 at a time, up to 0
    ...     updates, state = tx.update(jnp.zeros(2), state, params)
    ...     params = optax.apply_updates(params, updates)
    >>> params.tolist()  # half-way from 4 to 3; 0, not half-way there
    [3.5, 0.0]
    """
    check_number("sync_period", sync_period, remedy="it is a number of updates")
    if sync_period < 1:
        raise ValueError(f"`sync_period` (={sync_period}) must be at least 1 update.")
    check_number("slow_step_size", slow_step_size, remedy="such as 0.5")
    if is_concrete_number(slow_step_size) and not 0 < slow_step_size <= 1:
        raise ValueError(f"`slow_step_size` (={slow_step_size}) must be in (0, 1], such as 0.5.")

    def init(params: optax.Params) -> SparseLookaheadState:
        return SparseLookaheadState(
            jnp.zeros([], jnp.int32), copy_leaves(params), inner.init(params)
        )

    def update(
        updates: optax.Updates, state: PyTree, params: optax.Params | None = None
    ) -> tuple[optax.Updates, SparseLookaheadState]:
        params = require_params_like(params, updates, "the slow parameters follow them")
        updates, inner_state = inner.update(updates, state.inner, params)
        fast = optax.apply_updates(params, updates)
        count = jnp.asarray(optax.safe_increment(state.count))
        is_due = count % sync_period == 0
        slow = sparse_average(state.solution, fast, 1 - jnp.asarray(slow_step_size))
        solution = jax.tree.map(lambda new, old: jnp.where(is_due, new, old), slow, state.solution)
        updates = jax.tree.map(
            lambda u, new, p: jnp.where(is_due, _difference(new, p), u), updates, slow, params
        )
        return updates, SparseLookaheadState(count, solution, inner_state)

    return on_floating_leaves(optax.GradientTransformation(init, update), lambda params: None)


def sparse_schedule_free(
    inner: optax.GradientTransformation,
    learning_rate: optax.ScalarOrSchedule,
    b1: ArrayLike = 0.9,
    weight_power: float = 2.0,
) -> optax.GradientTransformation:
    """Average the iterates in place of a decaying learning rate, keeping the zeros of the last one.

    With z the iterate of `inner`, x the average and y the parameters (where the gradient is taken),
    z ← z + inner(g(y)) with its prox at z, x ← (1 − c)x + cz by `sparse_average`, and
    y ← (1 − b1)z + b1·x. c is the weight ηᵏ of this step, η the largest learning rate so far, over
    that of all steps. Where z is zero, so are x and y; in `optax.contrib.schedule_free` an entry
    that has once been off zero is never zero again, and the prox is taken at y, where it belongs to
    z. It converges to where `inner` does with a decaying learning rate: at a fixed point x = y = z,
    and that of `l1jax.proximal_adam` is the optimum of a convex loss and penalty.

    The solution is `l1jax.solution(opt_state, params)`, the average x. Its zeros are those of the
    last iterate, of which single ones come and go under the noise of minibatches.

    Args:
        inner: a whole optimiser whose last step is a prox, without momentum, which y has already:
            `l1jax.proximal_sgd(rate, …)` or `l1jax.proximal_adam(rate, …, b1=0.0)`.
        learning_rate: that of `inner`, a scalar or a schedule that warms up to one; it makes the
            weights of the average.
        b1: the share of x in y, in [0, 1).
        weight_power: k ≥ 0.

    Raises:
        ValueError: if a number is out of its range; from `update` without `params`.

    Source: Defazio et al., The road less scheduled, NeurIPS 2024, equations 3 to 5 and 23.

    >>> import jax, jax.numpy as jnp, l1jax, optax
    >>> tx = l1jax.sparse_schedule_free(l1jax.proximal_sgd(0.5, l1jax.l1(1.0)), 0.5)
    >>> params = jnp.array([0.0, 1.0])
    >>> state, update = tx.init(params), jax.jit(tx.update)
    >>> for _ in range(100):  # ½‖p − (3, 0.2)‖² + ‖p‖₁ has its minimum at (2, 0)
    ...     updates, state = update(params - jnp.array([3.0, 0.2]), state, params)
    ...     params = optax.apply_updates(params, updates)
    >>> [round(x, 2) for x in l1jax.solution(state, params).tolist()]
    [2.0, 0.0]
    """
    check_rate(learning_rate)
    check_number("b1", b1, below=1, remedy="such as 0.9")
    check_number("weight_power", weight_power, remedy="such as 2")

    def init(params: optax.Params) -> SparseScheduleFreeState:
        return SparseScheduleFreeState(
            count=jnp.zeros([], jnp.int32),
            largest_rate=jnp.zeros([], float),
            weight=jnp.zeros([], float),
            iterate=copy_leaves(params),
            solution=copy_leaves(params),
            inner=inner.init(params),
        )

    def update(
        updates: optax.Updates, state: PyTree, params: optax.Params | None = None
    ) -> tuple[optax.Updates, SparseScheduleFreeState]:
        params = require_params_like(params, updates, "they lie between iterate and average")
        rate = schedule_value(learning_rate, state.count)
        largest = jnp.maximum(state.largest_rate, rate).astype(float)
        step_weight = largest**weight_power
        weight = state.weight + step_weight
        share = jnp.where(weight > 0, step_weight / jnp.where(weight > 0, weight, 1), 0)
        moves, inner_state = inner.update(updates, state.inner, state.iterate)
        iterate = optax.apply_updates(state.iterate, moves)
        average = sparse_average(state.solution, iterate, 1 - share)

        def to_parameters(z: Array, x: Array, p: Array) -> Array:
            mixed = upcast(z) + b1 * (upcast(x) - upcast(z))
            return _difference(jnp.where(z == 0, 0, mixed), p)

        new_updates = jax.tree.map(to_parameters, iterate, average, params)
        count = jnp.asarray(optax.safe_increment(state.count))
        return new_updates, SparseScheduleFreeState(
            count, largest, weight, iterate, average, inner_state
        )

    return on_floating_leaves(optax.GradientTransformation(init, update), lambda params: None)


def _difference(new: Array, p: Array) -> Array:
    """Return the update from p to `new`."""
    return (upcast(new) - upcast(p)).astype(p.dtype)

"""Baselines to compare L1 with: magnitude pruning and N:M masks, without any hook in the train loop."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PyTree

from l1jax.penalties import is_concrete_number, select_leaves
from l1jax.penalties.groups import Blocks, from_layout, group_layout, to_layout
from l1jax.penalties.numerics import upcast
from l1jax.transforms.floating_leaves import as_array
from l1jax.transforms.leaves import require_params, select_floating_leaves


class PruningState(NamedTuple):
    """State of `magnitude_pruning` and `n_of_m`."""

    count: Int[Array, ""]  # updates applied so far
    mask: PyTree  # True where an entry lives; None for leaves that are not pruned


def magnitude_pruning(
    schedule: optax.ScalarOrSchedule, every: int = 1, pattern: str = ""
) -> optax.GradientTransformation:
    """Set the smallest entries to zero for good, as many as the schedule says; chain it last.

    After every so many updates the entries of least |p + u| in each leaf join the pruned ones until
    the leaf's share of zeros is that of the schedule; pruned entries stay zero whatever their
    gradient. Converges to a stationary point of the loss among the parameters with the last mask.

    Args:
        schedule: share of zeros per leaf, in [0, 1], of the number of updates so far. Zhu and Gupta's
            cubic one is `optax.polynomial_schedule(0.0, final, power=3, transition_steps=…)`.
        every: updates between two changes of the mask (each counts every leaf's entries 64 times).
        pattern: regular expression, searched in the leaf's path: which leaves are pruned.

    Raises:
        ValueError: if a constant share is outside [0, 1], `every` is below 1, or `pattern` is no
            regular expression; from `init` if it matches no leaf; from `update` without `params`.

    Source: Zhu and Gupta, To prune, or not to prune, arXiv:1710.01878 (2017).

    >>> import jax.numpy as jnp, l1jax, optax
    >>> tx = optax.chain(optax.sgd(1.0), l1jax.magnitude_pruning(0.5))
    >>> params = jnp.array([3.0, -0.1, 2.0, 0.2])
    >>> updates, _ = tx.update(jnp.zeros(4), tx.init(params), params)
    >>> optax.apply_updates(params, updates).tolist()
    [3.0, 0.0, 2.0, 0.0]
    """
    if is_concrete_number(schedule) and not 0 <= schedule <= 1:
        raise ValueError(f"`schedule` (={schedule}) must be a share of zeros from 0 to 1.")
    share = schedule if callable(schedule) else lambda count: schedule

    def choose(moved: Array, alive: Array, count: Array) -> Array:
        pruned = jnp.round(jnp.asarray(share(count)) * moved.size).astype(jnp.int32)
        return alive & largest(jnp.where(alive, jnp.abs(moved), -1.0), moved.size - pruned)

    return _masked(choose, every, 0, pattern)


def n_of_m(
    n: int, m: int, axis: int = -2, *, begin: int = 0, every: int = 1, pattern: str = ""
) -> optax.GradientTransformation:
    """Keep the n largest of every m consecutive entries along an axis, the rest zero; chain it last.

    A projected step: |p + u| decides, so a zero may win its place back. 2:4 along the input axis is
    what sparse tensor cores run. Converges, if the masks settle, to a stationary point of the loss
    among the parameters with these masks.

    Args:
        n: entries kept in each block.
        m: length of a block.
        axis: the axis of the blocks, −2 for the input channels of Flax kernels.
        begin: number of updates before the first mask.
        every: updates between two choices of the mask; in between it is held.
        pattern: regular expression, searched in the leaf's path: which leaves are pruned.

    Raises:
        ValueError: unless 0 < n ≤ m and `every` ≥ 1; from `init` if the pattern matches no leaf or
            an axis is not a multiple of m; from `update` without `params`.

    Source: Zhou et al., Learning N:M fine-grained structured sparse neural networks from scratch,
    ICLR 2021.

    >>> import jax.numpy as jnp, l1jax, optax
    >>> tx, params = optax.chain(optax.sgd(1.0), l1jax.n_of_m(1, 2, axis=0)), jnp.array([3.0, -0.1, 2.0, 5.0])
    >>> updates, _ = tx.update(jnp.zeros(4), tx.init(params), params)
    >>> optax.apply_updates(params, updates).tolist()
    [3.0, 0.0, 0.0, 5.0]
    """
    if not 0 < n <= m:
        raise ValueError(f"`n` (={n}) must be at least 1 and at most `m` (={m}), such as 2 of 4.")

    def choose(moved: Array, alive: Array, count: Array) -> Array:
        if not -moved.ndim <= axis < moved.ndim or moved.shape[axis] % m:
            raise ValueError(
                f"`axis` (={axis}) of a leaf of shape {moved.shape} must be a multiple of `m` (={m}); leave the leaf "
                "out by `pattern`."
            )
        block = [1] * moved.ndim
        block[axis] = m
        shape, axes = group_layout(Blocks(tuple(block)), moved.shape)
        blocks = to_layout(jnp.abs(moved), shape)
        return from_layout(largest(blocks, jnp.asarray(n), axes), moved)

    return _masked(choose, every, begin, pattern)


@functools.partial(jax.jit, static_argnames="axes")
def largest(
    score: Float[Array, "*shape"], count: Int[Array, ""], axes: tuple[int, ...] | None = None
) -> Bool[Array, "*shape"]:
    """Mark exactly `count` entries of the highest score, which is −1 or at least 0; among equals, the first.

    With `axes`, so many in each group of entries that extends over them.

    The bits of such numbers, read as integers, are in their order. A search by bisection finds the score of
    the last one and, among those that have it, the place of the last: 64 sums, and no sort, so that an array
    spread over devices stays where it is.
    """
    bits = 64 if score.dtype == jnp.float64 else 32
    signed, unsigned = (jnp.int64, jnp.uint64) if bits == 64 else (jnp.int32, jnp.uint32)
    key = jax.lax.bitcast_convert_type(upcast(score), signed).astype(unsigned) ^ jnp.asarray(
        1 << (bits - 1), unsigned
    )
    place = jnp.zeros(score.shape, jnp.uint32)
    for axis, length in enumerate(score.shape):
        along = jnp.arange(length, dtype=jnp.uint32).reshape(
            [-1 if a == axis else 1 for a in range(score.ndim)]
        )
        place = place * length + along

    def number(chosen: Array) -> Array:
        return jnp.sum(chosen, axes, dtype=jnp.int32, keepdims=True)

    zero = number(key != key)
    last = _bisect(lambda x: number(key >= x) >= count, bits, zero.astype(unsigned))
    tied = key == last
    missing = count - number(key > last)
    end = _bisect(lambda x: number(tied & (place < x)) <= missing, 32, zero.astype(jnp.uint32))
    return (key > last) | (tied & (place < end))


def _bisect(holds: Callable[[Array], Array], bits: int, zero: Array) -> Array:
    """The largest unsigned integers for which a condition holds that holds from `zero` up to some number."""
    one = jnp.ones([], zero.dtype)

    def narrow(i: Array, found: Array) -> Array:
        candidate = found | (one << (bits - 1 - i).astype(zero.dtype))
        return jnp.where(holds(candidate), candidate, found)

    return jax.lax.fori_loop(0, bits, narrow, zero)


def mask_leaves(params: PyTree, pattern: str) -> PyTree:
    """An all-true mask for the leaves that the pattern selects, None for the others."""
    return jax.tree.map(
        lambda p, chosen: jnp.ones_like(p, bool) if chosen else None,
        params,
        select_floating_leaves(params, pattern),
    )


def zero_outside(mask: Array | None, u: Any, p: Any) -> Any:
    """The update that leaves exact zeros outside the mask."""
    return u if mask is None else jnp.where(mask, u, -jnp.asarray(p, jnp.result_type(u)))


def map_masked(f: Callable[..., Any], mask: PyTree, tree: PyTree, *rest: PyTree) -> PyTree:
    """Apply f to the mask and the other leaves; where the mask is None, the leaf of `tree` passes."""
    return jax.tree.map(
        lambda m, leaf, *others: leaf if m is None else f(m, leaf, *others),
        mask,
        tree,
        *rest,
        is_leaf=lambda m: m is None,
    )


def _masked(
    choose: Callable[[Array, Array, Array], Array], every: int, begin: int, pattern: str
) -> optax.GradientTransformation:
    """Choose a mask at `begin` and after every so many updates, and put zeros outside it."""
    if every < 1:
        raise ValueError(f"`every` (={every}) must be at least 1 update.")
    select_leaves((), pattern)  # refuse what is no regular expression

    def init(params: optax.Params) -> PruningState:
        params = jax.tree.map(as_array, params)
        mask = mask_leaves(params, pattern)
        jax.eval_shape(
            lambda: map_masked(
                lambda m, _, p: choose(jnp.zeros(p.shape), m, jnp.zeros([])), mask, mask, params
            )
        )
        return PruningState(jnp.zeros([], jnp.int32), mask)

    def update(
        updates: optax.Updates, state: PyTree, params: optax.Params | None = None
    ) -> tuple[optax.Updates, PruningState]:
        params = require_params(params, "the entries to prune are chosen at params + updates")
        renew = (state.count >= begin) & ((state.count - begin) % every == 0)
        mask = jax.lax.cond(
            renew,
            lambda: map_masked(
                lambda m, _, p, u: choose(jnp.asarray(optax.apply_updates(p, u)), m, state.count),
                state.mask,
                state.mask,
                params,
                updates,
            ),
            lambda: state.mask,
        )
        return map_masked(zero_outside, mask, updates, params), state._replace(
            count=optax.safe_increment(state.count), mask=mask
        )

    return optax.GradientTransformation(init, update)

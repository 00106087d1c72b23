"""The largest entries of arrays, found without a sort."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from l1jax.annotations import Array, ArrayLike, Bool, Float, Int
from l1jax.penalties.numerics import upcast


@functools.partial(jax.jit, static_argnames="axes")
def largest(
    score: Float[Array, "*shape"], count: Int[Array, ""], axes: tuple[int, ...] | None = None
) -> Bool[Array, "*shape"]:
    """Mark exactly `count` entries of the highest score; among equals, the first ones.

    It takes 64 sums in float32 (96 in float64) and no sort, so that an array spread over devices
    stays where it is.

    Args:
        score: the scores, each −1 or at least 0.
        count: how many entries to mark.
        axes: the axes over which a group extends, to mark so many entries in each group; None for
            one group, the whole array.
    """
    return mark_largest([score], count, axes)[0]


@jax.jit
def largest_of_all(
    scores: list[Float[Array, "..."]], count: Int[Array, ""]
) -> list[Bool[Array, "..."]]:
    """Mark exactly `count` entries of the highest score in several arrays together.

    Args:
        scores: the scores, each −1 or at least 0; at most 2³¹ − 1 in all.
        count: how many entries to mark.
    """
    return mark_largest(scores, count)


def mark_largest(
    scores: list[Array],
    count: ArrayLike,
    axes: tuple[int, ...] | None = None,
    *,
    splits_ties: bool = True,
) -> list[Array]:
    """Mark the entries of the highest score in several arrays together, by two bisections.

    The bits of such scores, read as integers, are in their order. A search by bisection finds the
    score of the last marked entry and, among the entries that have this score, the place of the
    last.

    Args:
        scores: the arrays, each entry −1 or at least 0.
        count: how many entries to mark.
        axes: those of a group in the one array, or None.
        splits_ties: whether among equals the first ones are marked, so that the number is exact;
            otherwise either all or none of the equals of the last are, whichever is closer.
    """
    if not scores:
        return []
    dtype = jnp.result_type(*map(upcast, scores))
    bits = 32
    signed = jnp.int32
    unsigned = jnp.uint32
    if dtype == jnp.float64:
        bits = 64
        signed = jnp.int64
        unsigned = jnp.uint64
    sign_bit = jnp.asarray(1 << (bits - 1), unsigned)
    orders = [
        jax.lax.bitcast_convert_type(score.astype(dtype), signed).astype(unsigned) ^ sign_bit
        for score in scores
    ]
    places = []
    num_before = 0
    for score in scores:
        places.append(_places(score.shape) + jnp.uint32(num_before))
        num_before += score.size

    def count_marked(marks: list[Array]) -> Array:
        """Count in each group, over all arrays."""
        keepdims = axes is not None
        sums = [jnp.sum(mark, axes, dtype=jnp.int32, keepdims=keepdims) for mark in marks]
        return functools.reduce(jnp.add, sums)

    no_entry = [order != order for order in orders]  # laid out over the devices like the scores
    zero = count_marked(no_entry)
    last = _bisect(
        lambda x: count_marked([order >= x for order in orders]) >= count,
        bits,
        zero.astype(unsigned),
    )
    tied = [order == last for order in orders]
    missing = count - count_marked([order > last for order in orders])
    if not splits_ties:
        takes_ties = count_marked(tied) <= 2 * missing
        return [(order > last) | (takes_ties & (order == last)) for order in orders]

    def few_before(x: Array) -> Array:
        marks = [is_tied & (place < x) for is_tied, place in zip(tied, places, strict=True)]
        return count_marked(marks) <= missing

    end = _bisect(few_before, 32, zero.astype(jnp.uint32))
    columns = zip(orders, tied, places, strict=True)
    return [(order > last) | (is_tied & (place < end)) for order, is_tied, place in columns]


def _places(shape: tuple[int, ...]) -> Array:
    """Return the index of each entry in flattening order."""
    place = jnp.zeros(shape, jnp.uint32)
    for axis, length in enumerate(shape):
        broadcast_shape = [1] * len(shape)
        broadcast_shape[axis] = -1
        index = jnp.arange(length, dtype=jnp.uint32).reshape(broadcast_shape)
        place = place * length + index
    return place


def _bisect(holds: Callable[[Array], Array], bits: int, zero: Array) -> Array:
    """Find the largest unsigned integers for which a condition holds.

    It must hold from `zero` up to these numbers.
    """
    one = jnp.ones([], zero.dtype)

    def narrow(i: Array, best: Array) -> Array:
        candidate = best | (one << (bits - 1 - i).astype(zero.dtype))
        return jnp.where(holds(candidate), candidate, best)

    return jax.lax.fori_loop(0, bits, narrow, zero)

"""The entries of the highest score, of one array or of several that are ranked together."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from l1jax.annotations import Array, ArrayLike
from l1jax.penalties.numerics import upcast
from l1jax.transforms.scopes import LeafScopes


def largest_of_scopes(
    scores: list[Array],
    scopes: LeafScopes,
    counts: Sequence[ArrayLike],
    *,
    splits_ties: bool = True,
) -> list[Array]:
    """Mark the entries of the highest score among the leaves of each scope, ranked together.

    Args:
        scores: those of each leaf, each −1 or at least 0.
        scopes: the scope of each leaf.
        counts: how many entries to mark in each scope.
        splits_ties: whether among equals the first ones are marked, so that the number is exact;
            otherwise either all or none of the equals of the last are, whichever is closer.
    """
    marked: list[Array] = [jnp.zeros([], bool)] * len(scores)
    for place, count in enumerate(counts):
        own = [leaf for leaf, index in enumerate(scopes.index) if index == place]
        found = _largest([scores[leaf] for leaf in own], count, None, splits_ties=splits_ties)
        for leaf, mask in zip(own, found, strict=True):
            marked[leaf] = mask
    return marked


def _largest(
    scores: list[Array], count: ArrayLike, axes: tuple[int, ...] | None, *, splits_ties: bool
) -> list[Array]:
    """Mark the entries of the highest score among some arrays, ranked together."""
    scores = [upcast(score) for score in scores]
    dtype = jnp.result_type(*scores)
    bits = 32
    signed = jnp.int32
    unsigned = jnp.uint32
    if dtype == jnp.float64:
        bits = 64
        signed = jnp.int64
        unsigned = jnp.uint64
    sign_bit = jnp.asarray(1 << (bits - 1), unsigned)

    def to_order(score: Array) -> Array:
        integers = jax.lax.bitcast_convert_type(score.astype(dtype), signed)
        return integers.astype(unsigned) ^ sign_bit

    orders = [to_order(score) for score in scores]
    places = _places_in_all(scores)

    def count_in_group(marked: list[Array]) -> Array:
        keeps = axes is not None
        return _sum_arrays([jnp.sum(own, axes, dtype=jnp.int32, keepdims=keeps) for own in marked])

    no_entry = [order != order for order in orders]  # laid out over the devices like the scores
    zero = count_in_group(no_entry)
    last = _bisect(
        lambda x: count_in_group([order >= x for order in orders]) >= count,
        bits,
        zero.astype(unsigned),
    )
    is_tied = [order == last for order in orders]
    missing = count - count_in_group([order > last for order in orders])
    if not splits_ties:
        takes_ties = count_in_group(is_tied) <= 2 * missing
        return [(order > last) | (takes_ties & (order == last)) for order in orders]

    def fits(x: Array) -> Array:
        pairs = zip(is_tied, places, strict=True)
        return count_in_group([tied & (place < x) for tied, place in pairs]) <= missing

    end = _bisect(fits, 32, zero.astype(jnp.uint32))
    columns = zip(orders, is_tied, places, strict=True)
    return [(order > last) | (tied & (place < end)) for order, tied, place in columns]


def _sum_arrays(arrays: list[Array]) -> Array:
    """Add up arrays that broadcast to each other."""
    return functools.reduce(jnp.add, arrays)


def _places_in_all(arrays: list[Array]) -> list[Array]:
    """Return the index of each entry in flattening order, all arrays after each other."""
    places = []
    begin = 0
    for array in arrays:
        places.append(_places(array.shape) + jnp.uint32(begin))
        begin += array.size
    return places


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

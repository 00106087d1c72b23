"""The entries of the highest score, of one array or of several that are ranked together."""

from collections.abc import Sequence

import jax.numpy as jnp

from l1jax.annotations import Array, ArrayLike
from l1jax.transforms.largest import mark_largest
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
        found = mark_largest([scores[leaf] for leaf in own], count, splits_ties=splits_ties)
        for leaf, mask in zip(own, found, strict=True):
            marked[leaf] = mask
    return marked

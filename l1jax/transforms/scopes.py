"""Which leaves of a tree share one target of zeros: all, those of a block, or each its own."""

from collections.abc import Iterable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from l1jax.annotations import Array, Float, PyTree
from l1jax.penalties import path_name

Number = TypeVar("Number", int, Array)

SCOPES = ("global", "group", "leaf")
"""Over what a share of zeros is taken: all leaves, the leaves of each block, or each leaf."""


class LeafScopes(NamedTuple):
    """The scope of each leaf of a tree.

    Attributes:
        names: the scopes, in the order of their first leaves; "" for the one of all leaves.
        index: the place in `names` of each leaf, in flattening order.
    """

    names: tuple[str, ...]
    index: tuple[int, ...]

    def total(self, numbers: Iterable[Number]) -> list[Number | int]:
        """Add up the numbers of the leaves of each scope."""
        totals: list[Number | int] = [0] * len(self.names)
        for place, number in zip(self.index, numbers, strict=True):
            totals[place] = totals[place] + number
        return totals


def check_scope(scope: str) -> None:
    """Raise `ValueError` unless `scope` is one of `SCOPES`."""
    if scope not in SCOPES:
        raise ValueError(f"`scope` (={scope!r}) must be one of {', '.join(SCOPES)}.")


def leaf_scopes(tree: PyTree, scope: str) -> LeafScopes:
    """Tell which leaves share a target.

    The group of a leaf is the beginning of its path up to the first key that ends with a digit,
    such as `block_0` of `block_0/attention/query/kernel` and `layers/3` of `layers/3/weight`; where
    no key does, it is the first key.

    Args:
        tree: the leaves that have a target; None for others.
        scope: "global" for one target of all leaves, "group" for one of each group, "leaf" for one
            of each leaf.

    >>> params = {"block_0": {"up": 1.0, "down": 1.0}, "block_1": {"up": 1.0}, "out": 1.0}
    >>> leaf_scopes(params, "group")
    LeafScopes(names=('block_0', 'block_1', 'out'), index=(0, 0, 1, 2))
    """
    paths = [path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]
    if scope == "global":
        return LeafScopes(("",), (0,) * len(paths))
    if scope == "leaf":  # two may share a path: params/x and x
        return LeafScopes(tuple(paths), tuple(range(len(paths))))
    owners = [_group_name(path) for path in paths]
    names = tuple(dict.fromkeys(owners))
    return LeafScopes(names, tuple(names.index(owner) for owner in owners))


def shares_of_zeros(params: PyTree, scopes: LeafScopes) -> Float[Array, " scopes"]:
    """Return the share of exact zeros of each scope, in one pass over the parameters.

    Args:
        params: the leaves that count.
        scopes: the scope of each.
    """
    sizes = jnp.asarray(scope_sizes(params, scopes), float)
    return (sizes - num_nonzeros_of(params, scopes)) / jnp.maximum(sizes, 1)


def num_nonzeros_of(params: PyTree, scopes: LeafScopes) -> Float[Array, " scopes"]:
    """Return the number of entries that are not zero of each scope.

    XLA on CPUs adds up the results of arithmetic as it computes them, but it would first store the
    results of comparisons, in new memory at every update; so this adds up |sign|.

    Args:
        params: the leaves that count.
        scopes: the scope of each.
    """
    counts = [jnp.sum(jnp.abs(jnp.sign(leaf)), dtype=float) for leaf in jax.tree.leaves(params)]
    return jnp.asarray(scopes.total(counts), float)


def scope_sizes(params: PyTree, scopes: LeafScopes) -> list[int]:
    """Return the number of entries of each scope.

    Args:
        params: the leaves that count.
        scopes: the scope of each.
    """
    return scopes.total([jnp.size(leaf) for leaf in jax.tree.leaves(params)])


def _group_name(path: str) -> str:
    keys = path.split("/")
    for depth, key in enumerate(keys, start=1):
        if key[-1:].isdigit():
            return "/".join(keys[:depth])
    return keys[0]

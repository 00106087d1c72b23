"""Different penalties for different leaves, chosen by regular expressions over their paths."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from l1jax.penalties.base import (
    Penalty,
    along,
    check_penalty,
    is_inexact,
    leaf_penalties,
    norm,
    per_leaf,
    register,
    total,
)
from l1jax.penalties.sparsity import path_name, some


@register
@dataclass(frozen=True)
class ByPath:
    """A penalty per pattern; leaves that match none are free. Made by `l1jax.by_path`."""

    patterns: tuple[str, ...] = field(metadata={"static": True})
    penalties: tuple[Penalty, ...]
    allow_unmatched: bool = field(default=False, metadata={"static": True})

    def value(self, x: PyTree) -> Float[Array, ""]:
        """Sum of the penalties of the leaves that match."""
        leaves = zip(leaf_penalties(self, x), jax.tree.leaves(x), strict=True)
        return total([penalty.value(leaf) for penalty, leaf in leaves if penalty])

    def prox(self, x: PyTree, step: PyTree) -> PyTree:
        """Prox of the leaves that match; the others are returned as they are."""
        return self._map(
            lambda penalty, leaf, s: penalty.prox(leaf, s) if penalty else leaf, x, step=step
        )

    def subgradient(self, x: PyTree) -> PyTree:
        """Subgradient of the leaves that match, 0 for the others."""
        return self._map(
            lambda penalty, leaf: penalty.subgradient(leaf) if penalty else jnp.zeros_like(leaf), x
        )

    def distance(self, x: PyTree, grad: PyTree) -> Float[Array, ""]:
        """Distance of −grad to the subdifferential; for free leaves of floating point the norm of their gradient."""

        def away(penalty: Penalty | None, leaf: Any, g: Any) -> Any:
            if penalty:
                return penalty.distance(leaf, g)
            return jnp.abs(g) if is_inexact(leaf) else None

        return norm(self._map(away, x, grad=grad))

    def per_leaf(self, tree: PyTree) -> list[Penalty | None]:
        """The penalty of the one pattern that each path matches, None where there is none."""
        paths = [path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]
        matches = [
            [i for i, pattern in enumerate(self.patterns) if re.search(pattern, path)]
            for path in paths
        ]
        self._check_patterns(tree, paths, {i for found in matches for i in found})
        for path, found in zip(paths, matches, strict=True):
            if len(found) > 1:
                names = [self.patterns[i] for i in found]
                raise ValueError(
                    f"`by_path` patterns {names} all match {path!r}; make them exclude each other."
                )
        columns = [per_leaf(penalty, tree) for penalty in self.penalties]
        return [columns[found[0]][leaf] if found else None for leaf, found in enumerate(matches)]

    def _check_patterns(self, tree: PyTree, paths: list[str], found: set[int]) -> None:
        """Refuse patterns that match no leaf, unless the tree is a part of one that they may match elsewhere."""
        if not paths or (self.allow_unmatched and found):
            return
        absent, is_part = _absent(tree)
        idle = [
            p
            for i, p in enumerate(self.patterns)
            if i not in found and not any(re.search(p, a) for a in absent)
        ]
        if not found:
            raise ValueError(
                f"`by_path` patterns {list(self.patterns)} must match at least one parameter path; the paths are "
                f"{some(paths)}."
            )
        if idle and not is_part:
            raise ValueError(
                f"`by_path` patterns {idle} must each match at least one parameter path; the paths are {some(paths)}. "
                "Correct them, or give `allow_unmatched=True` if they are for other trees."
            )

    def _map(self, f: Any, x: PyTree, **rest: PyTree) -> PyTree:
        leaves, treedef = jax.tree.flatten(x)
        columns = (
            leaf_penalties(self, x),
            leaves,
            *(along(name, tree, x) for name, tree in rest.items()),
        )
        return treedef.unflatten([f(*row) for row in zip(*columns, strict=True)])


def _absent(tree: PyTree) -> tuple[list[str], bool]:
    """The paths at which a tree has no leaf but None or optax's MaskedNode, and whether it has any of the latter.

    `optax.masked` and `partition` show a transformation a part of the parameters, and one node may stand for more
    than one leaf.
    """

    def is_masked(node: Any) -> bool:
        return isinstance(node, optax.MaskedNode)

    nodes = jax.tree_util.tree_leaves_with_path(
        tree, is_leaf=lambda node: node is None or is_masked(node)
    )
    absent = [path_name(path) for path, node in nodes if node is None or is_masked(node)]
    return absent, any(is_masked(node) for _, node in nodes)


def by_path(penalties: Mapping[str, Penalty], *, allow_unmatched: bool = False) -> ByPath:
    r"""Choose penalties by path: `by_path({r"(^|/)kernel$": l1(1e-4)})`.

    Each pattern is searched (`re.search`) in the leaf's keys joined by `/`, without a leading
    `params` collection and the `.value` of a box such as NNX's `Param`. The other leaves are free,
    whatever their dtype; the fixed points are those of loss + Σ penalty of each leaf.

    Whether the patterns fit is checked whenever the penalty meets a tree with leaves, so first in a
    transformation's `init`. There each pattern must match the path of a leaf or of a None. Inside
    `optax.masked` and `optax.partition`, which hide a part of the tree, one of the patterns is enough.

    Args:
        penalties: pattern → penalty; the patterns must exclude each other.
        allow_unmatched: whether patterns beside one that matches may match nothing, such as those of
            a penalty for several models.

    Raises:
        ValueError: if there is no pattern, one is not a regular expression or its penalty is none; and,
            when it meets a tree with leaves, if a pattern matches none of them, two match the same one,
            or a leaf that one matches is not of floating point.

    >>> params = {"hidden": {"kernel": jnp.array([3.0, 0.5]), "bias": jnp.array([3.0, 0.5])}}
    >>> l1jax.by_path({r"(^|/)kernel$": l1jax.l1(1.0)}).prox(params, 1.0)["hidden"]
    {'bias': Array([3. , 0.5], dtype=float32), 'kernel': Array([2., 0.], dtype=float32)}
    """
    if not isinstance(penalties, Mapping) or not penalties:
        raise ValueError(
            f"`penalties` (={penalties!r}) must be a mapping with at least one pattern, such as "
            "{'(^|/)kernel$': l1(1e-4)}."
        )
    for pattern, penalty in penalties.items():
        try:
            re.compile(pattern)
        except (re.error, TypeError) as error:
            raise ValueError(
                f"`penalties` has {pattern!r}, which must be a regular expression: {error}."
            ) from None
        check_penalty(f"penalties[{pattern!r}]", penalty)
    return ByPath(tuple(penalties), tuple(penalties.values()), allow_unmatched)

"""Different penalties for different leaves, chosen by regular expressions over their paths."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import jax

from l1jax.annotations import Array, Float, PyTree
from l1jax.penalties.base import (
    PARTS,
    STATIC,
    Penalty,
    broadcast_leaves,
    check_penalty,
    leaf_penalties,
    per_leaf,
    register,
)
from l1jax.penalties.coupled_leaves import (
    leaf_distances,
    leaf_proxes,
    leaf_subgradients,
    leaf_values,
)
from l1jax.penalties.hidden_leaves import find_hidden_leaves
from l1jax.penalties.numerics import sum_leaves, tree_norm
from l1jax.penalties.sparsity import path_name, show_paths


@register
@dataclass(frozen=True)
class ByPath:
    """A penalty per pattern; leaves that match none are free. Made by `l1jax.by_path`."""

    patterns: tuple[str, ...] = field(metadata=STATIC)
    penalties: tuple[Penalty, ...] = field(metadata=PARTS)
    allow_unmatched: bool = field(default=False, metadata=STATIC)

    def value(self, x: PyTree) -> Float[Array, ""]:
        """Add up the penalties of the leaves that match."""
        return sum_leaves(leaf_values(leaf_penalties(self, x), jax.tree.leaves(x)))

    def prox(self, x: PyTree, step: PyTree) -> PyTree:
        """Take the prox of the leaves that match, and return the others as they are."""
        leaves, treedef = jax.tree.flatten(x)
        steps = broadcast_leaves("step", step, x)
        return treedef.unflatten(leaf_proxes(leaf_penalties(self, x), leaves, steps))

    def subgradient(self, x: PyTree) -> PyTree:
        """Return the subgradient of the leaves that match, and 0 for the others."""
        leaves, treedef = jax.tree.flatten(x)
        return treedef.unflatten(leaf_subgradients(leaf_penalties(self, x), leaves))

    def distance(self, x: PyTree, grad: PyTree) -> Float[Array, ""]:
        """Return the distance of −grad to the subdifferential.

        It includes the gradients of free leaves, if these are of floating point.
        """
        grads = broadcast_leaves("grad", grad, x)
        return tree_norm(leaf_distances(leaf_penalties(self, x), jax.tree.leaves(x), grads))

    def per_leaf(self, tree: PyTree) -> list[Penalty | None]:
        """Return the penalty of the one pattern that each path matches, None where there is none.

        Raises:
            ValueError: if two patterns match the same path, or one matches no path and should.
        """
        paths = [path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]
        matches = [
            [index for index, pattern in enumerate(self.patterns) if re.search(pattern, path)]
            for path in paths
        ]
        self._check_patterns(tree, paths, {index for indices in matches for index in indices})
        for path, indices in zip(paths, matches, strict=True):
            if len(indices) > 1:
                patterns = [self.patterns[index] for index in indices]
                raise ValueError(
                    f"`by_path` patterns {patterns} all match {path!r}; make them exclude each "
                    "other."
                )
        columns = [per_leaf(penalty, tree) for penalty in self.penalties]
        return [
            columns[indices[0]][leaf] if indices else None for leaf, indices in enumerate(matches)
        ]

    def _check_patterns(self, tree: PyTree, paths: list[str], matched: set[int]) -> None:
        """Raise if a pattern matches no leaf, unless it may match in a part that is hidden."""
        if not paths or (self.allow_unmatched and matched):
            return
        if not matched:
            raise ValueError(
                f"`by_path` patterns {list(self.patterns)} must match at least one parameter path; "
                f"the paths are {show_paths(paths)}."
            )
        hidden = find_hidden_leaves(tree)
        unmatched = [
            pattern
            for index, pattern in enumerate(self.patterns)
            if index not in matched and not any(re.search(pattern, path) for path in hidden.paths)
        ]
        if unmatched and not hidden.is_masked:
            raise ValueError(
                f"`by_path` patterns {unmatched} must each match at least one parameter path; the "
                f"paths are {show_paths(paths)}. Correct them, or give `allow_unmatched=True` if "
                "they are for other trees."
            )


def by_path(penalties: Mapping[str, Penalty], *, allow_unmatched: bool = False) -> ByPath:
    r"""Choose penalties by path: `by_path({r"(^|/)kernel$": l1(1e-4)})`.

    Each pattern is searched (`re.search`) in the leaf's keys joined by `/`, without a leading
    `params` collection and the `.value` of a box such as NNX's `Param`. Leaves that no pattern
    matches are free, whatever their dtype. The fixed points are those of loss + Σ penalty of each
    leaf.

    Whether the patterns fit is checked whenever the penalty meets a tree with leaves, so first in a
    transformation's `init`. Each pattern must match the path of a leaf or of a None. Inside
    `optax.masked` and `optax.partition`, which hide a part of the tree, it is enough that one of
    the patterns matches.

    Args:
        penalties: pattern → penalty; the patterns must exclude each other.
        allow_unmatched: whether it is enough that one pattern matches, as for a penalty that is
            used with several models.

    Raises:
        ValueError: if there is no pattern, a pattern is no regular expression, or what it stands
            for is no penalty; and from the penalty's functions if a pattern matches no leaf, two
            match the same one, or a leaf that one matches is not of floating point.

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

"""Leaves that a transformation does not see: None, and what `optax.masked` hides."""

from typing import NamedTuple

import jax
import optax

from l1jax.annotations import PyTree
from l1jax.penalties.sparsity import path_name


class HiddenLeaves(NamedTuple):
    """Where a tree has no leaf but None or optax's `MaskedNode`."""

    paths: list[str]
    is_masked: bool  # whether there are any of the latter


def find_hidden_leaves(tree: PyTree) -> HiddenLeaves:
    """Find the paths at which a tree has None or a `MaskedNode`.

    `optax.masked` and `partition` show a transformation a part of the parameters, and one node may
    stand for more than one leaf.
    """

    def is_masked(node: PyTree) -> bool:
        return isinstance(node, optax.MaskedNode)

    def is_hidden(node: PyTree) -> bool:
        return node is None or is_masked(node)

    nodes = jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_hidden)
    paths = [path_name(path) for path, node in nodes if is_hidden(node)]
    return HiddenLeaves(paths, any(is_masked(node) for _, node in nodes))

"""The weights of a network by their paths, as files name them."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from l1jax.evaluation.tensors import Tensors
from l1jax.penalties.sparsity import path_name


def named_tensors(params: PyTree, statistics: PyTree) -> Tensors:
    """Return the arrays of a network by their path, such as `params/image/kernel`."""
    return {name: np.asarray(leaf) for name, leaf in named_leaves(params, statistics)}


def named_leaves(params: PyTree, statistics: PyTree) -> Iterator[tuple[str, Any]]:
    """Give each leaf of a network's two trees with its path."""
    for part, tree in {"params": params, "statistics": statistics}.items():
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            yield f"{part}/{path_name(path)}", leaf


def nested(tensors: Tensors, part: str) -> dict[str, Any]:
    """Return the tree that arrays of one part, "params" or "statistics", have in their names."""
    tree: dict[str, Any] = {}
    for name, value in tensors.items():
        first, *parents, last = name.split("/")
        if first == part:
            branch = tree
            for parent in parents:
                branch = branch.setdefault(parent, {})
            branch[last] = jnp.asarray(value)
    return tree

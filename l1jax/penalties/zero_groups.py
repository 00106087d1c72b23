"""Which groups a penalty has set to zero."""

import jax
import jax.numpy as jnp

from l1jax.annotations import Array, Bool, PyTree
from l1jax.penalties.base import Penalty, leaf_penalties, penalty_groups
from l1jax.penalties.groups import group_layout, to_layout
from l1jax.penalties.sparsity import path_name


def zero_groups(params: PyTree, penalty: Penalty) -> dict[str, Bool[Array, "..."]]:
    """Find the groups that are zero as a whole; works under `jit`.

    Args:
        params: a tree of arrays.
        penalty: its groups are the ones that count. Leaves without a penalty are left out; where a
            penalty has no groups, every entry is one.

    Returns:
        Per path one boolean for each group, in the order of the groups' own axes.

    >>> penalty = l1jax.group_l1(1.0, l1jax.output_channels())
    >>> l1jax.zero_groups({"kernel": jnp.array([[0.0, 0.0, 1.0], [0.0, 2.0, 0.0]])}, penalty)
    {'kernel': Array([ True, False, False], dtype=bool)}
    """
    leaves = jax.tree_util.tree_leaves_with_path(params)
    penalties = leaf_penalties(penalty, params)
    return {
        path_name(path): _zero_groups_of_array(jnp.asarray(leaf), leaf_penalty)
        for (path, leaf), leaf_penalty in zip(leaves, penalties, strict=True)
        if leaf_penalty is not None
    }


def _zero_groups_of_array(x: Array, penalty: Penalty) -> Bool[Array, "..."]:
    groups = penalty_groups(penalty)
    if groups is None:
        return x == 0
    shape, axes = group_layout(groups, x.shape)
    return jnp.all(to_layout(x, shape) == 0, axis=axes)

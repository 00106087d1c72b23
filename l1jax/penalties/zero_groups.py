"""Which groups a penalty has set to zero."""

import jax
import jax.numpy as jnp

from l1jax.annotations import Array, Bool, PyTree
from l1jax.penalties.base import Penalty, leaf_penalties, penalty_groups
from l1jax.penalties.coupled_leaves import joint_leaves
from l1jax.penalties.groups import group_layout, to_layout
from l1jax.penalties.sparsity import path_name


def zero_groups(params: PyTree, penalty: Penalty) -> dict[str, Bool[Array, "..."]]:
    """Find the groups that are zero as a whole; works under `jit`.

    Args:
        params: a tree of arrays.
        penalty: its groups are the ones that count. Leaves without a penalty are left out; where a
            penalty has no groups, every entry is one.

    Returns:
        Per path one boolean for each group, in the order of the groups' own axes. With `coupled`,
        one for each index of the leaf's axis: whether its group is zero in all leaves.

    >>> penalty = l1jax.group_l1(1.0, l1jax.output_channels())
    >>> l1jax.zero_groups({"kernel": jnp.array([[0.0, 0.0, 1.0], [0.0, 2.0, 0.0]])}, penalty)
    {'kernel': Array([ True, False, False], dtype=bool)}
    """
    leaves = jax.tree_util.tree_leaves_with_path(params)
    penalties = leaf_penalties(penalty, params)
    arrays = [jnp.asarray(leaf) for _, leaf in leaves]
    coupled = _coupled_zero_groups(penalties, arrays)
    found = {}
    for i, ((path, _), leaf_penalty) in enumerate(zip(leaves, penalties, strict=True)):
        if i in coupled:
            found[path_name(path)] = coupled[i]
        elif leaf_penalty is not None:
            found[path_name(path)] = _zero_groups_of_array(arrays[i], leaf_penalty)
    return found


def _coupled_zero_groups(
    penalties: list[Penalty | None], arrays: list[Array]
) -> dict[int, Bool[Array, " slices"]]:
    """Return what `zero_groups` does for leaves that are coupled, by their positions."""
    found = {}
    for joint in joint_leaves(penalties, arrays):
        zero = joint.sums.total([jnp.abs(jnp.sign(x)) for x in joint.xs]) == 0
        for i, slices in zip(joint.indices, joint.sums.spread(zero, False), strict=True):
            found[i] = slices.reshape(-1)
    return found


def _zero_groups_of_array(x: Array, penalty: Penalty) -> Bool[Array, "..."]:
    groups = penalty_groups(penalty)
    if groups is None:
        return x == 0
    shape, axes = group_layout(groups, x.shape)
    return jnp.all(to_layout(x, shape) == 0, axis=axes)

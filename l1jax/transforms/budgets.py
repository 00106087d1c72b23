"""A budget of non-zeros: how many entries or groups there may be, in place of a strength."""

import math
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from l1jax.annotations import Array, Int, PyTree
from l1jax.penalties import Groups, check_number, is_concrete_number, select_leaves
from l1jax.penalties.groups import as_groups, from_layout, group_layout, to_layout
from l1jax.penalties.numerics import Leaf, upcast
from l1jax.penalties.sparsity import path_name
from l1jax.transforms.largest import largest, largest_of_all
from l1jax.transforms.leaves import require_params, schedule_value, select_floating_leaves
from l1jax.transforms.pruning import zero_outside

MOST_ENTRIES = 2**31 - 1  # that an int32 counts


class BudgetState(NamedTuple):
    """State of `budget`."""

    count: Int[Array, ""]  # updates applied so far


def budget(
    share: optax.ScalarOrSchedule,
    scope: Literal["leaf", "global"] = "leaf",
    axis: Groups | list[int] | None = None,
    *,
    begin: int = 0,
    steps: int = 0,
    pattern: str = "",
) -> optax.GradientTransformation:
    """Project onto the parameters with at most this share of non-zeros, after each update.

    Chain it last. The entries of the largest |p + u| stay, or the groups of the largest norm, and
    the others become zero: the Euclidean projection, a step of iterative hard thresholding. It is
    taken anew at each update, so an entry that is zero may come back. The share is that of a
    budget; nothing is shrunk. If the choice settles, it converges to a stationary point of the loss
    among the parameters that have these zeros. `track_sparsity` instead moves the strength of a
    penalty, whose problem it solves, until it has so many zeros.

    The share may come down in time. With `steps` it is 1 until the update `begin`, and falls by
    Zhu and Gupta's cubic law, share + (1 − share)(1 − (t − begin)/steps)³, in so many updates.

    In a chain with `n_of_m`, on either side, the parameters keep both: the projection of what has
    n of m non-zeros has no others.

    Args:
        share: of non-zero entries or groups, in [0, 1], rounded down to a whole number of them; a
            scalar, or a schedule of the number of updates so far in place of `begin` and `steps`.
        scope: "leaf" for a budget of each leaf, "global" for one of all leaves together, which go
            to the leaves with the larger entries, or groups of larger norm.
        axis: the groups, as for `group_l1`; None for single entries.
        begin: the update, counted from 0, from which the share falls.
        steps: the number of updates in which it falls; 0 for at once.
        pattern: regular expression, searched in the leaf's path: to which leaves it applies.

    Raises:
        ValueError: if a constant share is outside [0, 1], `scope` is another word, `begin` or
            `steps` is negative or beside a schedule, `axis` names no groups, or `pattern` is no
            regular expression; from `init` if it matches no leaf, a leaf does not have the groups,
            or the leaves of a global budget have more than 2³¹ − 1 entries; from `update` without
            `params`.

    Source: Blumensath and Davies, Appl. Comput. Harmon. Anal. 27 (2009), equation 10; schedule: Zhu
    and Gupta, To prune, or not to prune, arXiv:1710.01878 (2017).

    >>> import jax.numpy as jnp, l1jax, optax
    >>> tx = optax.chain(optax.sgd(1.0), l1jax.budget(0.5, "global"))
    >>> params = {"a": jnp.array([3.0, -0.1]), "b": jnp.array([0.2, 2.0, 5.0, 0.1])}
    >>> updates, _ = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
    >>> jax.tree.map(lambda leaf: leaf.tolist(), optax.apply_updates(params, updates))
    {'a': [3.0, 0.0], 'b': [0.0, 2.0, 5.0, 0.0]}
    """
    check_arguments(share, scope, begin, steps)
    groups = None if axis is None else as_groups(axis)
    select_leaves((), pattern)  # raises if it is no regular expression

    def init(params: optax.Params) -> BudgetState:
        selected = jax.tree.leaves(select_floating_leaves(params, pattern))
        num_entries = 0
        leaves = jax.tree_util.tree_leaves_with_path(params)
        for (path, leaf), is_selected in zip(leaves, selected, strict=True):
            if is_selected:
                num_entries += math.prod(jnp.shape(leaf))
            if is_selected and groups is not None:
                group_layout(groups, jnp.shape(leaf), path_name(path) or "the array")
        if scope == "global" and num_entries > MOST_ENTRIES:
            raise ValueError(
                f"`scope` (='global') counts up to {MOST_ENTRIES} entries, not {num_entries}; give "
                "'leaf'."
            )
        return BudgetState(jnp.zeros([], jnp.int32))

    def update(
        updates: optax.Updates, state: PyTree, params: optax.Params | None = None
    ) -> tuple[optax.Updates, BudgetState]:
        params = require_params(params, "the entries that stay are chosen at params + updates")
        us, treedef = jax.tree.flatten(updates)
        ps = jax.tree.leaves(params)
        places = [
            i
            for i, is_selected in enumerate(jax.tree.leaves(select_leaves(params, pattern)))
            if is_selected
        ]
        scores = [_scores(groups, us[i], ps[i]) for i in places]

        def kept(size: int) -> Array:
            return _number_kept(share, begin, steps, state.count, size)

        if scope == "leaf":
            marks = [largest(score, kept(score.size)) for score in scores]
        else:
            marks = largest_of_all(scores, kept(sum(score.size for score in scores)))
        for i, mark in zip(places, marks, strict=True):
            us[i] = zero_outside(_entries(groups, mark, ps[i]), us[i], ps[i])
        count = optax.safe_increment(state.count)
        return treedef.unflatten(us), state._replace(count=count)

    return optax.GradientTransformation(init, update)


def check_arguments(share: optax.ScalarOrSchedule, scope: str, begin: int, steps: int) -> None:
    """Raise `ValueError` unless the arguments of `budget` are in range.

    Args:
        share: of non-zeros.
        scope: "leaf" or "global".
        begin: the update from which the share falls.
        steps: in how many updates.
    """
    if is_concrete_number(share) and not 0 <= share <= 1:
        raise ValueError(f"`share` (={share}) must be a share of non-zeros from 0 to 1.")
    if scope not in ("leaf", "global"):
        raise ValueError(f"`scope` (={scope!r}) must be 'leaf' or 'global'.")
    for name, number in {"begin": begin, "steps": steps}.items():
        check_number(name, number, remedy="it is a number of updates")
        if callable(share) and number:
            raise ValueError(
                f"`{name}` (={number}) must be 0 beside a schedule; put it into the schedule "
                "`share`, or give `share` as a number."
            )


def _number_kept(
    share: optax.ScalarOrSchedule, begin: int, steps: int, count: Array, size: int
) -> Array:
    """Return how many of `size` entries may stay at the update `count`, rounded down.

    Args:
        share: in the end, or the schedule of the share.
        begin: the update from which it falls.
        steps: in how many updates.
        count: updates so far.
        size: the number of entries or groups.
    """
    progress = jnp.where(count >= begin, 1.0, 0.0)
    if steps:
        progress = jnp.clip((count - begin) / steps, 0, 1)
    final = schedule_value(share, count)
    current = final + (1 - final) * (1 - progress) ** 3
    # A product such as 0.29·100 may be rounded to just below a whole number.
    kept = jnp.floor(current * size * (1 + 1e-6)).astype(jnp.int32)
    if is_concrete_number(share):
        exact = min(math.floor(float(share) * size + 1e-6), size)
        kept = jnp.where(progress == 1, exact, kept)
    return jnp.minimum(kept, size)


def _scores(groups: Groups | None, u: Leaf, p: Leaf) -> Array:
    """Return |p + u|, or the square of its norm in each group, in the layout of the groups."""
    x = jnp.asarray(optax.apply_updates(p, u))
    if groups is None:
        return jnp.abs(x)
    shape, axes = group_layout(groups, x.shape)
    return jnp.sum(jnp.square(to_layout(upcast(x), shape)), axes, keepdims=True)


def _entries(groups: Groups | None, mark: Array, p: Leaf) -> Array:
    """Return the mark of each entry of a leaf from those of its groups."""
    if groups is None:
        return mark
    like = jnp.asarray(p)
    shape, _ = group_layout(groups, like.shape)
    # What comes of two arrays is laid out over the devices like the larger one.
    return from_layout(mark & jnp.ones_like(to_layout(like, shape), bool), like)

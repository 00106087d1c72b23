"""Baselines to compare L1 with: magnitude pruning and N:M masks, as optax transformations."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax

from l1jax.annotations import Array, Int, PyTree
from l1jax.penalties import is_concrete_number, select_leaves
from l1jax.penalties.groups import Blocks, from_layout, group_layout, to_layout
from l1jax.penalties.numerics import Leaf
from l1jax.transforms.floating_leaves import as_array
from l1jax.transforms.largest import largest
from l1jax.transforms.leaves import require_params, schedule_value, select_floating_leaves
from l1jax.transforms.ranking import largest_of_scopes
from l1jax.transforms.scopes import check_scope, leaf_scopes, scope_sizes


class PruningState(NamedTuple):
    """State of `magnitude_pruning` and `n_of_m`."""

    count: Int[Array, ""]  # updates applied so far
    mask: PyTree  # True where an entry may be non-zero; None for leaves that are not pruned


def magnitude_pruning(
    schedule: optax.ScalarOrSchedule,
    every: int = 1,
    pattern: str = "",
    scope: str = "leaf",
) -> optax.GradientTransformation:
    """Set the smallest entries to zero for good, as many as the schedule says; chain it last.

    After every so many updates the entries of least |p + u| in each leaf join the pruned ones,
    until the leaf's share of zeros is that of the schedule; with another scope than "leaf", the
    leaves of a scope are ranked together. Pruned entries stay zero, whatever their gradient is. It
    converges to a stationary point of the loss among the parameters with the last mask.

    Args:
        schedule: share of zeros per scope, in [0, 1]; a scalar or a schedule of the number of
            updates so far. Zhu and Gupta's cubic schedule is `optax.polynomial_schedule(0.0, final,
            power=3, transition_steps=…)`.
        every: updates between two changes of the mask (each sums over every leaf's entries 64
            times in float32, 96 times in float64).
        pattern: regular expression, searched in the leaf's path: which leaves are pruned.
        scope: "leaf" for this share in every leaf; "group" or "global" for it in every block or
            over all leaves, as in `track_sparsity`.

    Raises:
        ValueError: if a constant share is outside [0, 1], `every` is below 1, `pattern` is no
            regular expression, or `scope` is unknown; from `init` if it matches no leaf; from
            `update` without `params`.

    Source: Zhu and Gupta, To prune, or not to prune, arXiv:1710.01878 (2017).

    >>> import jax.numpy as jnp, l1jax, optax
    >>> tx = optax.chain(optax.sgd(1.0), l1jax.magnitude_pruning(0.5))
    >>> params = jnp.array([3.0, -0.1, 2.0, 0.2])
    >>> updates, _ = tx.update(jnp.zeros(4), tx.init(params), params)
    >>> optax.apply_updates(params, updates).tolist()
    [3.0, 0.0, 2.0, 0.0]
    """
    if is_concrete_number(schedule) and not 0 <= schedule <= 1:
        raise ValueError(f"`schedule` (={schedule}) must be a share of zeros from 0 to 1.")

    check_scope(scope)

    def choose_masks(params: PyTree, masks: PyTree, count: Array) -> PyTree:
        share = schedule_value(schedule, count)
        leaves, treedef = jax.tree.flatten(masks)
        kept = jax.tree.leaves(params)
        scores = [jnp.where(m, jnp.abs(p), -1.0) for m, p in zip(leaves, kept, strict=True)]
        scopes = leaf_scopes(masks, scope)
        sizes = scope_sizes(masks, scopes)
        counts = [size - jnp.round(share * size).astype(jnp.int32) for size in sizes]
        marked = largest_of_scopes(scores, scopes, counts)
        return treedef.unflatten([m & own for m, own in zip(leaves, marked, strict=True)])

    return _prune(choose_masks, every, 0, pattern)


def n_of_m(
    n: int, m: int, axis: int = -2, *, begin: int = 0, every: int = 1, pattern: str = ""
) -> optax.GradientTransformation:
    """Keep the n largest of every m consecutive entries along an axis; chain it last.

    The other entries are zero. This is a projected step: |p + u| decides, so an entry that is zero
    may come back. Sparse tensor cores can use 2 of 4 along the input axis. If the masks settle, it
    converges to a stationary point of the loss among the parameters with these masks.

    Args:
        n: entries kept in each block.
        m: length of a block.
        axis: the axis of the blocks; −2 is the axis of the input channels in Flax kernels.
        begin: number of updates before the first mask.
        every: updates between two choices of the mask, which does not change in between.
        pattern: regular expression, searched in the leaf's path: which leaves are pruned.

    Raises:
        ValueError: unless 0 < n ≤ m and `every` ≥ 1; from `init` if the pattern matches no leaf or
            an axis is not a multiple of m; from `update` without `params`.

    Source: Zhou et al., Learning N:M fine-grained structured sparse neural networks from scratch,
    ICLR 2021.

    >>> import jax.numpy as jnp, l1jax, optax
    >>> tx = optax.chain(optax.sgd(1.0), l1jax.n_of_m(1, 2, axis=0))
    >>> params = jnp.array([3.0, -0.1, 2.0, 5.0])
    >>> updates, _ = tx.update(jnp.zeros(4), tx.init(params), params)
    >>> optax.apply_updates(params, updates).tolist()
    [3.0, 0.0, 0.0, 5.0]
    """
    if not 0 < n <= m:
        raise ValueError(f"`n` (={n}) must be at least 1 and at most `m` (={m}), such as 2 of 4.")

    def choose_mask(p: Array, mask: Array) -> Array:
        if not -p.ndim <= axis < p.ndim or p.shape[axis] % m:
            raise ValueError(
                f"`axis` (={axis}) of a leaf of shape {p.shape} must be a multiple of `m` (={m}); "
                "leave the leaf out by `pattern`."
            )
        block = [1] * p.ndim
        block[axis] = m
        shape, axes = group_layout(Blocks(tuple(block)), p.shape)
        blocks = to_layout(jnp.abs(p), shape)
        return from_layout(largest(blocks, jnp.asarray(n), axes), p)

    def choose_masks(params: PyTree, masks: PyTree, count: Array) -> PyTree:
        return jax.tree.map(choose_mask, params, masks)

    return _prune(choose_masks, every, begin, pattern)


def mask_leaves(params: PyTree, pattern: str) -> PyTree:
    """Return an all-true mask for the leaves that the pattern selects, None for the others."""
    selected = select_floating_leaves(params, pattern)
    return jax.tree.map(
        lambda p, is_selected: jnp.ones_like(p, bool) if is_selected else None, params, selected
    )


def zero_outside(mask: Array, u: Leaf, p: Leaf) -> Array:
    """Return the update that makes a parameter exactly zero outside the mask.

    Args:
        mask: the mask of the leaf.
        u: its update.
        p: the parameter.
    """
    return jnp.where(mask, u, -jnp.asarray(p, jnp.result_type(u)))


def map_masked(
    function: Callable[..., Leaf], mask: PyTree, tree: PyTree, *others: PyTree
) -> PyTree:
    """Apply a function to the masks and the leaves; where a mask is None, the leaf of `tree` stays.

    Args:
        function: takes a mask, the leaf of `tree` and the leaves of the other trees.
        mask: a tree of masks, with None for leaves that are not pruned.
        tree: a tree like the masks.
        *others: further trees.
    """
    return jax.tree.map(
        lambda m, leaf, *rest: leaf if m is None else function(m, leaf, *rest),
        mask,
        tree,
        *others,
        is_leaf=lambda m: m is None,
    )


ChooseMasks: TypeAlias = Callable[[PyTree, PyTree, Array], PyTree]
"""The next masks, from the new parameters of the leaves with a mask, these masks (both trees have
None for other leaves), and the number of updates so far."""


def _prune(
    choose_masks: ChooseMasks, every: int, begin: int, pattern: str
) -> optax.GradientTransformation:
    """Choose the masks at `begin` and after every so many updates, and put zeros outside them."""
    if every < 1:
        raise ValueError(f"`every` (={every}) must be at least 1 update.")
    select_leaves((), pattern)  # raises if it is no regular expression

    def init(params: optax.Params) -> PruningState:
        params = jax.tree.map(as_array, params)
        mask = mask_leaves(params, pattern)

        def try_masks() -> PyTree:
            zeros = jax.tree.map(lambda m: None if m is None else jnp.zeros(m.shape), mask)
            return choose_masks(zeros, mask, jnp.zeros([]))

        jax.eval_shape(try_masks)  # raises if a mask cannot be chosen
        return PruningState(jnp.zeros([], jnp.int32), mask)

    def update(
        updates: optax.Updates, state: PyTree, params: optax.Params | None = None
    ) -> tuple[optax.Updates, PruningState]:
        params = require_params(params, "the entries to prune are chosen at params + updates")
        renews = (state.count >= begin) & ((state.count - begin) % every == 0)

        def renew_masks() -> PyTree:
            def next_param(mask: Array | None, p: Leaf, u: Leaf) -> Array | None:
                return None if mask is None else jnp.asarray(optax.apply_updates(p, u))

            new = jax.tree.map(next_param, state.mask, params, updates, is_leaf=lambda m: m is None)
            return choose_masks(new, state.mask, state.count)

        mask = jax.lax.cond(renews, renew_masks, lambda: state.mask)
        new_updates = map_masked(zero_outside, mask, updates, params)
        count = optax.safe_increment(state.count)
        return new_updates, state._replace(count=count, mask=mask)

    return optax.GradientTransformation(init, update)

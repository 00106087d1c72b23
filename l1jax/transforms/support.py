"""Training on a fixed support, without the penalty's bias."""

from functools import partial

import jax
import jax.numpy as jnp
import optax

from l1jax.annotations import Array, ArrayLike, PyTree
from l1jax.penalties import check_number, is_concrete_number, select_leaves
from l1jax.penalties.groups import Groups, from_layout, group_layout, to_layout
from l1jax.penalties.numerics import Leaf, is_inexact, upcast
from l1jax.transforms.leaves import require_params_like
from l1jax.transforms.ranking import largest_of_scopes
from l1jax.transforms.scopes import (
    check_scope,
    leaf_scopes,
    num_nonzeros_of,
    scope_sizes,
)


def freeze_support(
    pattern: str = "",
    start: int = 0,
    *,
    target: ArrayLike | None = None,
    scope: str = "global",
    groups: Groups | None = None,
) -> optax.GradientTransformation:
    """Keep every zero at zero and train the rest freely: the debiasing phase; chain it last.

    u ← 0 where p = 0. L1 shrinks the entries that it does not make zero. After it has chosen the
    support, train on without the penalty under this transformation, for instance with
    `optax.chain(optax.adam(1e-4), freeze_support())`. It converges to a stationary point of the
    loss alone among the parameters with this support (the relaxed lasso for linear models). The
    zeros of the parameters are the mask.

    The share of zeros jumps with noisy gradients, so a penalty whose strength `track_sparsity`
    moves has the target only on average. With `target` the update `start` meets it exactly: of the
    entries that are not zero, those of least |p + u| become zero if there are too many; if there
    are too few, those zeros may move whose |u| is largest.

    Args:
        pattern: regular expression, searched in the leaf's path; by default every leaf, so biases
            that are still at their initial zero stay there too. Leaves that are not of floating
            point are left alone.
        start: the update, counted from 0, from which zeros stay; nothing is changed before it.
        target: the share of zeros of these leaves, in [0, 1), that the update `start` brings about;
            None to take the zeros as they are.
        scope: "global" if the leaves have this share together, "group" if each block has it by
            itself, "leaf" if each leaf has it, as in `track_sparsity`.
        groups: the `axis` of a group penalty: whole groups become zero, or move, by the root mean
            square of their entries, so that the share is exact to one group. None for single
            entries.

    Raises:
        ValueError: if `start` is negative, `target` is outside [0, 1), `scope` is unknown, or
            `pattern` no regular expression; from `init` if it matches no leaf; from `update`
            without `params`.

    Source: Meinshausen, Relaxed lasso, Comput. Stat. Data Anal. 52 (2007).

    >>> import jax.numpy as jnp, l1jax, optax
    >>> tx = optax.chain(optax.sgd(1.0), l1jax.freeze_support())
    >>> params = jnp.array([2.0, 0.0])
    >>> updates, _ = tx.update(jnp.ones(2), tx.init(params), params)
    >>> optax.apply_updates(params, updates).tolist()
    [1.0, 0.0]
    """
    check_number("start", start)
    check_scope(scope)
    if target is not None and is_concrete_number(target) and not 0 <= target < 1:
        raise ValueError(
            f"`target` (={target}) must be a share of zeros of at least 0 and below 1, or None."
        )

    def init(params: optax.Params) -> optax.OptState:
        select_leaves(params, pattern)  # raises if it matches no leaf
        if not start and target is None:
            return optax.EmptyState()
        return optax.ScaleByScheduleState(jnp.zeros([], jnp.int32))

    def update(
        updates: optax.Updates, state: PyTree, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.OptState]:
        params = require_params_like(params, updates, "their zeros are the ones to keep")
        if not start and target is None:
            return _keep_zeros(updates, params, pattern, True), state
        count = optax.safe_increment(state.count)
        frozen = _keep_zeros(updates, params, pattern, state.count >= start)
        if target is None:
            return frozen, optax.ScaleByScheduleState(count)
        met = partial(_meet_target, updates, params, pattern, target, scope, groups)
        frozen = jax.lax.cond(state.count == start, met, lambda: frozen)
        return frozen, optax.ScaleByScheduleState(count)

    return optax.GradientTransformation(init, update)


def _keep_zeros(updates: PyTree, params: PyTree, pattern: str, is_active: Array | bool) -> PyTree:
    """Return the updates that leave the zeros of the selected leaves at zero."""

    def freeze(u: Leaf, p: Leaf, selected: bool) -> Leaf:
        if not selected or not is_inexact(p):
            return u
        return jnp.where(is_active & (jnp.asarray(p) == 0), jnp.zeros_like(u), u)

    return jax.tree.map(freeze, updates, params, select_leaves(params, pattern))


def _meet_target(
    updates: PyTree,
    params: PyTree,
    pattern: str,
    target: ArrayLike,
    scope: str,
    groups: Groups | None,
) -> PyTree:
    """Return the updates after which the selected leaves have the target share of zeros.

    Args:
        updates: of all parameters.
        params: before the update.
        pattern: selects the leaves.
        target: the share of zeros.
        scope: over which leaves it is taken.
        groups: that become zero as a whole; None for single entries.
    """
    leaves, treedef = jax.tree.flatten(params)
    moves = treedef.flatten_up_to(updates)
    selected = treedef.flatten_up_to(select_leaves(params, pattern))
    chosen = [i for i, p in enumerate(leaves) if selected[i] and is_inexact(p)]
    ranked = treedef.unflatten([p if i in chosen else None for i, p in enumerate(leaves)])
    scopes = leaf_scopes(ranked, scope)
    sizes = scope_sizes(ranked, scopes)
    nonzeros = num_nonzeros_of(ranked, scopes).astype(jnp.int32)
    wanted = [size - jnp.round(target * size).astype(jnp.int32) for size in sizes]
    prunes = [has >= keeps for has, keeps in zip(nonzeros, wanted, strict=True)]
    counts = [
        jnp.where(prune, keeps, keeps - has)
        for prune, keeps, has in zip(prunes, wanted, nonzeros, strict=True)
    ]

    def score(i: int, prune: Array) -> Array:
        p = upcast(jnp.asarray(leaves[i]))
        size = _group_size(p + upcast(jnp.asarray(moves[i])), groups)
        is_alive = _group_size(p, groups) > 0
        return jnp.where(is_alive == prune, size, -1.0)

    scores = [score(i, prunes[index]) for i, index in zip(chosen, scopes.index, strict=True)]
    marked = largest_of_scopes(scores, scopes, counts, splits_ties=groups is None)
    for i, index, mask in zip(chosen, scopes.index, marked, strict=True):
        p = jnp.asarray(leaves[i])
        is_kept = mask | (~prunes[index] & (_group_size(p, groups) > 0))
        moves[i] = jnp.where(is_kept, moves[i], -p.astype(moves[i].dtype))
    return treedef.unflatten(moves)


def _group_size(x: Array, groups: Groups | None) -> Array:
    """Return the root mean square of the group of each entry; |x| without groups."""
    if groups is None:
        return jnp.abs(x)
    shape, axes = group_layout(groups, x.shape)
    laid_out = to_layout(x, shape)
    size = jnp.sqrt(jnp.mean(jnp.square(laid_out), axes, keepdims=True))
    return from_layout(jnp.broadcast_to(size, shape), x)

"""Training on a fixed support, without the penalty's bias."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TypeAlias, TypeGuard, cast

import jax
import jax.numpy as jnp
import optax

from l1jax.annotations import Array, ArrayLike, PyTree
from l1jax.penalties import check_number, is_concrete_number, select_leaves
from l1jax.penalties.coupled_groups import FamilyMapping, as_families, make_plan
from l1jax.penalties.groups import Groups
from l1jax.penalties.numerics import Leaf, is_inexact, upcast
from l1jax.transforms.leaves import require_params_like
from l1jax.transforms.mean_sizes import MeanSizes, coupled_sizes, sizes_by_leaf
from l1jax.transforms.ranking import largest_of_scopes
from l1jax.transforms.scopes import (
    check_scope,
    leaf_scopes,
    num_nonzeros_of,
    scope_sizes,
)

CoupledGroups: TypeAlias = FamilyMapping | Sequence[FamilyMapping]
"""Groups that lie in several leaves, as `coupled` takes them."""


def freeze_support(
    pattern: str = "",
    start: int = 0,
    *,
    target: ArrayLike | None = None,
    scope: str = "global",
    groups: Groups | CoupledGroups | None = None,
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
        groups: the `axis` of a group penalty, or the `groups` of `coupled`: whole groups become
            zero, or move, by the root mean square of their entries, so that the share is exact to
            one group. None for single entries. Groups of several leaves are what they have in the
            leaves that `pattern` selects. The share is that of the selected leaves with groups;
            their entries in no group count, and the target leaves these as they are.

    Raises:
        ValueError: if `start` is negative, `target` is outside [0, 1), `scope` is unknown or not
            "global" for groups of several leaves, or `pattern` no regular expression; from `init`
            if it matches no leaf, or `groups` do not fit; from `update` without `params`.

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
    families = None
    if _are_coupled(groups):
        if scope != "global":
            raise ValueError(
                f"`scope` (={scope!r}) must be 'global' with `groups` that lie in several leaves: "
                "such a group belongs to no leaf or block alone."
            )
        families = as_families(groups)
    if target is not None and is_concrete_number(target) and not 0 <= target < 1:
        raise ValueError(
            f"`target` (={target}) must be a share of zeros of at least 0 and below 1, or None."
        )

    def sizes_of(params: PyTree, selected: PyTree) -> MeanSizes:
        treedef = jax.tree.structure(params)
        leaves = jax.tree.leaves(params)
        pairs = zip(leaves, treedef.flatten_up_to(selected), strict=True)
        chosen = [i for i, (p, is_selected) in enumerate(pairs) if is_selected and is_inexact(p)]
        if families is not None:
            return coupled_sizes(chosen, leaves, make_plan(families, params))
        return sizes_by_leaf(chosen, cast(Groups | None, groups))

    def init(params: optax.Params) -> optax.OptState:
        selected = select_leaves(params, pattern)  # raises if it matches no leaf
        if target is not None:
            sizes_of(params, selected)
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
        sizes = sizes_of(params, select_leaves(params, pattern))
        met = partial(_meet_target, updates, params, sizes, target, scope)
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


def _are_coupled(groups: object) -> TypeGuard[CoupledGroups]:
    """Tell whether groups are given by mappings, as those of several leaves are."""
    if isinstance(groups, Sequence) and groups:
        groups = groups[0]
    return isinstance(groups, Mapping)


def _meet_target(
    updates: PyTree, params: PyTree, sizes: MeanSizes, target: ArrayLike, scope: str
) -> PyTree:
    """Return the updates after which the selected leaves have the target share of zeros.

    Args:
        updates: of all parameters.
        params: before the update.
        sizes: the leaves that have a share, and the sizes of their groups.
        target: the share of zeros.
        scope: over which leaves it is taken.
    """
    leaves, treedef = jax.tree.flatten(params)
    moves = treedef.flatten_up_to(updates)
    chosen = sizes.leaves
    ranked = treedef.unflatten([p if i in chosen else None for i, p in enumerate(leaves)])
    scopes = leaf_scopes(ranked, scope)
    entries = scope_sizes(ranked, scopes)
    nonzeros = num_nonzeros_of(ranked, scopes).astype(jnp.int32)
    wanted = [size - jnp.round(target * size).astype(jnp.int32) for size in entries]
    prunes = [has >= keeps for has, keeps in zip(nonzeros, wanted, strict=True)]
    counts = [
        jnp.where(prune, keeps, keeps - has)
        for prune, keeps, has in zip(prunes, wanted, nonzeros, strict=True)
    ]
    before = [upcast(jnp.asarray(leaves[i])) for i in chosen]
    after = [p + upcast(jnp.asarray(moves[i])) for i, p in zip(chosen, before, strict=True)]
    alive = [size > 0 for size in sizes.of(before)]
    scores = []
    for size, is_alive, is_free, place in zip(
        sizes.of(after), alive, sizes.is_free, scopes.index, strict=True
    ):
        prune = prunes[place]
        score = jnp.where(is_alive == prune, size, -1.0)
        free_score = jnp.where(is_alive & prune, jnp.inf, -1.0)
        scores.append(jnp.where(is_free, free_score, score))
    marked = largest_of_scopes(scores, scopes, counts, splits_ties=not sizes.has_groups)
    for n, (i, place) in enumerate(zip(chosen, scopes.index, strict=True)):
        stays = alive[n] & (~prunes[place] | sizes.is_free[n])
        p = jnp.asarray(leaves[i])
        moves[i] = jnp.where(marked[n] | stays, moves[i], -p.astype(moves[i].dtype))
    return treedef.unflatten(moves)

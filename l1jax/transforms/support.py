"""Training on a fixed support, without the penalty's bias."""

from functools import partial

import jax
import jax.numpy as jnp
import optax

from l1jax.annotations import Array, ArrayLike, PyTree
from l1jax.penalties import check_number, is_concrete_number, select_leaves
from l1jax.penalties.groups import Groups
from l1jax.penalties.numerics import Leaf, is_inexact, upcast
from l1jax.transforms.leaves import require_params_like
from l1jax.transforms.mean_sizes import CoupledGroups, MeanSizes, check_group_scope, mean_sizes
from l1jax.transforms.ranking import largest_of_scopes
from l1jax.transforms.scopes import check_scope


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
        groups: the `axis` of a group penalty, or the `groups` of `coupled`; None for single
            entries. Then whole groups stay at zero, become zero, or move, by the root mean square
            of their entries, and the share is that of the entries in zero groups among all that are
            in groups, exact to one group. An entry that happens to be zero in another group counts
            as alive, and trains. Groups of several leaves are what they have in the leaves that
            `pattern` selects. Of entries in no group the zeros stay; the target leaves the others.

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
    check_group_scope(groups, scope)
    if target is not None and is_concrete_number(target) and not 0 <= target < 1:
        raise ValueError(
            f"`target` (={target}) must be a share of zeros of at least 0 and below 1, or None."
        )

    def init(params: optax.Params) -> optax.OptState:
        selected = select_leaves(params, pattern)  # raises if it matches no leaf
        if groups is not None:
            sizes = mean_sizes(params, selected, groups)
            jax.eval_shape(sizes.is_alive, [jax.tree.leaves(params)[i] for i in sizes.leaves])
        if not start and target is None:
            return optax.EmptyState()
        return optax.ScaleByScheduleState(jnp.zeros([], jnp.int32))

    def update(
        updates: optax.Updates, state: PyTree, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.OptState]:
        params = require_params_like(params, updates, "their zeros are the ones to keep")
        selected = select_leaves(params, pattern)
        sizes = mean_sizes(params, selected, groups)
        frozen = _keep_zeros(updates, params, selected, sizes)
        if not start and target is None:
            return frozen, state
        new_state = optax.ScaleByScheduleState(optax.safe_increment(state.count))
        if target is None:
            has_begun = state.count >= start
            frozen = jax.tree.map(partial(jnp.where, has_begun), frozen, updates)
            return frozen, new_state
        meet = partial(_meet_target, updates, params, sizes, target, scope)
        phase = jnp.sign(state.count - start) + 1
        frozen = jax.lax.switch(phase, [lambda: updates, meet, lambda: frozen])
        return frozen, new_state

    return optax.GradientTransformation(init, update)


def _keep_zeros(updates: PyTree, params: PyTree, selected: PyTree, sizes: MeanSizes) -> PyTree:
    """Return the updates that leave at zero the groups that are zero, or single entries.

    Args:
        updates: of all parameters.
        params: before the update.
        selected: which leaves count.
        sizes: where their groups are; of the others the zeros stay.
    """
    leaves, treedef = jax.tree.flatten(params)
    is_selected = treedef.flatten_up_to(selected)
    moves = treedef.flatten_up_to(updates)
    alive = dict(zip(sizes.leaves, sizes.is_alive(_arrays(leaves, sizes)), strict=True))
    for i, (leaf, move) in enumerate(zip(leaves, moves, strict=True)):
        if is_selected[i] and is_inexact(leaf):
            is_alive = alive.get(i, jnp.asarray(leaf) != 0)
            moves[i] = jnp.where(is_alive, move, jnp.zeros_like(move))
    return treedef.unflatten(moves)


def _arrays(leaves: list[Leaf], sizes: MeanSizes) -> list[Array]:
    """Return the leaves that have sizes."""
    return [jnp.asarray(leaves[i]) for i in sizes.leaves]


def _meet_target(
    updates: PyTree, params: PyTree, sizes: MeanSizes, target: ArrayLike, scope: str
) -> PyTree:
    """Return the updates after which the selected leaves have the target share of zeros.

    A group that is not zero counts as a whole, whichever of its entries are zero.

    Args:
        updates: of all parameters.
        params: before the update.
        sizes: the leaves that have a share, and the sizes of their groups.
        target: the share of zeros, or with groups of entries in groups that are zero.
        scope: over which leaves it is taken.
    """
    leaves, treedef = jax.tree.flatten(params)
    moves = treedef.flatten_up_to(updates)
    arrays = _arrays(leaves, sizes)
    scopes = sizes.scopes(params, scope)
    entries = scopes.total(sizes.num_entries(arrays))
    num_alive = scopes.total(count.astype(jnp.int32) for count in sizes.num_alive(arrays))
    wanted = [size - jnp.round(target * size).astype(jnp.int32) for size in entries]
    prunes = [has >= keeps for has, keeps in zip(num_alive, wanted, strict=True)]
    counts = [
        jnp.where(prune, keeps, keeps - has)
        for prune, keeps, has in zip(prunes, wanted, num_alive, strict=True)
    ]
    alive = sizes.is_alive(arrays)
    after = [
        upcast(p) + upcast(jnp.asarray(moves[i])) for i, p in zip(sizes.leaves, arrays, strict=True)
    ]
    scores = []
    for size, is_alive, is_free, place in zip(
        sizes.of(after), alive, sizes.is_free, scopes.index, strict=True
    ):
        is_ranked = (is_alive == prunes[place]) & ~is_free
        scores.append(jnp.where(is_ranked, size, -1.0))
    marked = largest_of_scopes(scores, scopes, counts, splits_ties=not sizes.has_groups)
    for n, (i, place) in enumerate(zip(sizes.leaves, scopes.index, strict=True)):
        stays = alive[n] & (~prunes[place] | sizes.is_free[n])
        p = jnp.asarray(leaves[i])
        moves[i] = jnp.where(marked[n] | stays, moves[i], -p.astype(moves[i].dtype))
    return treedef.unflatten(moves)

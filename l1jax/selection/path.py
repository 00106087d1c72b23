"""A path of strengths for any model that trains by an l1jax transformation: all at once, or one after another."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float64, Key, PyTree
from numpy.typing import ArrayLike

from l1jax.config import InputError
from l1jax.selection.enclosed import open_closure
from l1jax.selection.strengths import check_strengths
from l1jax.transforms import set_scale

AXIS = "path"


class Path(NamedTuple):
    """What training at each strength, from weak to strong, and in each fold led to."""

    strengths: Float64[np.ndarray, " strengths"]
    states: PyTree  # leaves lead with (strengths, folds)
    scores: PyTree  # what `score` returned, leaves lead with (strengths, folds)


def train_path(
    init: Callable[[Key[Array, ""]], PyTree],
    step: Callable[[PyTree, PyTree, Key[Array, ""]], PyTree],
    score: Callable[[PyTree, PyTree], PyTree],
    strengths: ArrayLike,
    folds: PyTree,
    *,
    steps: int,
    key: Key[Array, ""],
    how: str = "vmap",
    order: str = "dense_to_sparse",
    devices: Sequence[Any] | None = None,
) -> Path:
    """Train a model at every strength and in every fold, and score it there.

    Every strength meets the same start and the same randomness, so that scores differ by the strength alone;
    folds differ in both. Arrays that the three functions enclose, such as the examples, are arguments of the
    compiled programs. At equal randomness "vmap" and "independent" are the same computation; "warm" gives
    the same models where the problem is convex and `steps` suffice.

    Args:
        init: key → state, a tree with an optax state in it that has a penalty of l1jax; the strengths multiply
            that penalty's own, so with `l1(1.0)` they are λ.
        step: (state, fold, key) → state, one update.
        score: (state, fold) → a number, lower is better, or a tree of numbers.
        strengths: from weak to strong.
        folds: any tree whose leaves lead with the folds (or seeds), such as `make_folds` gives; `step` and
            `score` meet that of one fold: what it trains on, as weights or a mask of the examples.
        steps: updates at each strength.
        key: of the starts and the steps.
        how: "vmap", all at once in one compiled program; "warm", one after another, each from the last state
            (its optimiser's, too) of the one before; "independent", one training after the other.
        order: in which "warm" goes, "dense_to_sparse" or "sparse_to_dense".
        devices: over which "vmap" shares out the strengths, as the mesh axis `path`; their number need not
            divide that of the strengths.

    Raises:
        InputError: if the strengths or folds are no path's, `steps` is negative, or `how` or `order` unknown.
        ValueError: if the state has no penalty of l1jax.
    """
    grid = check_strengths(strengths)
    if how not in ("vmap", "warm", "independent") or order not in (
        "dense_to_sparse",
        "sparse_to_dense",
    ):
        raise InputError(
            f"`how` (={how!r}) must be vmap, warm or independent, and `order` (={order!r}) dense_to_sparse or "
            "sparse_to_dense."
        )
    lengths = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(folds)}
    if len(lengths) != 1 or lengths == {()} or lengths == {(0,)} or steps < 0:
        raise InputError(
            f"`folds` (leaves of lengths {sorted(lengths)}) must lead with one number of folds, and `steps` (={steps}) "
            "must be at least 0."
        )
    count = lengths.pop()[0]
    keys = jax.vmap(lambda fold: jax.random.fold_in(key, fold))(jnp.arange(count))

    def start(key: Key[Array, ""]) -> PyTree:
        return init(jax.random.fold_in(key, 0))

    def train(
        state: PyTree, strength: Array, fold: PyTree, key: Key[Array, ""], done: Array
    ) -> tuple[PyTree, PyTree]:
        draws = jax.random.fold_in(key, 1)

        def update(state: PyTree, t: Array) -> tuple[PyTree, None]:
            return step(state, fold, jax.random.fold_in(draws, t)), None

        state, _ = jax.lax.scan(update, set_scale(state, strength), done + jnp.arange(steps))
        return state, score(state, fold)

    one = jax.tree.map(lambda leaf: leaf[0], (folds, keys))
    strength = jnp.asarray(grid[0])
    if how == "warm":
        begin, begun_with = open_closure(start, one[1])
        fresh = jax.eval_shape(start, one[1])
        go_on, gone_with = open_closure(train, fresh, strength, *one, jnp.zeros([], int))
        states = jax.jit(jax.vmap(begin, (None, 0)))(begun_with, keys)
        run = partial(jax.jit(jax.vmap(go_on, (None, 0, None, 0, 0, None))), gone_with)
        states, scores = _warm(states, run, grid, folds, keys, steps, order)
    else:

        def once(strength: Array, fold: PyTree, key: Key[Array, ""]) -> tuple[PyTree, PyTree]:
            return train(start(key), strength, fold, key, jnp.zeros([], int))

        opened = open_closure(once, strength, *one)
        states, scores = (_at_once if how == "vmap" else _one_by_one)(
            *opened, grid, folds, keys, devices
        )
    return Path(grid, states, jax.tree.map(np.asarray, scores))


Once = Callable[..., PyTree]  # (enclosed arrays, strength, fold, key) → state and scores


def _at_once(
    once: Once,
    enclosed: list[Array],
    grid: np.ndarray,
    folds: PyTree,
    keys: Array,
    devices: Sequence[Any] | None,
) -> Any:
    """Every strength in one program; those that fill up the last device's share are dropped again."""
    run = jax.vmap(jax.vmap(once, (None, None, 0, 0)), (None, 0, None, None))
    devices = list(devices or [])
    if len(devices) < 2:
        return jax.jit(run)(enclosed, jnp.asarray(grid), folds, keys)
    filled = np.append(grid, np.full(-len(grid) % len(devices), grid[-1]))
    # No collectives, so the replication check is unnecessary.
    mapped = jax.shard_map(
        run,
        mesh=Mesh(np.asarray(devices), (AXIS,)),
        in_specs=(P(), P(AXIS), P(), P()),
        out_specs=P(AXIS),
        check_vma=False,
    )
    found = jax.jit(mapped)(enclosed, jnp.asarray(filled), folds, keys)
    return jax.tree.map(lambda leaf: leaf[: len(grid)], found)


def _one_by_one(
    once: Once, enclosed: list[Array], grid: np.ndarray, folds: PyTree, keys: Array, _: Any
) -> Any:
    run = partial(jax.jit(once), enclosed)
    rows = [
        [
            run(jnp.asarray(strength), jax.tree.map(lambda leaf, i=i: leaf[i], folds), keys[i])
            for i in range(len(keys))
        ]
        for strength in grid
    ]
    return _stack([_stack(row) for row in rows])


def _warm(
    state: Any, run: Any, grid: np.ndarray, folds: PyTree, keys: Array, steps: int, order: str
) -> Any:
    found = {}
    indices = range(len(grid)) if order == "dense_to_sparse" else reversed(range(len(grid)))
    for position, index in enumerate(indices):
        found[index] = run(
            state, jnp.asarray(grid[index]), folds, keys, jnp.asarray(position * steps)
        )
        state = found[index][0]
    return _stack([found[index] for index in range(len(grid))])


def _stack(trees: list[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)

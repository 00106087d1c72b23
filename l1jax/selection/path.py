"""Train any model that an l1jax transformation updates at every strength of a path."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Float64, Int, Key, PyTree
from numpy.typing import ArrayLike

from l1jax.config import InputError
from l1jax.config.choices import PathMode, WarmOrder
from l1jax.selection.closure import hoist_constants
from l1jax.selection.replicas import (
    DIVIDED,
    STRENGTH_AXIS,
    repeat_for_strengths,
    set_strengths,
    strength_groups,
    vectorize,
)
from l1jax.selection.strengths import check_strengths
from l1jax.transforms import set_scale


class StrengthPath(NamedTuple):
    """What training at each strength, from weak to strong, and in each fold led to."""

    strengths: Float64[np.ndarray, " strengths"]
    states: PyTree  # the leaves lead with (strengths, folds)
    scores: PyTree  # what `score` returned; the leaves lead with (strengths, folds)


class _Programs(NamedTuple):
    """The compiled programs of a path."""

    init: Callable[[Float64[np.ndarray, " strengths"]], PyTree]  # → states
    train: Callable[[PyTree, int], tuple[PyTree, PyTree]]  # states, first step → states, scores


def train_path(
    init: Callable[[Key[Array, ""]], PyTree],
    step: Callable[[PyTree, PyTree, Key[Array, ""]], PyTree],
    score: Callable[[PyTree, PyTree], PyTree],
    strengths: ArrayLike,
    folds: PyTree,
    *,
    steps: int,
    key: Key[Array, ""],
    how: PathMode = "together",
    order: WarmOrder = "dense-to-sparse",
    devices: Sequence[Any] | None = None,
) -> StrengthPath:
    """Train a model at every strength and in every fold, and score it there.

    Every strength meets the same start and the same randomness, so that scores differ by the
    strength alone; folds differ in both. Arrays that the three functions close over, such as the
    examples, become arguments of the compiled programs. "together" and "independent" are the same
    computation; "warm" gives the same models where the problem is convex and `steps` suffice.

    Args:
        init: key → state, a tree that contains the optax state of an l1jax transformation. The
            strengths multiply its penalty's own strength, so with `l1(1.0)` they are λ.
        step: (state, fold, key) → state, one update.
        score: (state, fold) → a number, lower is better, or a tree of numbers.
        strengths: from weak to strong.
        folds: any tree whose leaves lead with the folds (or seeds), such as `make_folds` returns.
            `step` and `score` receive one fold of it: what that fold trains on, as weights or a
            mask of the examples.
        steps: updates at each strength.
        key: of the starts and the steps.
        how: "together" trains all strengths in one compiled program; "independent" trains one
            strength after another; "warm" does, too, but each starts from the last state (that of
            its optimiser included) of the strength before it. The folds always train together.
        order: in which "warm" goes.
        devices: over which "together" divides the strengths, along the mesh axis `path`. Their
            number need not divide that of the strengths.

    Raises:
        InputError: if the strengths or folds are not those of a path, `steps` is negative, or
            `how` or `order` is unknown.
        ValueError: if the state has no penalty of l1jax.
    """
    grid = check_strengths(strengths)
    groups = strength_groups(len(grid), how, order)
    num_folds = _count_folds(folds, steps)
    keys = jax.vmap(lambda fold: jax.random.fold_in(key, fold))(jnp.arange(num_folds))
    mesh = None
    if how == "together" and devices is not None and len(devices) > 1:
        mesh = Mesh(np.asarray(devices), (STRENGTH_AXIS,))
        groups = [_fill_up(groups[0], len(devices))]
    # A warm path keeps every state that it starts the next strength from.
    programs = _compile(init, step, score, folds, keys, steps, mesh, donate=how != "warm")

    results = []
    states = None
    first_step = 0
    for group in groups:
        if states is None or how != "warm":
            states = programs.init(grid[group])
        else:
            states = set_strengths(states, jnp.asarray(grid[group]), set_scale)
        states, scores = programs.train(states, first_step)
        results.append((states, scores))
        if how == "warm":
            first_step += steps
    trained = np.concatenate(groups)
    columns = np.array([np.flatnonzero(trained == index)[0] for index in range(len(grid))])
    states, scores = _strengths_first(results, columns)
    return StrengthPath(grid, states, jax.tree.map(np.asarray, scores))


def _count_folds(folds: PyTree, steps: int) -> int:
    lengths = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(folds)}
    if len(lengths) != 1 or lengths == {()} or lengths == {(0,)} or steps < 0:
        raise InputError(
            f"`folds` (with leaves of lengths {sorted(lengths)}) must lead with one number of "
            f"folds, and `steps` (={steps}) must be at least 0."
        )
    return lengths.pop()[0]


def _fill_up(group: list[int], devices: int) -> list[int]:
    """Repeat the last strength until the devices divide their number."""
    return group + [group[-1]] * (-len(group) % devices)


def _compile(
    init: Callable[[Key[Array, ""]], PyTree],
    step: Callable[[PyTree, PyTree, Key[Array, ""]], PyTree],
    score: Callable[[PyTree, PyTree], PyTree],
    folds: PyTree,
    keys: Key[Array, " folds"],
    steps: int,
    mesh: Mesh | None,
    *,
    donate: bool,
) -> _Programs:
    def start(key: Key[Array, ""]) -> PyTree:
        return init(jax.random.fold_in(key, 0))

    def train(state: PyTree, fold_and_key: PyTree, first_step: Int[Array, ""]) -> PyTree:
        fold, key = fold_and_key
        step_key = jax.random.fold_in(key, 1)

        def update(state: PyTree, number: Int[Array, ""]) -> tuple[PyTree, None]:
            return step(state, fold, jax.random.fold_in(step_key, number)), None

        state, _ = jax.lax.scan(update, state, first_step + jnp.arange(steps))
        return state, score(state, fold)

    first_fold = jax.tree.map(lambda leaf: leaf[0], (folds, keys))
    state_shape = jax.eval_shape(start, keys[0])
    start_hoisted, start_constants = hoist_constants(start, keys[0])
    train_hoisted, train_constants = hoist_constants(
        train, state_shape, first_fold, jnp.zeros([], int)
    )

    def init_all(constants: list[Array], strengths: Array) -> PyTree:
        states = jax.vmap(start_hoisted, in_axes=(None, 0))(constants, keys)
        return set_strengths(repeat_for_strengths(states, len(strengths)), strengths, set_scale)

    def train_one(state: PyTree, fold_and_key: PyTree, shared: PyTree) -> PyTree:
        constants, first_step = shared
        return train_hoisted(constants, state, fold_and_key, first_step)

    sharding = None if mesh is None else NamedSharding(mesh, DIVIDED)
    init_program = jax.jit(init_all, out_shardings=sharding)
    # The functions have no collectives, so what differs between devices need not be checked.
    train_all = vectorize(train_one, mesh=mesh, check_vma=False)
    train_program = jax.jit(train_all, donate_argnums=(0,) if donate else ())
    return _Programs(
        lambda strengths: init_program(start_constants, jnp.asarray(strengths)),
        lambda states, first_step: train_program(
            states, (folds, keys), (train_constants, jnp.asarray(first_step))
        ),
    )


def _strengths_first(results: list[PyTree], columns: Int[np.ndarray, " strengths"]) -> PyTree:
    """Join the groups' results in the order of the strengths, with the strengths as first axis."""

    def join(*leaves: Array) -> Array:
        joined = jnp.concatenate(leaves, axis=1)
        return jnp.swapaxes(joined[:, columns], 0, 1)

    return jax.tree.map(join, *results)

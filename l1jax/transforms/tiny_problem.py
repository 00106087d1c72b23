"""A tiny problem with a known optimum, and an optimiser that runs on it."""

import logging
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from l1jax.annotations import Array, PyTree
from l1jax.penalties import Penalty
from l1jax.transforms.solution import solution

PACE_STEPS = 200


class TinyProblem(NamedTuple):
    """The loss ½ Σ aᵢ(xᵢ − cᵢ)²."""

    center: PyTree  # c
    curvature: PyTree  # a

    def loss(self, params: PyTree) -> Array:
        """Return ½ Σ aᵢ(xᵢ − cᵢ)²."""
        squares = jax.tree.map(
            lambda x, c, a: jnp.sum(a * jnp.square(x - c)), params, self.center, self.curvature
        )
        return 0.5 * jnp.asarray(sum(jax.tree.leaves(squares)))


def _init(tx: optax.GradientTransformation, params: PyTree) -> tuple[PyTree, optax.OptState]:
    """Return the parameters as the optimiser wants them, and its state."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)  # `lookahead` warns about parameters without slow ones
    try:
        state = tx.init(params)
    finally:
        logger.setLevel(level)
    if "LookaheadState" in state_types(state):
        params = optax.LookaheadParams.init_synced(params)
        state = tx.init(params)
    return params, state


def _fast(params: PyTree) -> PyTree:
    return params.fast if isinstance(params, optax.LookaheadParams) else params


def _evaluated(params: PyTree, state: optax.OptState) -> PyTree:
    if isinstance(params, optax.LookaheadParams):
        return params.slow
    return solution(state, params)


def pace_of(tx: optax.GradientTransformationExtraArgs, params: PyTree, size: float) -> float:
    """Return how far a parameter moves per step under a constant gradient of this size.

    Args:
        tx: the optimiser.
        params: where it starts.
        size: the gradient of every entry.

    Raises:
        ValueError: if the parameters do not move.
    """

    def loss(p: PyTree) -> Array:
        return size * jnp.asarray(sum(jnp.sum(leaf) for leaf in jax.tree.leaves(p)))

    def moved_from(start: PyTree) -> float:
        ends, _ = run_steps(tx, loss, start, PACE_STEPS)
        moved = jax.tree.map(lambda leaf, begin: np.abs(leaf[-1] - begin).ravel(), ends, start)
        return float(np.median(np.concatenate(jax.tree.leaves(moved)))) / PACE_STEPS

    pace = moved_from(params)
    if pace == 0:  # steps relative to the parameters do not leave zero
        pace = moved_from(jax.tree.map(jnp.ones_like, params))
    if not np.isfinite(pace) or pace == 0:
        raise ValueError(
            f"`tx` must move the parameters, but under a constant gradient of {size:g} it moves "
            f"them by {pace} per step; check its learning rate and its schedule's beginning."
        )
    return pace


def tiny_problem(
    penalty: Penalty, params: PyTree, strength: float, reach: float
) -> tuple[TinyProblem, PyTree]:
    """Return a problem whose optimum has zeros and other entries, and that optimum.

    Args:
        penalty: the penalty.
        params: zeros.
        strength: its strength.
        reach: about how large the optimum's entries are.
    """
    rng = np.random.default_rng(0)

    def heights(leaf: Array) -> Array:
        height = rng.uniform(0.5, 1.0, leaf.shape) * rng.choice([-1.0, 1.0], leaf.shape)
        for axis, length in enumerate(leaf.shape):  # whole rows and columns are small
            factors = np.where(np.arange(length) % 5 == 1, 1.0, 0.25)
            height *= factors.reshape((-1,) + (1,) * (leaf.ndim - axis - 1))
        return jnp.asarray(height, leaf.dtype)

    shape = jax.tree.map(heights, params)
    rates = jax.tree.map(lambda leaf: jnp.asarray(rng.uniform(1, 2, leaf.shape)), params)
    center = jax.tree.map(lambda h: reach * h, shape)

    def problem(steepness: float) -> tuple[float, TinyProblem, PyTree]:
        """Return how far the share of zeros is from 0.7, the problem, and its optimum."""
        curvature = jax.tree.map(lambda r: steepness * strength / reach * r, rates)
        optimum = penalty.prox(center, jax.tree.map(lambda a: 1 / a, curvature))
        entries = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(optimum)])
        return abs(np.mean(entries == 0) - 0.7), TinyProblem(center, curvature), optimum

    _, tiny, optimum = min(map(problem, np.geomspace(0.5, 50, 25)), key=lambda found: found[0])
    return tiny, optimum


def run_steps(
    tx: optax.GradientTransformationExtraArgs,
    loss: Callable[[PyTree], Array],
    params: PyTree,
    count: int,
) -> tuple[PyTree, optax.OptState]:
    """Return the parameters to evaluate after each step, and the final state.

    Args:
        tx: the optimiser.
        loss: of the parameters.
        params: where it starts.
        count: the number of steps.
    """
    params, state = _init(tx, params)

    def step(carry: PyTree, _: None) -> tuple[PyTree, PyTree]:
        params, state = carry
        value, grads = jax.value_and_grad(loss)(_fast(params))
        if isinstance(params, optax.LookaheadParams):
            extra = {}
        else:
            extra = {"value": value, "grad": grads, "value_fn": loss}
        updates, state = tx.update(grads, state, params, **extra)
        params = optax.apply_updates(params, updates)
        return (params, state), _evaluated(params, state)

    @jax.jit
    def run(carry: PyTree) -> tuple[PyTree, PyTree]:
        return jax.lax.scan(step, carry, length=count)

    (_, state), ends = run((params, state))
    return ends, state


def state_types(node: PyTree) -> set[str]:
    """Return the names of the types in a state."""
    names = {type(node).__name__}
    for child in jax.tree.leaves(node, is_leaf=lambda child: child is not node):
        if child is not node:
            names |= state_types(child)
    return names

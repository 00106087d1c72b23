"""The methods that `sparse_sound.py` compares, as optimisers of one dense generator."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

import l1jax
from l1jax.config import Config, Optimizer
from l1jax.penalties import Penalty

KERNELS = r"(^|/)kernel$"
WHAT_A_CHANNEL_FEEDS = r"^(deconv|image).*kernel$"
PROJECTION = r"^project.*kernel$"
START = 1e-4  # strength from which the way to a share of zeros begins
HORIZON = 200  # updates of the controller of the strength

MakeOptimizer = Callable[[jax.Array], optax.GradientTransformation]
"""Share of zeros → the generator's optimiser."""


class SwitchedState(NamedTuple):
    """State of `switched`."""

    method: jax.Array  # index of the method in use
    share: jax.Array  # of zeros, that it is to reach
    states: tuple[Any, ...]  # of every method's optimiser; only that of the one in use changes


def penalties() -> dict[str, Penalty]:
    """Return the penalties that make zeros, by the names of their methods."""
    groups = {
        WHAT_A_CHANNEL_FEEDS: l1jax.group_l1(START, axis=(0, 1, 3)),
        PROJECTION: l1jax.group_l1(START, axis=0),
    }
    return {
        "L1": l1jax.by_path({KERNELS: l1jax.l1(START)}),
        "L0": l1jax.by_path({KERNELS: l1jax.l0(START)}),
        "group L1": l1jax.by_path(groups),
    }


def penalised(
    optimizer: Optimizer, steps: int, penalty: Penalty, share: jax.Array
) -> optax.GradientTransformation:
    """Build Adam with a penalty whose strength follows a share of zeros.

    Args:
        optimizer: the rates of the dense generator.
        steps: of the training.
        penalty: what makes zeros.
        share: of zeros, reached after half the steps.
    """
    freeze = 3 * steps // 4

    def target(count: jax.Array) -> jax.Array:
        return share * jnp.minimum(1, (count + 1) / (steps // 2))

    def is_penalised(count: jax.Array) -> jax.Array:
        return jnp.asarray(count < freeze, jnp.float32)

    scale = optax.chain(
        l1jax.track_sparsity(target, HORIZON), optax.scale_by_schedule(is_penalised)
    )
    rate = optimizer.learning_rate
    inner = l1jax.proximal_adam(rate, penalty, optimizer.b1, optimizer.b2, scale=scale)
    return optax.chain(inner, l1jax.freeze_support(KERNELS, freeze))


def pruned(optimizer: Optimizer, steps: int, share: jax.Array) -> optax.GradientTransformation:
    """Build Adam with magnitude pruning over three quarters of the steps.

    Args:
        optimizer: the rates of the dense generator.
        steps: of the training.
        share: of zeros in every kernel at the end; 0 for a dense generator.
    """
    schedule = optax.polynomial_schedule(0.0, share, 3, 3 * steps // 4)
    every = max(1, steps // 20)
    return optax.chain(
        optax.adam(optimizer.learning_rate, optimizer.b1, optimizer.b2),
        l1jax.magnitude_pruning(schedule, every, KERNELS),
    )


def methods(experiment: Config) -> dict[str, MakeOptimizer]:
    """Return, by the method's name, share of zeros → the generator's optimiser."""
    optimizer = experiment.generator
    steps = experiment.steps
    made: dict[str, MakeOptimizer] = {
        name: partial(penalised, optimizer, steps, penalty) for name, penalty in penalties().items()
    }
    return made | {"magnitude pruning": partial(pruned, optimizer, steps)}


def switched(makers: Sequence[MakeOptimizer]) -> optax.GradientTransformation:
    """Build an optimiser whose state says which of several it is; so one program has them all.

    Args:
        makers: share of zeros → optimiser.
    """

    def init(params: optax.Params) -> SwitchedState:
        share = jnp.zeros(())
        states = tuple(make(share).init(params) for make in makers)
        return SwitchedState(jnp.zeros((), jnp.int32), share, states)

    def update(
        updates: optax.Updates, state: SwitchedState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, SwitchedState]:
        def use(index: int, updates: optax.Updates) -> tuple[optax.Updates, tuple[Any, ...]]:
            optimizer = makers[index](state.share)
            changed, own = optimizer.update(updates, state.states[index], params)
            return changed, (*state.states[:index], own, *state.states[index + 1 :])

        branches = [partial(use, index) for index in range(len(makers))]
        updates, states = jax.lax.switch(state.method, branches, updates)
        return updates, state._replace(states=states)

    return optax.GradientTransformation(init, update)

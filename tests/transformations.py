"""One list of all transformations, a tree to try them on, and a few steps."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import l1jax
from l1jax import preconditioners


class Case(NamedTuple):
    factory: Callable[..., optax.GradientTransformation]
    arguments: dict[str, Any]
    penalised: bool = True  # whether the factory takes a penalty

    def make(self, penalty: Any = None) -> optax.GradientTransformation:
        penalty = l1jax.by_path({"kernel": l1jax.l1(0.02)}) if penalty is None else penalty
        return self.factory(**self.arguments, **({"penalty": penalty} if self.penalised else {}))


def metric(learning_rate, penalty):
    return l1jax.preconditioned_proximal(
        optax.amsgrad(learning_rate), preconditioners.amsgrad(), penalty, learning_rate
    )


def grouped(learning_rate, penalty, per_group=False):
    """proximal_adam with groups that have the penalty's strength."""
    group = l1jax.by_path({"kernel": l1jax.group_l1(penalty.penalties[0].strength, 0)})
    return l1jax.proximal_adam(learning_rate, group, per_group=per_group)


def coupled(learning_rate, penalty, per_group=False):
    """proximal_adam with groups of the kernel that are given by their paths."""
    strength = penalty.penalties[0].strength
    group = l1jax.by_path({"kernel": l1jax.coupled(strength, {"dense/kernel": -1})})
    return l1jax.proximal_adam(learning_rate, group, per_group=per_group)


def after_sgd(learning_rate, make):
    return optax.chain(optax.sgd(learning_rate), make())


CASES = {
    "add_subgradient": Case(
        lambda learning_rate, penalty: optax.chain(
            l1jax.add_subgradient(penalty), optax.sgd(learning_rate)
        ),
        {"learning_rate": 0.1},
    ),
    "proximal": Case(
        lambda learning_rate, penalty: optax.chain(
            optax.adam(learning_rate), l1jax.proximal(penalty, learning_rate)
        ),
        {"learning_rate": 0.1},
    ),
    "preconditioned_proximal": Case(metric, {"learning_rate": 0.1}),
    "groups in a metric": Case(grouped, {"learning_rate": 0.1}),
    "one step per group": Case(grouped, {"learning_rate": 0.1, "per_group": True}),
    "coupled": Case(coupled, {"learning_rate": 0.1}),
    "one step per coupled group": Case(coupled, {"learning_rate": 0.1, "per_group": True}),
    "proximal_sgd": Case(l1jax.proximal_sgd, {"learning_rate": 0.1}),
    "momentum": Case(l1jax.proximal_sgd, {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True}),
    "proximal_adam": Case(l1jax.proximal_adam, {"learning_rate": 0.1, "b1": 0.5}),
    "proximal_rmsprop": Case(
        l1jax.proximal_rmsprop,
        {"learning_rate": 0.1, "momentum": 0.5, "centered": True, "eps": 1e-3},
    ),
    "proximal_adagrad": Case(l1jax.proximal_adagrad, {"learning_rate": 0.1}),
    "schedules": Case(
        l1jax.proximal_adam,
        {
            "learning_rate": optax.cosine_decay_schedule(0.1, 9),
            "scale": optax.linear_schedule(0.5, 1.0, 5),
        },
    ),
    "accelerated": Case(l1jax.accelerated, {"learning_rate": 0.1}),
    "regularized_dual_averaging": Case(l1jax.regularized_dual_averaging, {"learning_rate": 0.1}),
    "rmda": Case(l1jax.rmda, {"learning_rate": 0.1, "restarts": (2,)}),
    "ramda": Case(l1jax.ramda, {"learning_rate": 0.1, "momentum": l1jax.rising_momentum(0.5)}),
    "track_sparsity": Case(
        l1jax.proximal_adam, {"learning_rate": 0.1, "scale": l1jax.track_sparsity(0.5)}
    ),
    "track_sparsity of leaves": Case(
        l1jax.proximal_adam,
        {"learning_rate": 0.1, "scale": l1jax.track_sparsity(0.5, scope="leaf")},
    ),
    "track_sparsity of groups": Case(
        l1jax.proximal_adam,
        {"learning_rate": 0.1, "scale": l1jax.track_sparsity(0.5, groups=l1jax.output_channels())},
    ),
    "reweight": Case(l1jax.proximal_adam, {"learning_rate": 0.1, "scale": l1jax.reweight(2)}),
    "freeze_support": Case(
        after_sgd, {"learning_rate": 0.1, "make": l1jax.freeze_support}, penalised=False
    ),
    "freeze_support at a target": Case(
        after_sgd,
        {
            "learning_rate": 0.1,
            "make": lambda: l1jax.freeze_support("kernel", 1, target=0.5, scope="group"),
        },
        penalised=False,
    ),
    "sparse_ema": Case(
        after_sgd, {"learning_rate": 0.1, "make": lambda: l1jax.sparse_ema(0.9)}, penalised=False
    ),
    "magnitude_pruning": Case(
        after_sgd,
        {
            "learning_rate": 0.1,
            "make": lambda: l1jax.magnitude_pruning(lambda k: 0.1 * k, pattern="kernel"),
        },
        penalised=False,
    ),
    "n_of_m": Case(
        after_sgd,
        {"learning_rate": 0.1, "make": lambda: l1jax.n_of_m(2, 4, pattern="kernel")},
        penalised=False,
    ),
    "budget": Case(
        after_sgd,
        {
            "learning_rate": 0.1,
            "make": lambda: l1jax.budget(0.4, "global", steps=4, pattern="dense"),
        },
        penalised=False,
    ),
    "budget of groups": Case(
        after_sgd,
        {"learning_rate": 0.1, "make": lambda: l1jax.budget(0.5, axis=0, pattern="kernel")},
        penalised=False,
    ),
    "weight decay": Case(
        l1jax.proximal_adam,
        {"learning_rate": 0.1, "weight_decay": 0.1, "decay_pattern": "kernel", "nesterov": True},
    ),
    "sparse_lookahead": Case(
        lambda learning_rate, penalty: l1jax.sparse_lookahead(
            l1jax.proximal_adam(learning_rate, penalty), 2, 0.5
        ),
        {"learning_rate": 0.1},
    ),
    "sparse_schedule_free": Case(
        lambda learning_rate, penalty: l1jax.sparse_schedule_free(
            l1jax.proximal_sgd(learning_rate, penalty), learning_rate
        ),
        {"learning_rate": 0.1},
    ),
    "rigl": Case(
        lambda learning_rate: l1jax.rigl(optax.adam(learning_rate), 0.5, every=2, pattern="kernel"),
        {"learning_rate": 0.1},
        penalised=False,
    ),
}


def tree(seed: int, dtype: Any = jnp.float32) -> Any:
    rng = np.random.default_rng(seed)
    shapes = {"dense": {"kernel": (8, 4), "bias": (4,)}, "norm": {"scale": (4,)}}
    return jax.tree.map(
        lambda shape: jnp.asarray(rng.normal(size=shape), dtype),
        shapes,
        is_leaf=lambda x: isinstance(x, tuple),
    )


def run_updates(
    tx: optax.GradientTransformation, params: Any, gradients: list[Any], state: Any = None
) -> Any:
    """The parameters after some updates, and the state."""
    state = tx.init(params) if state is None else state
    for grads in gradients:
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return params, state

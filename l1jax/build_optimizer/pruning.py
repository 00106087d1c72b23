"""From the configuration of a pruning method to the transformation; the baselines of penalties."""

from collections.abc import Callable

import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike

from l1jax.config import InputError, Optimizer, Schedule
from l1jax.config.optimization import Pruning
from l1jax.transforms import magnitude_pruning, n_of_m, rigl

USED_FIELDS = {
    "magnitude": ("every", "begin", "steps"),
    "rigl": ("every", "steps", "drop_fraction", "densities"),
    "n_of_m": ("every", "begin", "n", "m"),
}
"""Fields of `Pruning` that each pruning method uses."""


def prunes(optimizer: Optimizer) -> bool:
    """Tell whether an optimiser prunes by a method of its own instead of a penalty."""
    return optimizer.method in USED_FIELDS


def prune_updates(
    tx: optax.GradientTransformation, optimizer: Optimizer, updates_per_step: int, seed: int
) -> optax.GradientTransformation:
    """Make an optimiser prune what `penalised` selects, as its configuration says.

    Args:
        tx: the optimiser without a penalty.
        optimizer: its configuration, checked by `check_pruning`.
        updates_per_step: how often it is updated per training step; the configuration counts steps.
        seed: of RigL's first mask.
    """
    pruning = optimizer.pruning
    share = optimizer.sparsity_target
    pattern = optimizer.penalised
    every = pruning.every * updates_per_step
    begin = pruning.begin * updates_per_step
    steps = pruning.steps * updates_per_step
    match optimizer.method:
        case "magnitude":
            rise = _cubic(share, begin, steps)
            pruned = magnitude_pruning(rise, every, pattern, optimizer.sparsity_scope)
            tx = optax.chain(tx, pruned)
        case "rigl":
            drop = pruning.drop_fraction
            densities = pruning.densities
            tx = rigl(
                tx, share, every, drop, steps, densities=densities, pattern=pattern, seed=seed
            )
        case "n_of_m":
            masks = n_of_m(pruning.n, pruning.m, begin=begin, every=every, pattern=pattern)
            tx = optax.chain(tx, masks)
        case _:
            raise AssertionError(optimizer.method)
    return _naming_the_field(tx, optimizer)


def _cubic(share: float, begin: int, steps: int) -> Callable[[ArrayLike], Array]:
    """Return Zhu and Gupta's schedule: share·(1 − (1 − s)³), s from 0 to 1 in these updates."""

    def zeros(count: ArrayLike) -> Array:
        since = jnp.asarray(count) - begin
        s = jnp.clip(since / max(steps, 1), 0, 1)
        if not steps:
            s = jnp.asarray(since >= 0, float)
        return share * (1 - (1 - s) ** 3)

    return zeros


def _naming_the_field(
    tx: optax.GradientTransformation, optimizer: Optimizer
) -> optax.GradientTransformation:
    """Make errors about leaves that cannot be pruned name the field that selects them."""

    def init(params: optax.Params) -> optax.OptState:
        try:
            return tx.init(params)
        except ValueError as error:
            raise InputError(
                f"`penalised` (={optimizer.penalised}) must select arrays that {optimizer.method} "
                f"can prune: {error}"
            ) from error

    return optax.GradientTransformation(init, tx.update)


def check_pruning(optimizer: Optimizer, *, has_penalty: bool, is_dual_averaging: bool) -> None:
    """Refuse fields that do not go together with pruning, or pruning that is not asked for.

    Args:
        optimizer: the configuration.
        has_penalty: whether the penalty has a strength or is a constraint.
        is_dual_averaging: whether the algorithm averages gradients.

    Raises:
        InputError: naming the field.
    """
    method = optimizer.method
    used = USED_FIELDS.get(method, ())
    for name, default in vars(Pruning()).items():
        value = getattr(optimizer.pruning, name)
        if name not in used and value != default:
            methods = [known for known, fields in USED_FIELDS.items() if name in fields]
            raise InputError(
                f"`pruning.{name}` (={value}) must be {default} for `method` (={method}), which "
                f"does not use it, unlike {' and '.join(methods)}."
            )
    if not used:
        return

    def check(holds: bool, name: str, requirement: str) -> None:
        if not holds:
            value = getattr(optimizer, name)
            raise InputError(f"`{name}` (={value}) must be {requirement}.")

    check(
        not has_penalty,
        "penalty",
        f"one of strength 0 for `method` (={method}), which prunes: set `penalty.strength` to 0",
    )
    check(not is_dual_averaging, "algorithm", f"adam, sgd, rmsprop or adagrad for {method}")
    check(
        optimizer.strength_schedule == Schedule(),
        "strength_schedule",
        f"the default for {method}; `pruning` says when its zeros come",
    )
    check(not optimizer.debias_after, "debias_after", f"0 for {method}, which shrinks nothing")
    if method == "n_of_m":
        check(not optimizer.sparsity_target, "sparsity_target", "0 for n_of_m: n and m decide")
        if optimizer.pruning.n >= optimizer.pruning.m:
            raise InputError(
                f"`pruning.n` (={optimizer.pruning.n}) must be below `pruning.m` "
                f"(={optimizer.pruning.m}), such as 2 of 4."
            )
        return
    check(optimizer.sparsity_target > 0, "sparsity_target", f"the share of zeros for {method}")
    if method == "rigl":
        check(
            optimizer.sparsity_scope == "global",
            "sparsity_scope",
            "global for rigl; `pruning.densities` spreads its zeros over the arrays",
        )
        if not optimizer.pruning.steps:
            raise InputError(
                "`pruning.steps` (=0) must be the step from which RigL's zeros stay, such as three "
                "quarters of `steps`."
            )

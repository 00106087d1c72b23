"""Sparse generative models by L1 regularisation in JAX.

This module is the public API for other JAX programs: penalties (what to penalise), optax
transformations (how to reach exact zeros), `minimize` (the optimum to a tolerance), and `load` (a
trained model). It imports no more than JAX and optax before `load` is used; models, training and
the command lines are in the subpackages. The classes `Penalty`, `L1`, `ByPath` and `Sparsity` are
here for annotations; those of the other penalties are in `l1jax.penalties`.
"""

import importlib
from typing import TYPE_CHECKING

from l1jax.extras import explain_missing_extras
from l1jax.penalties import (
    L1,
    ByPath,
    Penalty,
    Slices,
    Sparsity,
    by_path,
    coupled,
    coupled_l0,
    coupled_mcp,
    elastic_net,
    group_l1,
    group_mcp,
    input_channels,
    kernel_blocks,
    l0,
    l1,
    l1_ball,
    l2,
    l_half,
    largest_strength,
    linf,
    log_sum,
    mcp,
    nonnegative_l1,
    nuclear_norm,
    output_channels,
    scad,
    scales,
    soft_threshold,
    sparse_group_l1,
    sparsity,
    sum_of,
    weighted_l1,
    zero_groups,
)
from l1jax.transforms import (
    AcceleratedState,
    AddSubgradientState,
    BudgetState,
    Diagnosis,
    DualAveragingState,
    Factors,
    PreconditionedProximalState,
    ProximalState,
    PruningState,
    Reparametrisation,
    ReweightState,
    RiglState,
    SparseEmaState,
    SparseLookaheadState,
    SparseScheduleFreeState,
    StrengthState,
    TrackSparsityState,
    accelerated,
    add_subgradient,
    budget,
    d_gating,
    diagnose,
    freeze_support,
    hadamard,
    magnitude_pruning,
    n_of_m,
    preconditioned_proximal,
    preconditioners,
    proximal,
    proximal_adagrad,
    proximal_adam,
    proximal_rmsprop,
    proximal_sgd,
    ramda,
    regularized_dual_averaging,
    reweight,
    rigl,
    rising_momentum,
    rmda,
    set_scale,
    solution,
    sparse_average,
    sparse_ema,
    sparse_lookahead,
    sparse_schedule_free,
    strength,
    track_sparsity,
)

if TYPE_CHECKING:
    from l1jax.loading import load
    from l1jax.solve import Minimum, minimize

__version__ = "0.1.0"

explain_missing_extras()

_AT_FIRST_USE = {
    "Minimum": "l1jax.solve",
    "load": "l1jax.loading",
    "minimize": "l1jax.solve",
}


def __getattr__(name: str) -> object:
    """Load what many programs do not use when it is first used."""
    if name == "solve":
        return importlib.import_module("l1jax.solve")
    if name not in _AT_FIRST_USE:
        raise AttributeError(f"module 'l1jax' has no attribute {name!r}")
    return getattr(importlib.import_module(_AT_FIRST_USE[name]), name)


def __dir__() -> list[str]:
    """List the public names, those that are not yet loaded among them."""
    return sorted({*globals(), *_AT_FIRST_USE})


__all__ = [
    "L1",
    "AcceleratedState",
    "AddSubgradientState",
    "BudgetState",
    "ByPath",
    "Diagnosis",
    "DualAveragingState",
    "Factors",
    "Minimum",
    "Penalty",
    "PreconditionedProximalState",
    "ProximalState",
    "PruningState",
    "Reparametrisation",
    "ReweightState",
    "RiglState",
    "Slices",
    "SparseEmaState",
    "SparseLookaheadState",
    "SparseScheduleFreeState",
    "Sparsity",
    "StrengthState",
    "TrackSparsityState",
    "accelerated",
    "add_subgradient",
    "budget",
    "by_path",
    "coupled",
    "coupled_l0",
    "coupled_mcp",
    "d_gating",
    "diagnose",
    "elastic_net",
    "freeze_support",
    "group_l1",
    "group_mcp",
    "hadamard",
    "input_channels",
    "kernel_blocks",
    "l0",
    "l1",
    "l1_ball",
    "l2",
    "l_half",
    "largest_strength",
    "linf",
    "load",
    "log_sum",
    "magnitude_pruning",
    "mcp",
    "minimize",
    "n_of_m",
    "nonnegative_l1",
    "nuclear_norm",
    "output_channels",
    "preconditioned_proximal",
    "preconditioners",
    "proximal",
    "proximal_adagrad",
    "proximal_adam",
    "proximal_rmsprop",
    "proximal_sgd",
    "ramda",
    "regularized_dual_averaging",
    "reweight",
    "rigl",
    "rising_momentum",
    "rmda",
    "scad",
    "scales",
    "set_scale",
    "soft_threshold",
    "solution",
    "sparse_average",
    "sparse_ema",
    "sparse_group_l1",
    "sparse_lookahead",
    "sparse_schedule_free",
    "sparsity",
    "strength",
    "sum_of",
    "track_sparsity",
    "weighted_l1",
    "zero_groups",
]

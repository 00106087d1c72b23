"""Sparse generative models by L1 regularisation in JAX.

This module is the public API for other JAX programs: penalties (what to penalise), optax
transformations (how to reach exact zeros), `minimize` (the optimum to a tolerance), and `load` (a
trained model). Each is loaded when it is first used, with no more than JAX and optax before `load`
is; models, training and the command lines are in the subpackages. The classes `Penalty`, `L1`,
`ByPath` and `Sparsity` are here for annotations; those of the other penalties are in
`l1jax.penalties`.
"""

import importlib
from typing import TYPE_CHECKING

from l1jax.extras import explain_missing_extras

if TYPE_CHECKING:
    from l1jax.loading import load
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
        group_l0,
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
    from l1jax.solve import Minimum, minimize
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

__version__ = "0.1.0"

explain_missing_extras()

_HOMES = ("l1jax.penalties", "l1jax.transforms")  # of all public names but these:
_ELSEWHERE = {
    "Minimum": "l1jax.solve",
    "load": "l1jax.loading",
    "minimize": "l1jax.solve",
}
_MODULES = ("annotations", "arrays", "penalties", "solve", "transforms")


def __getattr__(name: str) -> object:
    """Load a public name when it is first used: a command answers --help before it loads JAX."""
    if name in _MODULES:
        return importlib.import_module(f"l1jax.{name}")
    if name not in __all__:
        raise AttributeError(f"module 'l1jax' has no attribute {name!r}")
    homes = [_ELSEWHERE[name]] if name in _ELSEWHERE else _HOMES
    found = [module for module in map(importlib.import_module, homes) if hasattr(module, name)]
    value = getattr(found[0], name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, those that are not yet loaded among them."""
    return sorted({*globals(), *__all__, *_MODULES})


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
    "group_l0",
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

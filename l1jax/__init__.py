"""Sparse generative models by L1 regularisation.

The public API: penalties (what to penalise) and optax transformations (how to reach exact zeros).
It imports jax and optax only; models, training and the command lines live in the subpackages.
"""

from l1jax.penalties import L1, ByPath, Penalty, Sparsity, by_path, l1, soft_threshold, sparsity
from l1jax.transforms import (
    AddSubgradientState,
    PreconditionedProximalState,
    ProximalState,
    add_subgradient,
    preconditioned_proximal,
    preconditioners,
    proximal,
    proximal_adam,
    sparse_average,
)

__version__ = "0.1.0"

__all__ = [
    "L1",
    "AddSubgradientState",
    "ByPath",
    "Penalty",
    "PreconditionedProximalState",
    "ProximalState",
    "Sparsity",
    "add_subgradient",
    "by_path",
    "l1",
    "preconditioned_proximal",
    "preconditioners",
    "proximal",
    "proximal_adam",
    "soft_threshold",
    "sparse_average",
    "sparsity",
]

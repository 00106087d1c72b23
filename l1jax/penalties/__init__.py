"""What to penalise: value, proximal operator, subgradient and distance to optimality of each penalty."""

from l1jax.penalties.base import Penalty, scaled
from l1jax.penalties.by_path import ByPath, by_path, leaf_penalties
from l1jax.penalties.l1 import L1, l1, soft_threshold
from l1jax.penalties.sparsity import Sparsity, path_name, sparsity

__all__ = [
    "L1",
    "ByPath",
    "Penalty",
    "Sparsity",
    "by_path",
    "l1",
    "leaf_penalties",
    "path_name",
    "scaled",
    "soft_threshold",
    "sparsity",
]

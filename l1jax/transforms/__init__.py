"""How to reach exact zeros: optax gradient transformations that use a penalty.

All of them take the parameters that optax takes. Leaves that are not of floating point, such as
integers, booleans and keys, are left alone: in a chain the other links decide about them, and a
whole optimiser such as `proximal_adam` does not change them, whatever their gradient is, `float0`
included. If a penalty or a mask selects such a leaf, the error names its path; choose the leaves by
`by_path` or `pattern`.

NumPy arrays and Python numbers are arrays. What belongs to float16 leaves is computed in float32,
moments in the state included, and rounded once; bfloat16, whose range is that of float32, keeps its
moments.
"""

from l1jax.transforms import preconditioners
from l1jax.transforms.acceleration import AcceleratedState, accelerated
from l1jax.transforms.adam import proximal_adam
from l1jax.transforms.averaging import SparseEmaState, sparse_average, sparse_ema
from l1jax.transforms.budgets import BudgetState, budget
from l1jax.transforms.diagnosis import Diagnosis, diagnose
from l1jax.transforms.dual_averaging import (
    ramda,
    regularized_dual_averaging,
    rising_momentum,
    rmda,
)
from l1jax.transforms.dual_averaging_update import DualAveragingState
from l1jax.transforms.metric import PreconditionedProximalState
from l1jax.transforms.optimizers import (
    proximal_adagrad,
    proximal_rmsprop,
    proximal_sgd,
)
from l1jax.transforms.proximal import ProximalState, preconditioned_proximal, proximal
from l1jax.transforms.pruning import PruningState, magnitude_pruning, n_of_m
from l1jax.transforms.reparametrisation import Factors, Reparametrisation, d_gating, hadamard
from l1jax.transforms.rigl import RiglState, rigl
from l1jax.transforms.solution import solution
from l1jax.transforms.sparse_iterates import (
    SparseLookaheadState,
    SparseScheduleFreeState,
    sparse_lookahead,
    sparse_schedule_free,
)
from l1jax.transforms.strength_control import (
    ReweightState,
    TrackSparsityState,
    reweight,
    track_sparsity,
)
from l1jax.transforms.strengths import StrengthState, set_scale, strength
from l1jax.transforms.subgradient import AddSubgradientState, add_subgradient
from l1jax.transforms.support import freeze_support

__all__ = [
    "AcceleratedState",
    "AddSubgradientState",
    "BudgetState",
    "Diagnosis",
    "DualAveragingState",
    "Factors",
    "PreconditionedProximalState",
    "ProximalState",
    "PruningState",
    "Reparametrisation",
    "ReweightState",
    "RiglState",
    "SparseEmaState",
    "SparseLookaheadState",
    "SparseScheduleFreeState",
    "StrengthState",
    "TrackSparsityState",
    "accelerated",
    "add_subgradient",
    "budget",
    "d_gating",
    "diagnose",
    "freeze_support",
    "hadamard",
    "magnitude_pruning",
    "n_of_m",
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
    "set_scale",
    "solution",
    "sparse_average",
    "sparse_ema",
    "sparse_lookahead",
    "sparse_schedule_free",
    "strength",
    "track_sparsity",
]

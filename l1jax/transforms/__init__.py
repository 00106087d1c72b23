"""How to reach exact zeros: optax gradient transformations that use a penalty."""

from l1jax.transforms import preconditioners
from l1jax.transforms.averaging import sparse_average
from l1jax.transforms.proximal import (
    PreconditionedProximalState,
    ProximalState,
    preconditioned_proximal,
    proximal,
    proximal_adam,
)
from l1jax.transforms.subgradient import AddSubgradientState, add_subgradient

__all__ = [
    "AddSubgradientState",
    "PreconditionedProximalState",
    "ProximalState",
    "add_subgradient",
    "preconditioned_proximal",
    "preconditioners",
    "proximal",
    "proximal_adam",
    "sparse_average",
]

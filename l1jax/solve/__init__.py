"""Solvers to a tolerance: `minimize`, for any loss that JAX differentiates and any penalty."""

from l1jax.solve.minimize import Minimum, minimize

__all__ = ["Minimum", "minimize"]

"""Measuring generated images against real ones."""

from l1jax.evaluation.kernel import kernel_distance

__all__ = ["kernel_distance"]

"""Measuring generated images against real ones."""

from l1jax.evaluation.coverage import ModeCoverage, mode_coverage
from l1jax.evaluation.kernel import kernel_distance

__all__ = ["ModeCoverage", "kernel_distance", "mode_coverage"]

"""The L1 norm, λ‖x‖₁."""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float

from l1jax.penalties.base import check_strength, on_trees


def soft_threshold(x: Float[Array, "*shape"], threshold: float | Array) -> Float[Array, "*shape"]:
    """Shrink towards zero by `threshold`: sign(x)·(|x| − threshold)₊, the prox of threshold·|x|.

    Written as x − clip(x, ±threshold), which gives exact +0.0 and never −0.0. Half-precision
    entries are computed in float32 and rounded once.
    """
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return (wide - jnp.clip(wide, -threshold, threshold)).astype(x.dtype)


@on_trees
@dataclass(frozen=True)
class L1:
    """λ Σ |xᵢ| with `strength` λ; made by `l1jax.l1`."""

    strength: float | Array

    def value(self, x: Array) -> Array:
        """λ Σ |xᵢ|."""
        return self.strength * jnp.sum(jnp.abs(x))

    def prox(self, x: Array, step: float | Array) -> Array:
        """Soft-thresholding at step·λ, entry by entry."""
        return soft_threshold(x, step * self.strength)

    def subgradient(self, x: Array) -> Array:
        """λ sign x, 0 at 0."""
        return (self.strength * jnp.sign(x)).astype(x.dtype)

    def distance(self, x: Array, grad: Array) -> Array:
        """|g + λ sign x| where x ≠ 0, (|g| − λ)₊ where x = 0."""
        away = jnp.abs(grad + self.strength * jnp.sign(x))
        return jnp.where(x != 0, away, jnp.maximum(jnp.abs(grad) - self.strength, 0))


def l1(strength: float | Array) -> L1:
    """Penalise λ‖x‖₁, the lasso: exact zeros, every entry shrunk by the same amount.

    Args:
        strength: λ ≥ 0, in units of the loss per unit of |x|.

    Raises:
        ValueError: if `strength` is negative or not finite.

    Source: Tibshirani, J. R. Stat. Soc. B 58 (1996); prox: Parikh and Boyd, Proximal Algorithms
    (2014), section 6.5.2.
    """
    check_strength("strength", strength)
    return L1(strength)

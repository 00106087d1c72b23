"""Penalties with a jump: L0 counts the non-zeros, L½ rises vertically at 0."""

from dataclasses import dataclass, field
from typing import ClassVar

import jax.numpy as jnp

from l1jax.annotations import Array, ArrayLike
from l1jax.penalties.base import STRENGTH, Number, register
from l1jax.penalties.checks import check_strength
from l1jax.penalties.configuration import configured_by
from l1jax.penalties.leafwise import tree_distance, tree_prox, tree_subgradient, tree_value

ANY_STRENGTH = "has a stationary point at zero for any strength"


@register
@dataclass(frozen=True)
class L0:
    """λ · number of non-zeros, `strength` λ; made by `l1jax.l0`."""

    strength: Number = field(metadata=STRENGTH)
    convex: ClassVar[bool] = False
    no_largest_strength: ClassVar[str] = ANY_STRENGTH

    @tree_value
    def value(self, x: Array) -> Array:
        """Return λ · number of non-zeros."""
        return self.strength * jnp.sum(x != 0, dtype=x.dtype)

    @tree_prox
    def prox(self, x: Array, step: Array) -> Array:
        """Hard-threshold: return x where |x| > √(2λ·step), else 0."""
        return jnp.where(jnp.abs(x) <= jnp.sqrt(2 * self.strength * step), jnp.zeros_like(x), x)

    @tree_subgradient
    def subgradient(self, x: Array) -> Array:
        """Return 0, because the penalty is level wherever it is continuous."""
        return jnp.zeros_like(x)

    @tree_distance
    def distance(self, x: Array, grad: Array) -> Array:
        """Return |g| where x ≠ 0, 0 where x = 0."""
        return jnp.where(x != 0, jnp.abs(grad), 0)


@register
@dataclass(frozen=True)
class LHalf:
    """λ Σ √|xᵢ|, `strength` λ; made by `l1jax.l_half`."""

    strength: Number = field(metadata=STRENGTH)
    convex: ClassVar[bool] = False
    no_largest_strength: ClassVar[str] = ANY_STRENGTH

    @tree_value
    def value(self, x: Array) -> Array:
        """Return λ Σ √|xᵢ|."""
        return self.strength * jnp.sum(jnp.where(x != 0, jnp.sqrt(_nonzero_size(x)), 0))

    @tree_prox
    def prox(self, x: Array, step: Array) -> Array:
        """Return 0 up to 1.5 (λt)^⅔; beyond, ⅔x(1 + cos(2π/3 − ⅔ arccos(¼λt(|x|/3)^−³ᐟ²)))."""
        edge = jnp.square(jnp.cbrt(step * self.strength))  # (λt)^⅔
        zero = jnp.abs(x) <= 1.5 * edge
        ratio = jnp.where(zero, 1, edge) / jnp.where(zero, 1.5, jnp.abs(x))
        cosine = jnp.cos(2 / 3 * (jnp.pi - jnp.arccos((3 * ratio) ** 1.5 / 4)))
        return jnp.where(zero, jnp.zeros_like(x), 2 / 3 * x * (1 + cosine))

    @tree_subgradient
    def subgradient(self, x: Array) -> Array:
        """Return ½λ sign(x)/√|x|, and 0 at 0."""
        return self.strength * jnp.sign(x) / (2 * jnp.sqrt(_nonzero_size(x)))

    @tree_distance
    def distance(self, x: Array, grad: Array) -> Array:
        """Return |g + ½λ sign(x)/√|x|| where x ≠ 0, 0 where x = 0."""
        slope = self.strength * jnp.sign(x) / (2 * jnp.sqrt(_nonzero_size(x)))
        return jnp.where(x != 0, jnp.abs(grad + slope), 0)


def _nonzero_size(x: Array) -> Array:
    """Return |x|, and 1 where x is 0, so that nothing is divided by 0."""
    return jnp.where(x != 0, jnp.abs(x), 1)


@configured_by("L0")
def l0(strength: ArrayLike) -> L0:
    """Penalise λ · number of non-zeros, which the other penalties approximate.

    The prox keeps the entries above √(2λ·step) as they are. Every zero is a fixed point, and every
    other entry is one where its gradient is 0; so what is reached depends on the start and on the
    steps.

    Args:
        strength: λ ≥ 0, in units of the loss per parameter.

    Raises:
        ValueError: if `strength` is negative or not finite.

    Source: Blumensath and Davies, J. Fourier Anal. Appl. 14 (2008).

    >>> l1jax.l0(0.5).prox(jnp.array([-3.0, 0.5, 2.0]), 1.0)
    Array([-3.,  0.,  2.], dtype=float32)
    """
    check_strength("strength", strength)
    return L0(strength)


@configured_by("LHalf")
def l_half(strength: ArrayLike) -> LHalf:
    """Penalise λ Σ √|xᵢ|: sparser than L1 at the same fit, with a prox in closed form.

    Every zero is a fixed point; so is every other entry that has the gradient −½λ sign(x)/√|x|.

    Args:
        strength: λ ≥ 0, in units of the loss per unit of √|x|.

    Raises:
        ValueError: if `strength` is negative or not finite.

    Source: Xu, Chang, Xu, Zhang: L½ regularization, IEEE Trans. Neural Netw. Learn. Syst. 23
    (2012).

    >>> l1jax.l_half(4.0).prox(jnp.array([-5.0, 1.0, 3.0]), 1.0).round(1)
    Array([-4.,  0.,  0.], dtype=float32)
    """
    check_strength("strength", strength)
    return LHalf(strength)

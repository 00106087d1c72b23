"""Penalties with a jump: L0 counts the non-zeros, L½ rises vertically at 0."""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from l1jax.penalties.base import Number, on_trees
from l1jax.penalties.numbers import check_strength


@on_trees
@dataclass(frozen=True)
class L0:
    """λ · number of non-zeros, `strength` λ; made by `l1jax.l0`."""

    strength: Number

    def value(self, x: Array) -> Array:
        """λ · number of non-zeros."""
        return self.strength * jnp.sum(x != 0, dtype=x.dtype)

    def prox(self, x: Array, step: Array) -> Array:
        """Hard-thresholding: x where |x| > √(2λ·step), else 0."""
        return jnp.where(jnp.abs(x) <= jnp.sqrt(2 * self.strength * step), jnp.zeros_like(x), x)

    def subgradient(self, x: Array) -> Array:
        """0: the penalty is level wherever it is continuous."""
        return jnp.zeros_like(x)

    def distance(self, x: Array, grad: Array) -> Array:
        """|g| where x ≠ 0, 0 where x = 0."""
        return jnp.where(x != 0, jnp.abs(grad), 0)


@on_trees
@dataclass(frozen=True)
class LHalf:
    """λ Σ √|xᵢ|, `strength` λ; made by `l1jax.l_half`."""

    strength: Number

    def value(self, x: Array) -> Array:
        """λ Σ √|xᵢ|."""
        return self.strength * jnp.sum(jnp.where(x != 0, jnp.sqrt(_nonzero_size(x)), 0))

    def prox(self, x: Array, step: Array) -> Array:
        """0 up to 1.5 (λt)^⅔; beyond, ⅔x(1 + cos(2π/3 − ⅔ arccos(¼λt(|x|/3)^−³ᐟ²)))."""
        edge = jnp.square(jnp.cbrt(step * self.strength))  # (λt)^⅔
        zero = jnp.abs(x) <= 1.5 * edge
        ratio = jnp.where(zero, 1, edge) / jnp.where(zero, 1.5, jnp.abs(x))
        cosine = jnp.cos(2 / 3 * (jnp.pi - jnp.arccos((3 * ratio) ** 1.5 / 4)))
        return jnp.where(zero, jnp.zeros_like(x), 2 / 3 * x * (1 + cosine))

    def subgradient(self, x: Array) -> Array:
        """½λ sign(x)/√|x|, 0 at 0."""
        return self.strength * jnp.sign(x) / (2 * jnp.sqrt(_nonzero_size(x)))

    def distance(self, x: Array, grad: Array) -> Array:
        """|g + ½λ sign(x)/√|x|| where x ≠ 0, 0 where x = 0."""
        away = jnp.abs(grad + self.strength * jnp.sign(x) / (2 * jnp.sqrt(_nonzero_size(x))))
        return jnp.where(x != 0, away, 0)


def _nonzero_size(x: Array) -> Array:
    return jnp.where(x != 0, jnp.abs(x), 1)


def l0(strength: ArrayLike) -> L0:
    """Penalise λ · number of non-zeros: what the other penalties stand in for.

    The prox keeps the entries above √(2λ·step) as they are. Every zero is a fixed point, and a
    non-zero one has gradient 0: what is reached depends on the start and on the steps.

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


def l_half(strength: ArrayLike) -> LHalf:
    """Penalise λ Σ √|xᵢ|: sparser than L1 at the same fit, with a prox in closed form.

    Every zero is a fixed point; a non-zero one has the gradient −½λ sign(x)/√|x|.

    Args:
        strength: λ ≥ 0, in units of the loss per unit of √|x|.

    Raises:
        ValueError: if `strength` is negative or not finite.

    Source: Xu, Chang, Xu, Zhang: L½ regularization, IEEE Trans. Neural Netw. Learn. Syst. 23 (2012).

    >>> l1jax.l_half(4.0).prox(jnp.array([-5.0, 1.0, 3.0]), 1.0).round(1)
    Array([-4.,  0.,  0.], dtype=float32)
    """
    check_strength("strength", strength)
    return LHalf(strength)

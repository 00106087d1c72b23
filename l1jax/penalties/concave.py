"""MCP, SCAD and the log-sum: penalties that level off, so that large entries are not shrunk."""

from dataclasses import dataclass, field
from typing import ClassVar

import jax.numpy as jnp

from l1jax.annotations import Array, ArrayLike
from l1jax.penalties.base import STRENGTH, Number, register
from l1jax.penalties.checks import check_number, check_strength
from l1jax.penalties.configuration import configured_by
from l1jax.penalties.l1 import L1, l1_distance
from l1jax.penalties.leafwise import tree_distance, tree_prox, tree_subgradient, tree_value
from l1jax.penalties.numerics import absolute


def mcp_prox(size: Array, step: Array, strength: Array, gamma: Array) -> Array:
    """Return the prox of MCP at sizes |z| ≥ 0, of entries or of groups.

    For steps t < γ it is (|z| − λt)₊/(1 − t/γ), but at most |z|. For t ≥ γ the objective is concave
    between its two candidates: the prox is |z| if that exceeds λ√(γt), else 0.

    Args:
        size: |z|, the size of each entry, or the norm of each group.
        step: t, like all that follow a number or an array that broadcasts to `size`.
        strength: λ.
        gamma: γ.
    """
    smooth = step < gamma
    shrunk = jnp.maximum(size - strength * step, 0) / jnp.where(smooth, 1 - step / gamma, 1)
    thresholded = jnp.where(size <= strength * jnp.sqrt(gamma * step), jnp.zeros_like(size), size)
    return jnp.where(smooth, jnp.minimum(shrunk, size), thresholded)


@register
@dataclass(frozen=True)
class Mcp:
    """The minimax concave penalty, `strength` λ, `gamma` γ; made by `l1jax.mcp`."""

    strength: Number = field(metadata=STRENGTH)
    gamma: Number
    convex: ClassVar[bool] = False

    @tree_value
    def value(self, x: Array) -> Array:
        """Return Σ λ|xᵢ| − xᵢ²/2γ where |xᵢ| ≤ γλ, ½γλ² beyond."""
        size = jnp.minimum(absolute(x), self.gamma * self.strength)
        return jnp.sum(size * (self.strength - size / (2 * self.gamma)))

    @tree_prox
    def prox(self, x: Array, step: Array) -> Array:
        """Return `mcp_prox` of each |xᵢ|, with its sign."""
        return jnp.sign(x) * mcp_prox(jnp.abs(x), step, self.strength, self.gamma)

    @tree_subgradient
    def subgradient(self, x: Array) -> Array:
        """Return sign(x)·(λ − |x|/γ)₊, which is 0 at 0."""
        return jnp.sign(x) * self._slope(x)

    @tree_distance
    def distance(self, x: Array, grad: Array) -> Array:
        """Return |g + sign(x)·(λ − |x|/γ)₊| where x ≠ 0, (|g| − λ)₊ where x = 0."""
        return l1_distance(x, grad, self._slope(x))

    def convex_part(self) -> L1:
        """Return λ Σ |xᵢ|; the rest is −½xᵢ²/γ, and from γλ on ½γλ² − λ|xᵢ|."""
        return L1(self.strength)

    def _slope(self, x: Array) -> Array:
        """Return the derivative at |x|, the slope at 0 included."""
        return jnp.maximum(self.strength - jnp.abs(x) / self.gamma, 0)


@register
@dataclass(frozen=True)
class Scad:
    """The smoothly clipped absolute deviation, `strength` λ, `a`; made by `l1jax.scad`."""

    strength: Number = field(metadata=STRENGTH)
    a: Number
    convex: ClassVar[bool] = False

    @tree_value
    def value(self, x: Array) -> Array:
        """Add up λ|xᵢ| to λ, (2aλ|xᵢ| − xᵢ² − λ²)/2(a − 1) to aλ, ½(a + 1)λ² beyond."""
        size = jnp.minimum(absolute(x), self.a * self.strength)
        beyond = jnp.maximum(size - self.strength, 0)
        return jnp.sum(self.strength * size - jnp.square(beyond) / (2 * (self.a - 1)))

    @tree_prox
    def prox(self, x: Array, step: Array) -> Array:
        """Soft-threshold up to (1 + t)λ, then follow a steeper line that meets x at aλ.

        This holds for steps t < a − 1. For larger ones the objective is concave in the middle: the
        prox is x beyond a threshold θ, else the soft-threshold, with θ = ½λ(a + 1 + t) if
        t ≤ a + 1, else λ√(t(a + 1)).
        """
        size = jnp.abs(x)
        strength = self.strength
        a = self.a
        smooth = step < a - 1
        soft = jnp.maximum(size - strength * step, 0)
        line = ((a - 1) * size - step * a * strength) / jnp.where(smooth, a - 1 - step, 1)
        threshold = strength * jnp.where(
            step <= a + 1, (a + 1 + step) / 2, jnp.sqrt(step * (a + 1))
        )
        jumped = jnp.where(size <= threshold, soft, size)
        return jnp.sign(x) * jnp.where(smooth, jnp.minimum(jnp.maximum(soft, line), size), jumped)

    @tree_subgradient
    def subgradient(self, x: Array) -> Array:
        """Return sign(x)·λ up to λ, then sign(x)·(aλ − |x|)₊/(a − 1); it is 0 at 0."""
        return jnp.sign(x) * self._slope(x)

    @tree_distance
    def distance(self, x: Array, grad: Array) -> Array:
        """Return |g + subgradient| where x ≠ 0, (|g| − λ)₊ where x = 0."""
        return l1_distance(x, grad, self._slope(x))

    def convex_part(self) -> L1:
        """Return λ Σ |xᵢ|; the rest is 0 up to λ, then falls."""
        return L1(self.strength)

    def _slope(self, x: Array) -> Array:
        """Return the derivative at |x|, the slope at 0 included."""
        return jnp.clip((self.a * self.strength - jnp.abs(x)) / (self.a - 1), 0, self.strength)


@register
@dataclass(frozen=True)
class LogSum:
    """λ Σ log(1 + |xᵢ|/ε), `strength` λ, `eps` ε; made by `l1jax.log_sum`."""

    strength: Number = field(metadata=STRENGTH)
    eps: Number
    convex: ClassVar[bool] = False

    @tree_value
    def value(self, x: Array) -> Array:
        """Return λ Σ log(1 + |xᵢ|/ε)."""
        return self.strength * jnp.sum(jnp.log1p(absolute(x) / self.eps))

    @tree_prox
    def prox(self, x: Array, step: Array) -> Array:
        """Return the better of 0 and the larger root r of (r − |x|)(r + ε) + λt = 0.

        r = ½(|x| − ε) + ½√((|x| + ε)² − 4λt), written without cancellation where |x| < ε. The
        result has the sign of x.
        """
        size = jnp.abs(x)
        eps = self.eps
        threshold = step * self.strength
        square = jnp.square(size + eps) - 4 * threshold
        root = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)
        small = 2 * (eps * size - threshold) / (jnp.abs(eps - size) + root)
        r = jnp.maximum(jnp.where(size < eps, small, (size - eps + root) / 2), 0)
        gain = r * (size - r / 2) - threshold * jnp.log1p(r / eps)
        return jnp.sign(x) * jnp.where(gain <= 0, jnp.zeros_like(r), r)

    @tree_subgradient
    def subgradient(self, x: Array) -> Array:
        """Return λ sign(x)/(ε + |x|), which is 0 at 0."""
        return jnp.sign(x) * self._slope(x)

    @tree_distance
    def distance(self, x: Array, grad: Array) -> Array:
        """Return |g + λ sign(x)/(ε + |x|)| where x ≠ 0, (|g| − λ/ε)₊ where x = 0."""
        return l1_distance(x, grad, self._slope(x))

    def convex_part(self) -> L1:
        """Return λ/ε Σ |xᵢ|; the rest is λ Σ (log(1 + |xᵢ|/ε) − |xᵢ|/ε)."""
        return L1(self.strength / self.eps)

    def _slope(self, x: Array) -> Array:
        """Return the derivative at |x|, the slope at 0 included."""
        return self.strength / (self.eps + jnp.abs(x))


@configured_by("Mcp")
def mcp(strength: ArrayLike, gamma: ArrayLike) -> Mcp:
    """Penalise Σ λ|xᵢ| − xᵢ²/2γ, level from |xᵢ| = γλ on: the lasso's zeros without its bias.

    A fixed point has the gradient −sign(x)·(λ − |x|/γ)₊ where x ≠ 0, so 0 beyond γλ, and one of at
    most λ where x = 0. It is a stationary point. With steps t < γ the prox is continuous.

    Args:
        strength: λ ≥ 0.
        gamma: γ > 0; L1 as γ → ∞, L0 of strength ½γλ² as γ → 0.

    Raises:
        ValueError: if `strength` is negative or not finite, or `gamma` not positive and finite.

    Source: Zhang, Annals of Statistics 38 (2010); prox: Breheny and Huang, Ann. Appl. Stat. 5
    (2011).

    >>> l1jax.mcp(1.0, gamma=2.0).prox(jnp.array([0.5, 1.5, 4.0]), 1.0)
    Array([0., 1., 4.], dtype=float32)
    """
    check_strength("strength", strength)
    check_number("gamma", gamma, exclusive=True, remedy="3 is usual")
    return Mcp(strength, gamma)


@configured_by("Scad")
def scad(strength: ArrayLike, a: ArrayLike = 3.7) -> Scad:
    """Penalise as L1 up to λ, then level off until aλ: zeros as with L1, without its bias.

    A fixed point has the gradient −λ sign(x) for 0 < |x| ≤ λ, −sign(x)·(aλ − |x|)₊/(a − 1) beyond,
    and one of at most λ where x = 0. It is a stationary point.

    Args:
        strength: λ ≥ 0.
        a: the size in units of λ from which on the penalty is level, greater than 2.

    Raises:
        ValueError: if `strength` is negative or not finite, or `a` not finite and greater than 2.

    Source: Fan and Li, J. Am. Stat. Assoc. 96 (2001).

    >>> l1jax.scad(1.0, a=3.0).prox(jnp.array([0.5, 2.0, 4.0]), 1.0)
    Array([0., 1., 4.], dtype=float32)
    """
    check_strength("strength", strength)
    check_number("a", a, minimum=2.0, exclusive=True, remedy="3.7 is usual")
    return Scad(strength, a)


@configured_by("LogSum")
def log_sum(strength: ArrayLike, eps: ArrayLike) -> LogSum:
    """Penalise λ Σ log(1 + |xᵢ|/ε), which iteratively reweighted L1 minimises.

    A fixed point has the gradient −λ sign(x)/(ε + |x|) where x ≠ 0, and one of at most λ/ε where
    x = 0. It is a stationary point.

    Args:
        strength: λ ≥ 0, in units of the loss.
        eps: ε > 0, in units of x: entries well above it are hardly shrunk.

    Raises:
        ValueError: if `strength` is negative or not finite, or `eps` not positive and finite.

    Source: Candès, Wakin, Boyd, J. Fourier Anal. Appl. 14 (2008); prox: Gong et al., ICML 2013.

    >>> l1jax.log_sum(4.0, eps=1.0).prox(jnp.array([-2.0, 0.5, 4.0]), 1.0).round(1)
    Array([0., 0., 3.], dtype=float32)
    """
    check_strength("strength", strength)
    check_number("eps", eps, exclusive=True)
    return LogSum(strength, eps)

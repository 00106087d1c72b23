"""Penalties that level off, MCP, SCAD and the log-sum: zeros as with L1, large entries left alone."""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from l1jax.penalties.base import Number, absolute, on_trees
from l1jax.penalties.l1 import L1, l1_distance
from l1jax.penalties.numbers import check_number, check_strength


def mcp_prox(size: Array, step: Array, strength: Array, gamma: Array) -> Array:
    """The prox of MCP at sizes |z| ≥ 0, for entries and for the norms of groups.

    t < γ: (|z| − λt)₊/(1 − t/γ), at most |z|. t ≥ γ, where the objective is concave between its two
    candidates: |z| if it exceeds λ√(γt), else 0.
    """
    smooth = step < gamma
    shrunk = jnp.maximum(size - strength * step, 0) / jnp.where(smooth, 1 - step / gamma, 1)
    kept = jnp.where(size <= strength * jnp.sqrt(gamma * step), jnp.zeros_like(size), size)
    return jnp.where(smooth, jnp.minimum(shrunk, size), kept)


@on_trees
@dataclass(frozen=True)
class Mcp:
    """The minimax concave penalty, `strength` λ, `gamma` γ; made by `l1jax.mcp`."""

    strength: Number
    gamma: Number

    def value(self, x: Array) -> Array:
        """Σ λ|xᵢ| − xᵢ²/2γ where |xᵢ| ≤ γλ, ½γλ² beyond."""
        size = jnp.minimum(absolute(x), self.gamma * self.strength)
        return jnp.sum(size * (self.strength - size / (2 * self.gamma)))

    def prox(self, x: Array, step: Array) -> Array:
        """`mcp_prox` of each |xᵢ|, with its sign."""
        return jnp.sign(x) * mcp_prox(jnp.abs(x), step, self.strength, self.gamma)

    def subgradient(self, x: Array) -> Array:
        """sign(x)·(λ − |x|/γ)₊, 0 at 0."""
        return jnp.sign(x) * self._slope(x)

    def distance(self, x: Array, grad: Array) -> Array:
        """|g + sign(x)·(λ − |x|/γ)₊| where x ≠ 0, (|g| − λ)₊ where x = 0."""
        return l1_distance(x, grad, self._slope(x))

    def convex_part(self) -> L1:
        """λ Σ |xᵢ|: the rest is −½xᵢ²/γ, and from γλ on ½γλ² − λ|xᵢ|."""
        return L1(self.strength)

    def _slope(self, x: Array) -> Array:
        return jnp.maximum(self.strength - jnp.abs(x) / self.gamma, 0)


@on_trees
@dataclass(frozen=True)
class Scad:
    """The smoothly clipped absolute deviation, `strength` λ, `a`; made by `l1jax.scad`."""

    strength: Number
    a: Number

    def value(self, x: Array) -> Array:
        """Σ λ|xᵢ| up to λ; then (2aλ|xᵢ| − xᵢ² − λ²)/2(a − 1) up to aλ; then ½(a + 1)λ²."""
        size = jnp.minimum(absolute(x), self.a * self.strength)
        beyond = jnp.maximum(size - self.strength, 0)
        return jnp.sum(self.strength * size - jnp.square(beyond) / (2 * (self.a - 1)))

    def prox(self, x: Array, step: Array) -> Array:
        """Soft-threshold up to (1 + t)λ, then a steeper line that meets x at aλ, if t < a − 1.

        For larger t the middle piece is concave: x beyond a threshold θ, else the soft-threshold;
        θ = ½λ(a + 1 + t) if t ≤ a + 1, else λ√(t(a + 1)).
        """
        size, strength, a = jnp.abs(x), self.strength, self.a
        smooth = step < a - 1
        soft = jnp.maximum(size - strength * step, 0)
        line = ((a - 1) * size - step * a * strength) / jnp.where(smooth, a - 1 - step, 1)
        threshold = strength * jnp.where(
            step <= a + 1, (a + 1 + step) / 2, jnp.sqrt(step * (a + 1))
        )
        jumped = jnp.where(size <= threshold, soft, size)
        return jnp.sign(x) * jnp.where(smooth, jnp.minimum(jnp.maximum(soft, line), size), jumped)

    def subgradient(self, x: Array) -> Array:
        """sign(x)·λ up to λ, then sign(x)·(aλ − |x|)₊/(a − 1); 0 at 0."""
        return jnp.sign(x) * self._slope(x)

    def distance(self, x: Array, grad: Array) -> Array:
        """|g + subgradient| where x ≠ 0, (|g| − λ)₊ where x = 0."""
        return l1_distance(x, grad, self._slope(x))

    def convex_part(self) -> L1:
        """λ Σ |xᵢ|: the rest is 0 up to λ, then falls."""
        return L1(self.strength)

    def _slope(self, x: Array) -> Array:
        return jnp.clip((self.a * self.strength - jnp.abs(x)) / (self.a - 1), 0, self.strength)


@on_trees
@dataclass(frozen=True)
class LogSum:
    """λ Σ log(1 + |xᵢ|/ε), `strength` λ, `eps` ε; made by `l1jax.log_sum`."""

    strength: Number
    eps: Number

    def value(self, x: Array) -> Array:
        """λ Σ log(1 + |xᵢ|/ε)."""
        return self.strength * jnp.sum(jnp.log1p(absolute(x) / self.eps))

    def prox(self, x: Array, step: Array) -> Array:
        """The better of 0 and the larger root r of (r − |x|)(r + ε) + λt = 0, with the sign of x.

        r = ½(|x| − ε) + ½√((|x| + ε)² − 4λt), written without cancellation where |x| < ε.
        """
        size, eps, threshold = jnp.abs(x), self.eps, step * self.strength
        square = jnp.square(size + eps) - 4 * threshold
        root = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)
        small = 2 * (eps * size - threshold) / (jnp.abs(eps - size) + root)
        r = jnp.maximum(jnp.where(size < eps, small, (size - eps + root) / 2), 0)
        gain = r * (size - r / 2) - threshold * jnp.log1p(r / eps)
        return jnp.sign(x) * jnp.where(gain <= 0, jnp.zeros_like(r), r)

    def subgradient(self, x: Array) -> Array:
        """λ sign(x)/(ε + |x|), 0 at 0."""
        return jnp.sign(x) * self._slope(x)

    def distance(self, x: Array, grad: Array) -> Array:
        """|g + λ sign(x)/(ε + |x|)| where x ≠ 0, (|g| − λ/ε)₊ where x = 0."""
        return l1_distance(x, grad, self._slope(x))

    def convex_part(self) -> L1:
        """λ/ε Σ |xᵢ|, the slope at 0: the rest is λ(log(1 + |xᵢ|/ε) − |xᵢ|/ε)."""
        return L1(self.strength / self.eps)

    def _slope(self, x: Array) -> Array:
        return self.strength / (self.eps + jnp.abs(x))


def mcp(strength: ArrayLike, gamma: ArrayLike) -> Mcp:
    """Penalise Σ λ|xᵢ| − xᵢ²/2γ, level from |xᵢ| = γλ on: the lasso's zeros without its bias.

    A fixed point has the gradient −sign(x)·(λ − |x|/γ)₊ where x ≠ 0, so 0 beyond γλ, and of at most
    λ where x = 0. It is a stationary point; with steps t < γ the prox is continuous.

    Args:
        strength: λ ≥ 0.
        gamma: γ > 0; L1 as γ → ∞, L0 of strength ½γλ² as γ → 0.

    Raises:
        ValueError: if `strength` is negative or not finite, or `gamma` not positive and finite.

    Source: Zhang, Annals of Statistics 38 (2010); prox: Breheny and Huang, Ann. Appl. Stat. 5 (2011).

    >>> l1jax.mcp(1.0, gamma=2.0).prox(jnp.array([0.5, 1.5, 4.0]), 1.0)
    Array([0., 1., 4.], dtype=float32)
    """
    check_strength("strength", strength)
    check_number("gamma", gamma, strict=True, remedy="3 is usual")
    return Mcp(strength, gamma)


def scad(strength: ArrayLike, a: ArrayLike = 3.7) -> Scad:
    """Penalise as L1 up to λ, then level off until aλ: zeros, and no bias of large entries.

    A fixed point has the gradient −λ sign(x) for 0 < |x| ≤ λ, −sign(x)·(aλ − |x|)₊/(a − 1) beyond,
    and of at most λ where x = 0. It is a stationary point.

    Args:
        strength: λ ≥ 0.
        a: where the penalty is level, in units of λ; > 2.

    Raises:
        ValueError: if `strength` is negative or not finite, or `a` not finite and greater than 2.

    Source: Fan and Li, J. Am. Stat. Assoc. 96 (2001).

    >>> l1jax.scad(1.0, a=3.0).prox(jnp.array([0.5, 2.0, 4.0]), 1.0)
    Array([0., 1., 4.], dtype=float32)
    """
    check_strength("strength", strength)
    check_number("a", a, above=2.0, strict=True, remedy="3.7 is usual")
    return Scad(strength, a)


def log_sum(strength: ArrayLike, eps: ArrayLike) -> LogSum:
    """Penalise λ Σ log(1 + |xᵢ|/ε): what iteratively reweighted L1 minimises.

    A fixed point has the gradient −λ sign(x)/(ε + |x|) where x ≠ 0, of at most λ/ε where x = 0. It is
    a stationary point.

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
    check_number("eps", eps, strict=True)
    return LogSum(strength, eps)

"""The maximum norm λ max|xᵢ|, and its dual: staying in an L1 ball."""

import math
from dataclasses import dataclass, field
from typing import ClassVar

import jax
import jax.numpy as jnp

from l1jax.annotations import Array, ArrayLike
from l1jax.penalties.base import STRENGTH, Number, register
from l1jax.penalties.checks import check_number, check_strength
from l1jax.penalties.configuration import configured_by
from l1jax.penalties.groups import Groups, WholeLeaf
from l1jax.penalties.leafwise import tree_distance, tree_prox, tree_subgradient, tree_value
from l1jax.penalties.numerics import absolute


@jax.jit  # compiled once for each shape where it is called outside any other program
def water_level(v: Array, weights: Array, volume: Array, base: ArrayLike = 0.0) -> Array:
    """Find the level θ at which Σ wᵢ(vᵢ − θ)₊ = volume + base·θ.

    θ is the largest value of (Σ_{i∈S} wᵢvᵢ − volume)/(base + Σ_{i∈S} wᵢ) over sets S of entries,
    and its set consists of the entries above θ. Dinkelbach's iteration takes the set above the last
    value; the value rises, faster than linearly, until the set no longer changes. The iteration
    only sums and does not sort, so that an array that is spread over devices stays where it is.

    Args:
        v: the heights vᵢ; −∞ for entries that take no part.
        weights: wᵢ ≥ 0, like `v`, and not all of them zero.
        volume: the volume at θ = 0.
        base: how much larger the volume is per unit of θ.

    Source: Dinkelbach, Management Science 13 (1967); for the simplex: Michelot, J. Optim. Theory
    Appl. 50 (1986).
    """

    def level_of_set_above(
        level: Array, v: Array, weights: Array, volume: Array, base: ArrayLike
    ) -> Array:
        above = (v > level) & (weights > 0)
        mass = base + jnp.sum(jnp.where(above, weights, 0))
        height = jnp.sum(jnp.where(above, v, 0) * weights) - volume
        return jnp.where(mass > 0, height / jnp.where(mass > 0, mass, 1), -jnp.inf)

    constants = jax.lax.stop_gradient((v, weights, volume, base))

    def rises(levels: tuple[Array, Array, Array]) -> Array:
        _, level, following = levels
        return following > level

    def climb(levels: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        _, level, following = levels
        return level, following, level_of_set_above(following, *constants)

    level = level_of_set_above(jnp.asarray(-jnp.inf, v.dtype), *constants)
    # The selection makes −∞ vary over the devices of a `shard_map` as the level does.
    lowest = jnp.where(level > 0, -jnp.inf, -jnp.inf).astype(v.dtype)
    following = level_of_set_above(level, *constants)
    last, _, _ = jax.lax.while_loop(rises, climb, (lowest, level, following))
    return level_of_set_above(last, v, weights, volume, base)  # once more, for its derivative


@register
@dataclass(frozen=True)
class Linf:
    """λ maxᵢ |xᵢ|, `strength` λ; made by `l1jax.linf`."""

    strength: Number = field(metadata=STRENGTH)
    axis: ClassVar[Groups] = WholeLeaf()

    @tree_value
    def value(self, x: Array) -> Array:
        """Return λ max |xᵢ|."""
        return self.strength * jnp.max(absolute(x), initial=0)

    @tree_prox
    def prox(self, x: Array, step: Array) -> Array:
        """Clip at ±M with Σ (|xᵢ| − M)₊/stepᵢ = λ, or return 0 if the sum is below λ for M = 0."""
        steps, largest = _relative_steps(jnp.broadcast_to(step, x.shape))
        bound = jnp.maximum(water_level(jnp.abs(x), 1 / steps, self.strength * largest), 0)
        return jnp.clip(x, -bound, bound)

    @tree_subgradient
    def subgradient(self, x: Array) -> Array:
        """Share λ sign(x) equally among the entries of the largest size; return 0 at 0."""
        size = jnp.abs(x)
        largest = (size == jnp.max(size, initial=0)) & (size > 0)
        return self.strength * jnp.sign(x) * largest / jnp.maximum(jnp.sum(largest), 1)

    @tree_distance
    def distance(self, x: Array, grad: Array) -> Array:
        """Return g at the smaller entries, and at the largest what −sign(x)·g is off λ·simplex.

        At x = 0 it is the distance of g to the L1 ball of radius λ.
        """
        size = jnp.abs(x)
        largest = size == jnp.max(size, initial=0)
        descent = -jnp.sign(x) * grad
        heights = jnp.where(largest, descent, -jnp.inf)
        level = water_level(heights, largest.astype(x.dtype), self.strength)
        off_simplex = jnp.where(largest, jnp.minimum(descent, level), grad)
        radius = jnp.maximum(water_level(jnp.abs(grad), jnp.ones_like(grad), self.strength), 0)
        return jnp.where(jnp.any(x != 0), off_simplex, jnp.minimum(jnp.abs(grad), radius))


@register
@dataclass(frozen=True)
class L1Ball:
    """0 where ‖x‖₁ ≤ radius, +∞ elsewhere; made by `l1jax.l1_ball`."""

    radius: Number
    axis: ClassVar[Groups] = WholeLeaf()
    is_constraint: ClassVar[bool] = True
    no_largest_strength: ClassVar[str] = "has a radius, no strength"

    @tree_value
    def value(self, x: Array) -> Array:
        """Return 0 inside and on the ball, up to rounding, and +∞ outside."""
        return jnp.where(jnp.sum(jnp.abs(x)) > self.radius * (1 + _rounding(x)), jnp.inf, 0)

    @tree_prox
    def prox(self, x: Array, step: Array) -> Array:
        """Project in the metric 1/step: soft-threshold at θ·stepᵢ, so that ‖x‖₁ = radius."""
        steps, _ = _relative_steps(jnp.broadcast_to(step, x.shape))
        level = jnp.maximum(water_level(jnp.abs(x) / steps, steps, self.radius), 0)
        return x - jnp.clip(x, -level * steps, level * steps)

    @tree_subgradient
    def subgradient(self, x: Array) -> Array:
        """Return 0; outside the ball there is no subgradient."""
        return jnp.zeros_like(x)

    @tree_distance
    def distance(self, x: Array, grad: Array) -> Array:
        """Return |g| inside, ∞ outside, and on the ball the distances of −g to θ·∂‖x‖₁.

        θ ≥ 0 is the one that makes these the least.
        """
        size = jnp.sum(jnp.abs(x))
        tolerance = _rounding(x)
        zero = x == 0
        descent = -jnp.sign(x) * grad  # 0 where x is
        level = water_level(jnp.abs(grad), zero.astype(x.dtype), -jnp.sum(descent), jnp.sum(~zero))
        level = jnp.maximum(level, 0)
        boundary = jnp.where(zero, jnp.maximum(jnp.abs(grad) - level, 0), jnp.abs(descent - level))
        within = jnp.where(size < self.radius * (1 - tolerance), jnp.abs(grad), boundary)
        return jnp.where(size > self.radius * (1 + tolerance), jnp.inf, within)


@configured_by("Linf")
def linf(strength: ArrayLike) -> Linf:
    """Penalise λ max|xᵢ| of each leaf: the largest entries are clipped to one common size.

    A fixed point has the gradient 0 at the smaller entries; at those of the largest size sign(x)·g
    is at most 0 and adds up to −λ. Where x = 0, ‖g‖₁ ≤ λ.

    Args:
        strength: λ ≥ 0.

    Raises:
        ValueError: if `strength` is negative or not finite.

    Source: Parikh and Boyd, Proximal Algorithms (2014), section 6.5.2, by Moreau's decomposition.

    >>> l1jax.linf(1.0).prox(jnp.array([-3.0, 0.5, 2.5]), 1.0)
    Array([-2.25,  0.5 ,  2.25], dtype=float32)
    """
    check_strength("strength", strength)
    return Linf(strength)


@configured_by("L1Ball")
def l1_ball(radius: ArrayLike) -> L1Ball:
    """Keep ‖x‖₁ ≤ radius for each leaf: zeros as with the lasso, whose number a budget decides.

    The prox is the projection in the metric of the step. A fixed point has the gradient 0 inside
    the ball; on its surface the gradient is −θ sign(x) where x ≠ 0 and at most θ where x = 0, for
    one θ ≥ 0. What moves strengths does not change the radius.

    Args:
        radius: r ≥ 0, in units of x.

    Raises:
        ValueError: if `radius` is negative or not finite.

    Source: Duchi, Shalev-Shwartz, Singer, Chandra, ICML 2008.

    >>> l1jax.l1_ball(1.0).prox(jnp.array([-2.0, 0.5, 1.5]), 1.0)
    Array([-0.75,  0.  ,  0.25], dtype=float32)
    """
    check_number("radius", radius)
    return L1Ball(radius)


def _relative_steps(steps: Array) -> tuple[Array, Array]:
    """Return the steps divided by the largest of them, and the largest.

    The quotients are at least 1e-20, with which an entry does not move any more.
    """
    largest = jnp.max(steps, initial=0)
    quotients = jnp.maximum(steps / jnp.where(largest > 0, largest, 1), 1e-20)
    return jnp.where(largest > 0, quotients, 1), largest


def _rounding(x: Array) -> float:
    """Return the relative rounding error that a sum over x may have."""
    return 8 * float(jnp.finfo(x.dtype).eps) * (1 + math.log2(x.size + 1))

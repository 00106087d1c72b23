"""The maximum norm λ max|xᵢ|, and its dual: staying in an L1 ball."""

import math
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from l1jax.penalties.base import Number, absolute, on_trees
from l1jax.penalties.groups import Groups, Whole
from l1jax.penalties.numbers import check_number, check_strength


@jax.jit  # compiled once for each shape where it is called outside any other program
def water_level(v: Array, weights: Array, volume: Array, base: Array | float = 0.0) -> Array:
    """The level θ at which Σ wᵢ(vᵢ − θ)₊ = volume + base·θ, for weights ≥ 0 that are not all zero.

    θ is the largest value of (Σ_{i∈S} wᵢvᵢ − volume)/(base + Σ_{i∈S} wᵢ) over sets S of entries, and its set
    is that of the entries above it. Dinkelbach's iteration takes the set above the last value: it rises,
    faster than linearly, until the set no longer changes. It sums and does not sort, so that an array
    spread over devices stays where it is.

    Source: Dinkelbach, Management Science 13 (1967); for the simplex: Michelot, J. Optim. Theory Appl. 50 (1986).
    """

    def mean_above(
        level: Array, v: Array, weights: Array, volume: Array, base: Array | float
    ) -> Array:
        above = (v > level) & (weights > 0)
        mass = base + jnp.sum(jnp.where(above, weights, 0))
        height = jnp.sum(jnp.where(above, v, 0) * weights) - volume
        return jnp.where(mass > 0, height / jnp.where(mass > 0, mass, 1), -jnp.inf)

    held = jax.lax.stop_gradient((v, weights, volume, base))

    def rises(levels: tuple[Array, Array, Array]) -> Array:
        _, level, following = levels
        return following > level

    def climb(levels: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        _, level, following = levels
        return level, following, mean_above(following, *held)

    level = mean_above(jnp.asarray(-jnp.inf, v.dtype), *held)
    lowest = jnp.where(level > 0, -jnp.inf, -jnp.inf).astype(
        v.dtype
    )  # under `shard_map` as varying as the level
    last, _, _ = jax.lax.while_loop(rises, climb, (lowest, level, mean_above(level, *held)))
    return mean_above(last, v, weights, volume, base)  # once more, for its derivative


@on_trees
@dataclass(frozen=True)
class Linf:
    """λ maxᵢ |xᵢ|, `strength` λ; made by `l1jax.linf`."""

    strength: Number
    axis: ClassVar[Groups] = Whole()

    def value(self, x: Array) -> Array:
        """λ max |xᵢ|."""
        return self.strength * jnp.max(absolute(x), initial=0)

    def prox(self, x: Array, step: Array) -> Array:
        """Clip at ±M, where the clipped parts weigh Σ (|xᵢ| − M)₊/stepᵢ = λ; 0 if all of x weighs less."""
        steps, unit = _relative(jnp.broadcast_to(step, x.shape))
        bound = jnp.maximum(water_level(jnp.abs(x), 1 / steps, self.strength * unit), 0)
        return jnp.clip(x, -bound, bound)

    def subgradient(self, x: Array) -> Array:
        """λ sign(x) shared equally by the entries of largest size; 0 at 0."""
        size = jnp.abs(x)
        largest = (size == jnp.max(size, initial=0)) & (size > 0)
        return self.strength * jnp.sign(x) * largest / jnp.maximum(jnp.sum(largest), 1)

    def distance(self, x: Array, grad: Array) -> Array:
        """‖g‖ over the smaller entries with the distance of −sign(x)·g over the largest to λ·simplex.

        At x = 0 the distance of g to the L1 ball of radius λ.
        """
        size = jnp.abs(x)
        largest = size == jnp.max(size, initial=0)
        towards = -jnp.sign(x) * grad
        level = water_level(
            jnp.where(largest, towards, -jnp.inf), largest.astype(x.dtype), self.strength
        )
        away = jnp.where(largest, jnp.minimum(towards, level), grad)
        ball = jnp.maximum(water_level(jnp.abs(grad), jnp.ones_like(grad), self.strength), 0)
        return jnp.where(jnp.any(x != 0), away, jnp.minimum(jnp.abs(grad), ball))


@on_trees
@dataclass(frozen=True)
class L1Ball:
    """0 where ‖x‖₁ ≤ radius, +∞ elsewhere; made by `l1jax.l1_ball`."""

    radius: Number
    axis: ClassVar[Groups] = Whole()

    def value(self, x: Array) -> Array:
        """0 inside and on the ball up to rounding, +∞ outside."""
        return jnp.where(jnp.sum(jnp.abs(x)) > self.radius * (1 + _rounding(x)), jnp.inf, 0)

    def prox(self, x: Array, step: Array) -> Array:
        """The projection in the metric 1/step: soft-thresholding at θ·stepᵢ, so that ‖x‖₁ = radius."""
        steps, _ = _relative(jnp.broadcast_to(step, x.shape))
        level = jnp.maximum(water_level(jnp.abs(x) / steps, steps, self.radius), 0)
        return x - jnp.clip(x, -level * steps, level * steps)

    def subgradient(self, x: Array) -> Array:
        """0 (outside the ball there is no subgradient)."""
        return jnp.zeros_like(x)

    def distance(self, x: Array, grad: Array) -> Array:
        """|g| inside; on the ball the distances of g to −θ·∂‖x‖₁ at the best θ ≥ 0; ∞ outside."""
        size, tolerance = jnp.sum(jnp.abs(x)), _rounding(x)
        zero = x == 0
        towards = -jnp.sign(x) * grad  # 0 where x is
        level = water_level(jnp.abs(grad), zero.astype(x.dtype), -jnp.sum(towards), jnp.sum(~zero))
        level = jnp.maximum(level, 0)
        boundary = jnp.where(zero, jnp.maximum(jnp.abs(grad) - level, 0), jnp.abs(towards - level))
        within = jnp.where(size < self.radius * (1 - tolerance), jnp.abs(grad), boundary)
        return jnp.where(size > self.radius * (1 + tolerance), jnp.inf, within)


def linf(strength: ArrayLike) -> Linf:
    """Penalise λ max|xᵢ| of each leaf: the largest entries are clipped to one common size.

    A fixed point has the gradient 0 at the smaller entries, and at those of the largest size parts
    of −λ that add up to it; ‖g‖₁ ≤ λ where x = 0.

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


def l1_ball(radius: ArrayLike) -> L1Ball:
    """Keep ‖x‖₁ ≤ radius for each leaf: the lasso's zeros, their number set by a budget.

    The prox projects, in the metric of the step. A fixed point is a minimiser over the ball: gradient
    0 inside; on it, −θ sign(x) where x ≠ 0 and at most θ where x = 0, for a θ ≥ 0. A strength scale, as
    of `scaled`, does not change the radius.

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


def _relative(steps: Array) -> tuple[Array, Array]:
    """The steps over the largest, and that; at least 1e-20, where an entry does not move any more."""
    largest = jnp.max(steps, initial=0)
    return jnp.where(
        largest > 0, jnp.maximum(steps / jnp.where(largest > 0, largest, 1), 1e-20), 1
    ), largest


def _rounding(x: Array) -> float:
    """The relative rounding error that a sum over x may have."""
    return 8 * float(jnp.finfo(x.dtype).eps) * (1 + math.log2(x.size + 1))

"""The L1 norm λ‖x‖₁ and its weighted, one-sided and elastic forms."""

from dataclasses import dataclass, field
from typing import ClassVar

import jax
import jax.numpy as jnp

from l1jax.annotations import Array, ArrayLike, Float, PyTree
from l1jax.penalties.base import STRENGTH, Number, Penalty, broadcast_leaves, register
from l1jax.penalties.checks import check_broadcasts, check_number, check_strength
from l1jax.penalties.configuration import configured_by
from l1jax.penalties.leafwise import tree_distance, tree_prox, tree_subgradient, tree_value
from l1jax.penalties.numerics import absolute, upcast


def soft_threshold(x: ArrayLike, threshold: ArrayLike) -> Float[Array, "..."]:
    """Shrink towards zero by `threshold`: sign(x)·(|x| − threshold)₊, the prox of threshold·|x|.

    A zero of the result is +0.0 and never −0.0. Half-precision entries are computed in float32 and
    rounded once.

    Args:
        x: an array or a number of floating point.
        threshold: at least 0, one number or an array that broadcasts to x.

    Source: Donoho and Johnstone, Biometrika 81 (1994).

    >>> l1jax.soft_threshold(jnp.array([-3.0, 0.5, 2.0]), 1.0)
    Array([-2.,  0.,  1.], dtype=float32)
    """
    dtype = jnp.result_type(x)
    x = upcast(x)
    shrunk = x - jnp.copysign(threshold, x)
    # A comparison and a selection are the cheapest form of the formula.
    return jnp.where(jnp.abs(x) <= threshold, 0, shrunk).astype(dtype)


def l1_distance(x: Array, grad: Array, strength: ArrayLike) -> Array:
    """Return |g + λ sign x| where x ≠ 0, (|g| − λ)₊ where x = 0, entry by entry.

    Args:
        x: the parameters.
        grad: g, the gradient of the loss there.
        strength: λ, one number or an array like `x`.
    """
    away = jnp.abs(grad + strength * jnp.sign(x))
    return jnp.where(x != 0, away, jnp.maximum(jnp.abs(grad) - strength, 0))


@register
@dataclass(frozen=True)
class L1:
    """λ Σ |xᵢ| with `strength` λ; made by `l1jax.l1`."""

    strength: Number = field(metadata=STRENGTH)

    @tree_value
    def value(self, x: Array) -> Array:
        """Return λ Σ |xᵢ|."""
        return self.strength * jnp.sum(absolute(x))

    @tree_prox
    def prox(self, x: Array, step: Array) -> Array:
        """Soft-threshold every entry at step·λ."""
        return soft_threshold(x, step * self.strength)

    @tree_subgradient
    def subgradient(self, x: Array) -> Array:
        """Return λ sign x, which is 0 at 0."""
        return self.strength * jnp.sign(x)

    @tree_distance
    def distance(self, x: Array, grad: Array) -> Array:
        """Return |g + λ sign x| where x ≠ 0, (|g| − λ)₊ where x = 0."""
        return l1_distance(x, grad, self.strength)


@register
@dataclass(frozen=True)
class WeightedL1:
    """λ Σ wᵢ|xᵢ| with `strength` λ and `weights` w; made by `l1jax.weighted_l1`."""

    strength: Number = field(metadata=STRENGTH)
    weights: PyTree

    @tree_value
    def value(self, x: Array) -> Array:
        """Return λ Σ wᵢ|xᵢ|."""
        return self.strength * jnp.sum(self.weights * absolute(x))

    @tree_prox
    def prox(self, x: Array, step: Array) -> Array:
        """Soft-threshold every entry at stepᵢ·λ·wᵢ."""
        return soft_threshold(x, step * self.strength * self.weights)

    @tree_subgradient
    def subgradient(self, x: Array) -> Array:
        """Return λ wᵢ sign xᵢ, which is 0 at 0."""
        return self.strength * self.weights * jnp.sign(x)

    @tree_distance
    def distance(self, x: Array, grad: Array) -> Array:
        """Return the distance of L1 with the strengths λwᵢ."""
        return l1_distance(x, grad, self.strength * self.weights)

    def per_leaf(self, tree: PyTree) -> list[Penalty | None]:
        """Give each leaf the weights that the tree of weights has for it."""
        columns = broadcast_leaves("weights", self.weights, tree)
        return [WeightedL1(self.strength, weights) for weights in columns]

    def check(self, shape: tuple[int, ...], path: str) -> None:
        """Raise unless the weights broadcast to the leaf's shape."""
        remedy = "give one array per leaf, in a tree like the parameters"
        check_broadcasts("weights", self.weights, shape, path, remedy)


@register
@dataclass(frozen=True)
class NonnegativeL1:
    """λ Σ xᵢ over x ≥ 0, +∞ elsewhere, with `strength` λ; made by `l1jax.nonnegative_l1`."""

    strength: Number = field(metadata=STRENGTH)
    is_constraint: ClassVar[bool] = True

    @tree_value
    def value(self, x: Array) -> Array:
        """Return λ Σ xᵢ, or +∞ if an entry is negative."""
        return jnp.where(jnp.any(x < 0), jnp.inf, self.strength * jnp.sum(x))

    @tree_prox
    def prox(self, x: Array, step: Array) -> Array:
        """Return max(x − step·λ, 0)."""
        return jnp.maximum(x - step * self.strength, 0)

    @tree_subgradient
    def subgradient(self, x: Array) -> Array:
        """Return λ where x > 0, 0 elsewhere; a negative entry has no subgradient."""
        return jnp.where(x > 0, self.strength, jnp.zeros_like(x))

    @tree_distance
    def distance(self, x: Array, grad: Array) -> Array:
        """Return |g + λ| where x > 0, (−g − λ)₊ where x = 0, ∞ where x < 0."""
        slope = grad + self.strength
        at_most_zero = jnp.where(x < 0, jnp.inf, jnp.maximum(-slope, 0))
        return jnp.where(x > 0, jnp.abs(slope), at_most_zero)


@register
@dataclass(frozen=True)
class ElasticNet:
    """λ₁ Σ |xᵢ| + ½λ₂ Σ xᵢ², `strength` λ₁, `l2_strength` λ₂; made by `l1jax.elastic_net`."""

    strength: Number = field(metadata=STRENGTH)
    l2_strength: Number = field(metadata=STRENGTH)

    @tree_value
    def value(self, x: Array) -> Array:
        """Return λ₁ Σ |xᵢ| + ½λ₂ Σ xᵢ²."""
        return self.strength * jnp.sum(absolute(x)) + self.l2_strength / 2 * jnp.sum(jnp.square(x))

    @tree_prox
    def prox(self, x: Array, step: Array) -> Array:
        """Soft-threshold at step·λ₁, then divide by 1 + step·λ₂."""
        return soft_threshold(x, step * self.strength) / (1 + step * self.l2_strength)

    @tree_subgradient
    def subgradient(self, x: Array) -> Array:
        """Return λ₁ sign x + λ₂ x, which is 0 at 0."""
        return self.strength * jnp.sign(x) + self.l2_strength * x

    @tree_distance
    def distance(self, x: Array, grad: Array) -> Array:
        """Return the distance of L1 for the gradient g + λ₂ x."""
        return l1_distance(x, grad + self.l2_strength * x, self.strength)


@register
@dataclass(frozen=True)
class L2:
    """½λ Σ xᵢ² with `strength` λ; made by `l1jax.l2`."""

    strength: Number = field(metadata=STRENGTH)
    no_largest_strength: ClassVar[str] = "gives no zeros at any strength"

    @tree_value
    def value(self, x: Array) -> Array:
        """Return ½λ Σ xᵢ²."""
        return self.strength / 2 * jnp.sum(jnp.square(x))

    @tree_prox
    def prox(self, x: Array, step: Array) -> Array:
        """Return x/(1 + step·λ)."""
        return x / (1 + step * self.strength)

    @tree_subgradient
    def subgradient(self, x: Array) -> Array:
        """Return the gradient λx."""
        return self.strength * x

    @tree_distance
    def distance(self, x: Array, grad: Array) -> Array:
        """Return |g + λx|."""
        return jnp.abs(grad + self.strength * x)


@configured_by("L1")
def l1(strength: ArrayLike) -> L1:
    """Penalise λ‖x‖₁, the lasso: exact zeros, every entry shrunk by the same amount.

    The prox is soft-thresholding, sign(x)·(|x| − step·λ)₊. At a fixed point every non-zero entry
    has the gradient −λ sign(x), and every zero has one of at most λ.

    Args:
        strength: λ ≥ 0, in units of the loss per unit of |x|.

    Raises:
        ValueError: if `strength` is negative or not finite.

    Source: Tibshirani, J. R. Stat. Soc. B 58 (1996); prox: Parikh and Boyd, Proximal Algorithms
    (2014), section 6.5.2.

    >>> l1jax.l1(1.0).prox(jnp.array([-3.0, 0.5, 2.0]), 1.0)
    Array([-2.,  0.,  1.], dtype=float32)
    """
    check_strength("strength", strength)
    return L1(strength)


def weighted_l1(strength: ArrayLike, weights: PyTree) -> WeightedL1:
    """Penalise λ Σ wᵢ|xᵢ|: the adaptive lasso, or one round of the reweighted one.

    With wᵢ = 1/(|x̃ᵢ| + ε) at a first estimate x̃, large entries are hardly shrunk. If the weights
    are computed again and again at the last solution, the solutions approach a stationary point of
    `log_sum`. A fixed point has the gradient −λwᵢ sign(xᵢ) where xᵢ ≠ 0, and one of at most λwᵢ
    where xᵢ = 0.

    Args:
        strength: λ ≥ 0.
        weights: w ≥ 0, an array that broadcasts to every leaf, or a tree of them like the
            parameters.

    Raises:
        ValueError: if `strength` or a weight is negative or not finite; and from the penalty's
            functions if the weights do not broadcast to the shape of a leaf.

    Source: Zou, J. Am. Stat. Assoc. 101 (2006); Candès, Wakin, Boyd, J. Fourier Anal. Appl. 14
    (2008).

    >>> l1jax.weighted_l1(1.0, jnp.array([0.0, 1.0, 2.0])).prox(jnp.array([3.0, 3.0, 3.0]), 1.0)
    Array([3., 2., 1.], dtype=float32)
    """
    check_strength("strength", strength)
    jax.tree.map(lambda leaf: check_number("weights", leaf), weights)
    return WeightedL1(strength, weights)


@configured_by("NonnegativeL1")
def nonnegative_l1(strength: ArrayLike) -> NonnegativeL1:
    """Penalise λ Σ xᵢ over x ≥ 0: the lasso of parameters that must not be negative.

    Every entry is ≥ 0 after a prox. A fixed point has the gradient −λ where x > 0, and one of at
    least −λ where x = 0.

    Args:
        strength: λ ≥ 0; with 0 only the constraint x ≥ 0 is left.

    Raises:
        ValueError: if `strength` is negative or not finite.

    Source: Parikh and Boyd, Proximal Algorithms (2014), section 6.5.2 with 6.2.

    >>> l1jax.nonnegative_l1(1.0).prox(jnp.array([-3.0, 0.5, 2.0]), 1.0)
    Array([0., 0., 1.], dtype=float32)
    """
    check_strength("strength", strength)
    return NonnegativeL1(strength)


@configured_by("ElasticNet")
def elastic_net(strength: ArrayLike, l2_strength: ArrayLike) -> ElasticNet:
    """Penalise λ₁‖x‖₁ + ½λ₂‖x‖₂²: the lasso made stable by an L2 term.

    Correlated parameters share their weight, where L1 alone picks one of them at random.
    A fixed point has the gradient −λ₁ sign(x) − λ₂x where x ≠ 0, and one of at most λ₁ where x = 0.

    Args:
        strength: λ₁ ≥ 0, of the L1 norm.
        l2_strength: λ₂ ≥ 0, of half the squared L2 norm.

    Raises:
        ValueError: if a strength is negative or not finite.

    Source: Zou and Hastie, J. R. Stat. Soc. B 67 (2005); prox: Parikh and Boyd, Proximal
    Algorithms (2014), section 6.5.3.

    >>> l1jax.elastic_net(1.0, 1.0).prox(jnp.array([-3.0, 0.5, 2.0]), 1.0)
    Array([-1. ,  0. ,  0.5], dtype=float32)
    """
    check_strength("strength", strength)
    check_strength("l2_strength", l2_strength)
    return ElasticNet(strength, l2_strength)


@configured_by("L2")
def l2(strength: ArrayLike) -> L2:
    """Penalise ½λ‖x‖₂², ridge or weight decay: entries shrink in proportion.

    No entry becomes zero but by underflow. A fixed point has the gradient −λx.

    Args:
        strength: λ ≥ 0.

    Raises:
        ValueError: if `strength` is negative or not finite.

    Source: Hoerl and Kennard, Technometrics 12 (1970).

    >>> l1jax.l2(1.0).prox(jnp.array([-3.0, 0.5, 2.0]), 1.0)
    Array([-1.5 ,  0.25,  1.  ], dtype=float32)
    """
    check_strength("strength", strength)
    return L2(strength)

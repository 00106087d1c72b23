"""What every penalty is: a frozen dataclass, a pytree, and four functions on an array or a tree."""

import functools
import math
from typing import Any, Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PyTree

PenaltyClass = TypeVar("PenaltyClass", bound=type)


@runtime_checkable
class Penalty(Protocol):
    """A function R of the parameters with a proximal operator in closed form.

    Every argument is one array or a tree of them; `step` is a scalar, an array like `x` (a diagonal
    metric), or a tree of either.
    """

    def value(self, x: PyTree, /) -> Float[Array, ""]:
        """R(x), in units of the loss."""
        ...

    def prox(self, x: PyTree, step: PyTree, /) -> PyTree:
        """argmin over y of R(y) + ½ Σ (yᵢ − xᵢ)²/stepᵢ; zeros are exact, the dtype is kept."""
        ...

    def subgradient(self, x: PyTree, /) -> PyTree:
        """The element of ∂R(x) of least norm."""
        ...

    def distance(self, x: PyTree, grad: PyTree, /) -> Float[Array, ""]:
        """Euclidean distance of −grad to ∂R(x): 0 exactly where x is stationary for loss + R."""
        ...


def on_trees(penalty: PenaltyClass) -> PenaltyClass:
    """Register a penalty written for one array as a pytree, and let its functions take whole trees.

    The class gives `value` (a scalar), `prox`, `subgradient` and `distance` (one number per entry or
    group) of one array. Fields named `…strength` are what `scaled` multiplies; fields with
    `metadata={"static": True}` are not leaves.
    """
    value, prox, subgradient, distance = penalty.value, penalty.prox, penalty.subgradient, penalty.distance

    @functools.wraps(value)
    def tree_value(self: Any, x: PyTree) -> Float[Array, ""]:
        return jnp.asarray(sum(value(self, leaf) for leaf in jax.tree.leaves(x)), float)

    @functools.wraps(prox)
    def tree_prox(self: Any, x: PyTree, step: PyTree) -> PyTree:
        steps = jax.tree.broadcast(step, x)
        return jax.tree.map(lambda leaf, leaf_step: prox(self, leaf, leaf_step), x, steps)

    @functools.wraps(subgradient)
    def tree_subgradient(self: Any, x: PyTree) -> PyTree:
        return jax.tree.map(lambda leaf: subgradient(self, leaf), x)

    @functools.wraps(distance)
    def tree_distance(self: Any, x: PyTree, grad: PyTree) -> Float[Array, ""]:
        return norm(jax.tree.map(lambda leaf, leaf_grad: distance(self, leaf, leaf_grad), x, grad))

    penalty.value, penalty.prox, penalty.subgradient, penalty.distance = (
        tree_value,
        tree_prox,
        tree_subgradient,
        tree_distance,
    )
    return jax.tree_util.register_dataclass(penalty)


def scaled(penalty: Any, scale: ArrayLike) -> Any:
    """The same penalty with every strength multiplied by `scale`; radii, γ and weights stay."""

    def multiply(path: tuple[Any, ...], leaf: ArrayLike) -> ArrayLike:
        return leaf * scale if str(path[-1].name).endswith("strength") else leaf

    return jax.tree_util.tree_map_with_path(multiply, penalty)


def norm(tree: PyTree) -> Float[Array, ""]:
    """Euclidean norm of all entries of a tree."""
    return jnp.sqrt(jnp.asarray(sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(tree)), float))


def check_strength(name: str, strength: Any) -> None:
    """Refuse a concrete strength that is not finite and non-negative; tracers and arrays pass."""
    if isinstance(strength, int | float) and not 0 <= strength < math.inf:
        raise ValueError(f"`{name}` (={strength}) must be finite and at least 0; 0 switches the penalty off.")

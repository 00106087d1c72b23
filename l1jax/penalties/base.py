"""What every penalty is: a frozen dataclass, a pytree, and four functions on an array or a tree."""

import dataclasses
import functools
import inspect
from collections.abc import Iterable
from typing import Any, Protocol, TypeAlias, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PyTree

from l1jax.penalties.groups import layout
from l1jax.penalties.sparsity import path_name

PenaltyClass = TypeVar("PenaltyClass", bound=type)
_ONE_STRENGTH = "give one number; what entries weigh beside it goes to `weighted_l1`, and several strengths to `vmap`"
Number: TypeAlias = (
    Any  # a number or an array; under a tree transformation, whatever that puts in its place
)


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
    group) of one array. They meet arrays of at least float32, their own fields in the same dtype,
    and need not care for the sign of a zero: what they return is rounded once to the dtype of the
    leaf, and −0.0 becomes 0.0.

    Fields named `…strength` are what `scaled` multiplies; fields with `metadata={"static": True}` are
    not leaves. The class may give `per_leaf(tree)`, its list of penalties for the leaves of a tree;
    `check(shape, path)`, which refuses a leaf that does not fit; and `axis`, the groups of entries
    that its prox moves together (None: every entry alone).
    """
    value, prox, subgradient, distance = (
        penalty.value,
        penalty.prox,
        penalty.subgradient,
        penalty.distance,
    )

    @functools.wraps(value)
    def tree_value(self: Any, x: PyTree) -> Float[Array, ""]:
        values = _leafwise(value, self, x)
        for leaf in jax.tree.leaves(values):
            if leaf.ndim:
                raise ValueError(
                    f"`strength` of shape {leaf.shape} must be one number; {_ONE_STRENGTH}."
                )
        return total(values)

    @functools.wraps(prox)
    def tree_prox(self: Any, x: PyTree, step: PyTree) -> PyTree:
        return _like(x, _leafwise(prox, self, x, step=step))

    @functools.wraps(subgradient)
    def tree_subgradient(self: Any, x: PyTree) -> PyTree:
        return _like(x, _leafwise(subgradient, self, x))

    @functools.wraps(distance)
    def tree_distance(self: Any, x: PyTree, grad: PyTree) -> Float[Array, ""]:
        return norm(_leafwise(distance, self, x, grad=grad))

    penalty.value, penalty.prox, penalty.subgradient, penalty.distance = (
        tree_value,
        tree_prox,
        tree_subgradient,
        tree_distance,
    )
    setattr(penalty, "leaf_prox", prox)  # noqa: B010
    return register(penalty)


def register(penalty: PenaltyClass) -> PenaltyClass:
    """Register a frozen dataclass as a pytree whose structure holds its type and its static fields.

    Not `jax.tree_util.register_dataclass`: up to JAX 0.12 at least, the structures of two classes with
    equally many fields compare equal, so that a jitted function that takes the penalty as an argument
    now and then runs the program of another one. Rebuilding does not run `__init__`.
    """
    fields = dataclasses.fields(penalty)
    static = [field.name for field in fields if field.metadata.get("static")]
    leaves = [field.name for field in fields if field.name not in static]

    def flatten(self: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        return tuple(getattr(self, name) for name in leaves), tuple(
            getattr(self, name) for name in static
        )

    def flatten_with_keys(self: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        children, aux = flatten(self)
        return tuple(zip(map(jax.tree_util.GetAttrKey, leaves), children, strict=True)), aux

    def unflatten(aux: tuple[Any, ...], children: Iterable[Any]) -> Any:
        new = object.__new__(penalty)
        for name, field in zip([*leaves, *static], [*children, *aux], strict=True):
            object.__setattr__(new, name, field)
        return new

    jax.tree_util.register_pytree_with_keys(penalty, flatten_with_keys, unflatten, flatten)
    return penalty


def distances(penalty: Any, x: Array, grad: Array) -> Array:
    """The distances of one array entry by entry, or group by group, before `distance` gathers them."""
    return inspect.unwrap(type(penalty).distance)(penalty, x, grad)


def prox_of_leaf(penalty: Any, x: Array, step: ArrayLike) -> Array:
    """The prox of one array, without its checks and the pass over the signs of zeros."""
    prox = getattr(type(penalty), "leaf_prox", None)
    return penalty.prox(x, step) if prox is None else of_leaf(prox, penalty, x, step)


def leaf_penalties(penalty: Penalty, tree: PyTree) -> list[Penalty | None]:
    """The penalty of each leaf in flattening order, None for leaves that are free.

    Raises:
        ValueError: if a leaf that has a penalty is not of floating point, or does not have the axes
            that its penalty groups.
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    penalties = per_leaf(penalty, tree)
    for (path, leaf), leaf_penalty in zip(leaves, penalties, strict=True):
        if leaf_penalty is not None:
            _check_leaf(leaf_penalty, leaf, path_name(path) or "the array")
    return penalties


def per_leaf(penalty: Any, tree: PyTree) -> list[Any]:
    """The penalty of each leaf, not yet checked to fit it."""
    own = getattr(penalty, "per_leaf", None)
    return own(tree) if own else [penalty] * len(jax.tree.leaves(tree))


def convex_part(penalty: Any) -> Any:
    """The convex penalty of the same slope at 0, from which the penalty differs by a smooth, concave function.

    The penalty itself if it is convex, or has no such part (`l0`, `l_half`: their slope at 0 is infinite).
    """
    own = getattr(penalty, "convex_part", None)
    return own() if own else penalty


def scaled(penalty: Any, scale: ArrayLike) -> Any:
    """The same penalty with every strength multiplied by `scale`; radii, γ and weights stay."""

    def multiply(path: tuple[Any, ...], leaf: ArrayLike) -> ArrayLike:
        return leaf * scale if getattr(path[-1], "name", "").endswith("strength") else leaf

    return jax.tree_util.tree_map_with_path(multiply, penalty)


def total(tree: PyTree) -> Float[Array, ""]:
    """Sum of a tree of scalars."""
    return jnp.asarray(sum(jax.tree.leaves(tree)), float)


def norm(tree: PyTree) -> Float[Array, ""]:
    """Euclidean norm of all entries of a tree."""
    return jnp.sqrt(total([jnp.sum(jnp.square(_wide(leaf))) for leaf in jax.tree.leaves(tree)]))


def absolute(x: Array) -> Array:
    """|x| with the derivative 0 at 0, where that of `jnp.abs` is 1."""
    return x * jnp.sign(x)


def check_penalty(name: str, penalty: Any) -> None:
    """Refuse what has not the four functions of a penalty."""
    if not isinstance(penalty, Penalty):
        raise ValueError(f"`{name}` (={penalty!r}) must be a penalty, such as `l1jax.l1(1e-4)`.")


def along(name: str, tree: PyTree, like: PyTree) -> list[Any]:
    """Its part for each leaf of `like`, which it broadcasts to; refuse another tree."""
    try:
        return jax.tree.leaves(jax.tree.broadcast(tree, like))
    except ValueError as error:
        raise ValueError(
            f"`{name}` ({jax.tree.structure(tree)}) must be one array or a tree like the parameters "
            f"({jax.tree.structure(like)})."
        ) from error


def check_shape(penalty: Any, shape: tuple[int, ...], path: str) -> None:
    """Refuse a leaf whose shape does not fit the penalty's groups, strengths or own `check`."""
    if hasattr(penalty, "check"):
        penalty.check(shape, path)
    groups = getattr(penalty, "axis", None)
    if groups is not None:
        laid_out, axes = layout(groups, shape, path)
        shape, path = (
            tuple(1 if axis in axes else n for axis, n in enumerate(laid_out)),
            f"the groups of {path}",
        )
    for name, strength in vars(penalty).items():
        if name.endswith("strength"):
            check_broadcasts(name, strength, shape, path, _ONE_STRENGTH)


def is_inexact(leaf: Any) -> bool:
    """Whether a leaf holds numbers of floating point, real or complex: no integers, booleans, keys or float0."""
    return jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)


def check_broadcasts(
    name: str, array: ArrayLike, shape: tuple[int, ...], path: str, remedy: str
) -> None:
    """Refuse an array that does not broadcast to the shape of a leaf."""
    own = jnp.shape(array)
    if len(own) > len(shape) or any(
        m not in (1, n) for m, n in zip(own[::-1], shape[::-1], strict=False)
    ):
        raise ValueError(
            f"`{name}` of shape {own} must broadcast to {path} of shape {shape}; {remedy}."
        )


def _leafwise(function: Any, penalty: Any, x: PyTree, **rest: PyTree) -> PyTree:
    """The function of (penalty, leaf, …) at each leaf."""
    leaves, treedef = jax.tree_util.tree_flatten_with_path(x)

    def at_leaf(leaf_penalty: Any, path_leaf: tuple[Any, ArrayLike], *others: ArrayLike) -> Array:
        path, leaf = path_leaf
        for name, other in zip(rest, others, strict=True):
            remedy = "give one number, or one per entry"
            check_broadcasts(name, other, jnp.shape(leaf), path_name(path) or "the array", remedy)
        return of_leaf(function, leaf_penalty, leaf, *others)

    columns = (along(name, other, x) for name, other in rest.items())
    return treedef.unflatten(
        [at_leaf(*row) for row in zip(leaf_penalties(penalty, x), leaves, *columns, strict=True)]
    )


def of_leaf(function: Any, penalty: Any, leaf: ArrayLike, *others: ArrayLike) -> Array:
    """The function of (penalty, leaf, …), computed in the leaf's dtype or float32 if that is wider."""
    dtype = jnp.promote_types(jnp.result_type(leaf), jnp.float32)
    own = jax.tree.map(lambda number: jnp.asarray(number, dtype), penalty)
    return function(own, *(jnp.asarray(array, dtype) for array in (leaf, *others)))


def _like(x: PyTree, tree: PyTree) -> PyTree:
    """Round each leaf to the dtype of its leaf in `x`; −0.0, also from that rounding, becomes 0.0."""

    def round_leaf(like: ArrayLike, leaf: Array) -> Array:
        leaf = leaf.astype(jnp.result_type(like))
        return jnp.where(leaf == 0, jnp.zeros_like(leaf), leaf)

    return jax.tree.map(round_leaf, x, tree)


def _wide(leaf: ArrayLike) -> Array:
    return jnp.asarray(leaf, jnp.promote_types(jnp.result_type(leaf), jnp.float32))


def _check_leaf(penalty: Any, leaf: Any, path: str) -> None:
    if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
        raise ValueError(
            f"{path} has dtype {jnp.result_type(leaf)}, but a penalised leaf must be of floating point; choose the "
            "leaves by `by_path`."
        )
    check_shape(penalty, jnp.shape(leaf), path)

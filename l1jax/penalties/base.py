"""What a penalty is: a frozen dataclass, a pytree, and four functions of an array or a tree."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeAlias, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp

from l1jax.annotations import Array, ArrayLike, Float, PyTree
from l1jax.penalties.checks import ONE_STRENGTH, check_broadcasts
from l1jax.penalties.groups import Groups, group_layout
from l1jax.penalties.numerics import Leaf
from l1jax.penalties.sparsity import path_name

PenaltyClass = TypeVar("PenaltyClass", bound=type)

Number: TypeAlias = Any
"""A number or an array; under a tree transformation, whatever that puts in its place."""

STRENGTH = {"strength": True}
"""Metadata of the fields that `scaled` multiplies, such as λ of `l1`."""
STATIC = {"static": True}
"""Metadata of the fields that are part of the pytree's structure and not leaves of it."""
PARTS = {"parts": True}
"""Metadata of the fields that hold a tuple of further penalties."""


@runtime_checkable
class Penalty(Protocol):
    """A function R of the parameters whose proximal operator can be computed exactly.

    Every argument is one array or a tree of them; `step` is a scalar, an array like `x` (a diagonal
    metric), or a tree of either.
    """

    def value(self, x: PyTree, /) -> Float[Array, ""]:
        """Return R(x), in units of the loss."""
        ...

    def prox(self, x: PyTree, step: PyTree, /) -> PyTree:
        """Minimise R(y) + ½ Σ (yᵢ − xᵢ)²/stepᵢ over y; zeros are exact and the dtype is kept."""
        ...

    def subgradient(self, x: PyTree, /) -> PyTree:
        """Return the element of ∂R(x) that has the least norm."""
        ...

    def distance(self, x: PyTree, grad: PyTree, /) -> Float[Array, ""]:
        """Return the Euclidean distance of −grad to ∂R(x).

        It is 0 exactly where x is stationary for loss + R, with `grad` the gradient of the loss.
        """
        ...


def register(penalty: PenaltyClass) -> PenaltyClass:
    """Register a frozen dataclass as a pytree.

    The fields are the leaves, except those with the metadata `STATIC`: these and the type are the
    structure. A penalty class may also have

    - `per_leaf(tree)`: the list of its penalties for the leaves of a tree;
    - `check(shape, path)`, which raises `ValueError` for a leaf that does not fit;
    - `axis`: the groups of entries that its prox moves together (None: every entry alone);
    - `convex_part()`: see the function of that name; `convex = False` if it is not convex;
    - `is_constraint = True` if it restricts the parameters even at strength 0;
    - `no_largest_strength`: why no strength is the smallest at which all parameters are zero.

    This is not `jax.tree_util.register_dataclass`, because up to JAX 0.12 at least the structures
    of two classes with equally many fields compare equal there, so that a jitted function that
    takes the penalty as an argument sometimes runs the program of another penalty. Rebuilding a
    penalty from its leaves does not run `__init__`.
    """
    fields = dataclasses.fields(penalty)
    static_names = [field.name for field in fields if field.metadata.get("static")]
    leaf_names = [field.name for field in fields if not field.metadata.get("static")]
    keys = [jax.tree_util.GetAttrKey(name) for name in leaf_names]

    def flatten(self: object) -> tuple[tuple[object, ...], tuple[object, ...]]:
        children = tuple(getattr(self, name) for name in leaf_names)
        static = tuple(getattr(self, name) for name in static_names)
        return children, static

    def flatten_with_keys(
        self: object,
    ) -> tuple[tuple[tuple[object, object], ...], tuple[object, ...]]:
        children, static = flatten(self)
        return tuple(zip(keys, children, strict=True)), static

    def unflatten(static: tuple[object, ...], children: Iterable[object]) -> object:
        new = object.__new__(penalty)
        for name, value in zip([*leaf_names, *static_names], [*children, *static], strict=True):
            object.__setattr__(new, name, value)
        return new

    jax.tree_util.register_pytree_with_keys(penalty, flatten_with_keys, unflatten, flatten)
    return penalty


def strengths(penalty: Penalty) -> list[Number]:
    """Return the strengths of a penalty and of the penalties in it, in the order of its leaves."""
    found: list[Number] = []
    for field, value in _fields(penalty):
        if field.metadata.get("strength"):
            found.append(value)
        if field.metadata.get("parts"):
            found += [strength for part in value for strength in strengths(part)]
    return found


def scaled(penalty: Penalty, scale: ArrayLike) -> Penalty:
    """Return the same penalty with every strength multiplied by `scale`.

    Radii, γ and weights stay as they are.
    """
    changes: dict[str, PyTree] = {}
    for field, value in _fields(penalty):
        if field.metadata.get("strength"):
            changes[field.name] = value * scale
        if field.metadata.get("parts"):
            changes[field.name] = tuple(scaled(part, scale) for part in value)
    if not changes:
        return penalty
    return dataclasses.replace(penalty, **changes)  # pyright: ignore[reportArgumentType]


def convex_part(penalty: Penalty) -> Penalty:
    """Return the convex penalty that has the same slope at 0.

    The penalty differs from it by a smooth, concave function. A convex penalty is returned itself,
    and so is one that has no such part (`l0` and `l_half`, whose slope at 0 is infinite).
    """
    method: Callable[[], Penalty] | None = getattr(penalty, "convex_part", None)
    if method is None:
        return penalty
    return method()


def is_convex(penalty: Penalty) -> bool:
    """Tell whether a penalty, with all the penalties in it, is a convex function."""
    for field, value in _fields(penalty):
        if field.metadata.get("parts") and not all(is_convex(part) for part in value):
            return False
    return getattr(penalty, "convex", True)


def penalty_groups(penalty: Penalty | None) -> Groups | None:
    """Return the groups of entries that a prox moves together, None if every entry moves alone."""
    return getattr(penalty, "axis", None)


def leaf_penalties(penalty: Penalty, tree: PyTree) -> list[Penalty | None]:
    """Return the penalty of each leaf in flattening order, None for leaves without one.

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


def per_leaf(penalty: Penalty, tree: PyTree) -> list[Penalty | None]:
    """Return the penalty of each leaf, without the check that it fits the leaf."""
    method: Callable[[PyTree], list[Penalty | None]] | None = getattr(penalty, "per_leaf", None)
    if method is None:
        return [penalty] * len(jax.tree.leaves(tree))
    return method(tree)


def check_penalty(name: str, penalty: object) -> None:
    """Raise `ValueError` unless `penalty` implements `Penalty`."""
    if not isinstance(penalty, Penalty):
        raise ValueError(f"`{name}` (={penalty!r}) must be a penalty, such as `l1jax.l1(1e-4)`.")


def check_shape(penalty: Penalty, shape: tuple[int, ...], path: str) -> None:
    """Raise unless the penalty's groups, strengths and own `check` fit the shape of a leaf.

    Args:
        penalty: the penalty of the leaf.
        shape: the shape of the leaf.
        path: the name of the leaf, for the error.

    Raises:
        ValueError: if something does not fit; it names the path and the shapes.
    """
    check: Callable[[tuple[int, ...], str], None] | None = getattr(penalty, "check", None)
    if check:
        check(shape, path)
    groups = penalty_groups(penalty)
    if groups is not None:
        laid_out, axes = group_layout(groups, shape, path)
        shape = tuple(1 if axis in axes else length for axis, length in enumerate(laid_out))
        path = f"the groups of {path}"
    for field, strength in _fields(penalty):
        if field.metadata.get("strength"):
            check_broadcasts(field.name, strength, shape, path, ONE_STRENGTH)


def broadcast_leaves(name: str, tree: PyTree, like: PyTree) -> list[PyTree]:
    """Return the part of a tree that belongs to each leaf of another tree.

    Args:
        name: what the error calls `tree`.
        tree: one array for all leaves, or a tree whose structure is a prefix of that of `like`.
        like: the tree whose leaves count.

    Raises:
        ValueError: if the tree has another structure.
    """
    try:
        return jax.tree.leaves(jax.tree.broadcast(tree, like))
    except ValueError as error:
        raise ValueError(
            f"`{name}` ({jax.tree.structure(tree)}) must be one array or a tree like the "
            f"parameters ({jax.tree.structure(like)})."
        ) from error


def _fields(penalty: object) -> Iterator[tuple[dataclasses.Field, PyTree]]:
    """Yield each field of a penalty and its value, or nothing if the penalty is no dataclass."""
    if dataclasses.is_dataclass(penalty):
        for field in dataclasses.fields(penalty):
            yield field, getattr(penalty, field.name)


def _check_leaf(penalty: Penalty, leaf: Leaf, path: str) -> None:
    if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
        raise ValueError(
            f"{path} has dtype {jnp.result_type(leaf)}, but a penalised leaf must be of floating "
            "point; choose the leaves by `by_path`."
        )
    check_shape(penalty, jnp.shape(leaf), path)

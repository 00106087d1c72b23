"""Arithmetic on arrays and on trees of arrays that penalties and transformations share."""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeAlias, TypeVar

import jax
import jax.numpy as jnp

from l1jax.annotations import Array, ArrayLike, Float, PyTree

Leaf: TypeAlias = Any
"""A leaf of a tree: an array, a number, an array's shape, or whatever else a user's tree holds."""

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def with_exact_products(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Let a function multiply matrices in the precision of their entries on every device.

    GPUs and TPUs by default round the factors of float32 products to 10 and 7 bits, which is fit
    for a network's layers, but not for what is written back into its parameters.
    """

    @functools.wraps(function)
    def exact(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        with jax.default_matmul_precision("highest"):
            return function(*args, **kwargs)

    return exact


def absolute(x: Array) -> Array:
    """Return |x| with the derivative 0 at 0, where `jnp.abs` has the derivative 1."""
    return x * jnp.sign(x)


def upcast(x: ArrayLike) -> Array:
    """Convert to at least float32, because half precision would lose small steps and sums."""
    return jnp.asarray(x, jnp.promote_types(jnp.result_type(x), jnp.float32))


def sum_leaves(tree: PyTree) -> Float[Array, ""]:
    """Add up a tree of scalars."""
    return jnp.asarray(sum(jax.tree.leaves(tree)), float)


def tree_norm(tree: PyTree) -> Float[Array, ""]:
    """Return the Euclidean norm of all entries of a tree."""
    return jnp.sqrt(sum_leaves([jnp.sum(jnp.square(upcast(x))) for x in jax.tree.leaves(tree)]))


def is_inexact(leaf: Leaf) -> bool:
    """Tell whether a leaf holds floating-point numbers, real or complex.

    Integers, booleans, random keys and float0 are not inexact.
    """
    return jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)

"""The loss as a program: traced once, with everything that it closes over as an argument.

So `minimize` compiles once for a loss that is called again, sees new values of what the loss closes
over, does not compile large arrays into the program as constants, and can differentiate with
respect to them.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from l1jax.annotations import Array, ArrayLike, PyTree
from l1jax.penalties import path_name
from l1jax.penalties.numerics import Leaf, upcast

Leaves = list[Array]
"""The parameters of floating point, at least float32, in flattening order."""


class Parameters(NamedTuple):
    """The parameters, taken apart into what is optimised and what is not."""

    leaves: Leaves
    others: tuple[Leaf, ...]  # the other leaves, None in place of those that are optimised
    treedef: Any
    dtypes: tuple[Any, ...]  # of the leaves that are optimised, as they were given


class Program:
    """A loss of the optimised leaves and of data, as a jaxpr; equal if it computes the same."""

    def __init__(self, jaxpr: Any, key: tuple[object, ...], parameters: Parameters) -> None:
        self.jaxpr = jaxpr
        self.key = key
        self.treedef = parameters.treedef
        self.others = tuple(map(_describe, parameters.others))

    def __eq__(self, other: object) -> bool:
        """Tell whether the other is a loss of the same code, text and shapes."""
        return isinstance(other, Program) and self.key == other.key

    def __hash__(self) -> int:
        """Return a hash that equal programs share."""
        return hash(self.key)

    def loss(self, leaves: Leaves, data: list[Array]) -> Array:
        """Return the loss."""
        import jax.extend.core as jex  # loads Pallas, which `import l1jax` does not need

        return jex.jaxpr_as_fun(jex.ClosedJaxpr(self.jaxpr, data))(*leaves)[0]

    def tree(self, leaves: Leaves) -> PyTree:
        """Return the tree of the parameters, with shapes in place of what is not optimised."""
        return join(leaves, self.others, self.treedef)


def take_apart(params: PyTree) -> Parameters:
    """Separate the leaves of real floating point from all others.

    Raises:
        ValueError: if there are none, or a leaf is complex.
    """
    pairs, treedef = jax.tree_util.tree_flatten_with_path(params)
    leaves: Leaves = []
    others: list[Leaf] = []
    dtypes = []
    for path, leaf in pairs:
        if _is_complex(leaf):
            raise ValueError(
                f"`params` has {path_name(path) or 'an array'} of dtype {leaf.dtype}, but must be "
                "real; give the real and the imaginary part as two leaves."
            )
        if _is_floating(leaf):
            leaves.append(upcast(leaf))
            dtypes.append(jnp.result_type(leaf))
            others.append(None)
        else:
            others.append(leaf)
    if not leaves:
        raise ValueError(
            f"`params` (={params!r}) must have at least one leaf of floating point; integers are "
            "not optimised."
        )
    leaves = [leaf.astype(leaf.dtype) for leaf in leaves]  # weak types would compile twice
    return Parameters(leaves, tuple(others), treedef, tuple(dtypes))


def join(leaves: Leaves, others: tuple[Leaf, ...], treedef: Any) -> PyTree:
    """Put the optimised leaves back into the tree of the parameters.

    Args:
        leaves: the optimised ones, in their order.
        others: a leaf of the tree each; None where an optimised one belongs.
        treedef: the structure of the tree.
    """
    optimised = iter(leaves)
    return treedef.unflatten([next(optimised) if leaf is None else leaf for leaf in others])


def trace(
    loss: Callable[..., ArrayLike], parameters: Parameters, args: tuple[PyTree, ...]
) -> tuple[Program, list[Array]]:
    """Trace a loss; return its program and the data that it reads beside the optimised leaves.

    Args:
        loss: called as `loss(params, *args)`.
        parameters: the parameters.
        args: what else the loss takes.

    Raises:
        ValueError: if the loss is not one real number of floating point.
    """

    def of_leaves(*leaves: Array) -> Array:
        tree = join(list(leaves), parameters.others, parameters.treedef)
        value = loss(tree, *args)
        _check_scalar(value)
        return jnp.asarray(value)

    # What `of_leaves` closes over, `args` included, become the constants of the jaxpr.
    closed = jax.make_jaxpr(of_leaves)(*parameters.leaves)
    gradient = jax.make_jaxpr(jax.grad(of_leaves, argnums=tuple(range(len(parameters.leaves)))))(
        *parameters.leaves
    )
    text = re.sub(r"0x[0-9a-f]+", "", f"{closed.jaxpr}{gradient.jaxpr}")
    # Two functions of one text may differ in what the text does not show, unless it is one code.
    code = getattr(loss, "__code__", loss)
    key = (_hashable(code), text, parameters.treedef, tuple(map(_describe, parameters.others)))
    return Program(closed.jaxpr, key, parameters), [jnp.asarray(c) for c in closed.consts]


def _check_scalar(value: Any) -> None:
    if not _has_dtype(value):
        raise ValueError(
            f"`loss` must return one number, not {type(value).__name__}; return the loss alone, "
            "without auxiliary values."
        )
    shape = jnp.shape(value)
    dtype = jnp.result_type(value)
    if shape != () or not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(
            f"`loss` must return one real number of floating point, not an array of shape {shape} "
            f"and dtype {dtype}; take the sum or the mean."
        )


def _is_floating(leaf: Leaf) -> bool:
    return _has_dtype(leaf) and jnp.issubdtype(jnp.result_type(leaf), jnp.floating)


def _is_complex(leaf: Leaf) -> bool:
    return _has_dtype(leaf) and jnp.issubdtype(jnp.result_type(leaf), jnp.complexfloating)


def _has_dtype(leaf: Leaf) -> bool:
    return isinstance(leaf, int | float | complex | np.ndarray | np.generic | jax.Array)


def _describe(leaf: Leaf) -> Leaf:
    """Return the shape and dtype of an array, which can be hashed, and others as they are."""
    if leaf is None or not _has_dtype(leaf):
        return leaf
    return jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf))


def _hashable(value: object) -> object:
    try:
        hash(value)
    except TypeError:
        return id(value)
    return value

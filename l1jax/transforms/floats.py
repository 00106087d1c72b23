"""What a transformation works on: the leaves of floating point as JAX arrays, float16 as float32."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, PyTree

from l1jax.penalties.base import is_inexact


def on_floats(
    tx: optax.GradientTransformation, check: Callable[[PyTree], Any], moves: bool = True
) -> optax.GradientTransformation:
    """Let a transformation see the leaves of floating point alone, as JAX arrays of its own precision.

    Integers, booleans and keys are None to it, and so in its state. NumPy arrays and Python numbers
    are arrays to it. float16 is float32, which holds squares of gradients and Adam's 1e-8; bfloat16,
    which has the range of float32, stays. The updates come back in the dtype of those that were given.

    Args:
        tx: the transformation.
        check: called by `init` with all parameters: refuses those that do not fit.
        moves: whether `tx` is an optimiser, whose updates of other leaves are zero; else, as for a link of
            a chain, these pass.
    """

    def init(params: optax.Params) -> optax.OptState:
        check(params)
        return tx.init(_seen(params, params))

    def update(
        updates: optax.Updates, state: Any, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.OptState]:
        if params is None:
            return tx.update(updates, state)  # says that it needs them
        moved, state = tx.update(_seen(updates, params), state, _seen(params, params))
        return _returned(moved, updates, params, moves), state

    return optax.GradientTransformation(init, update)


def as_array(leaf: Any) -> Any:
    """A number or an array of NumPy or Python as a JAX array; anything else as it is."""
    if not isinstance(leaf, int | float | complex | np.ndarray | np.generic) or not is_number(leaf):
        return leaf
    array = jnp.asarray(leaf)
    return array.astype(
        array.dtype
    )  # no weak type, which a state restored from a checkpoint never has


def is_number(leaf: Any) -> bool:
    """Whether a leaf holds numbers or booleans: no keys and no float0."""
    dtype = jnp.result_type(leaf)
    return jnp.issubdtype(dtype, jnp.number) or jnp.issubdtype(dtype, jnp.bool_)


def _seen(tree: PyTree, params: PyTree) -> PyTree:
    """The leaves whose parameters are of floating point, None for others."""
    leaves, treedef = jax.tree.flatten(tree)
    flags = [is_inexact(p) for p in jax.tree.leaves(params)]
    if len(leaves) != len(flags):  # what has None for integers as well, or is refused
        return jax.tree.map(_wide_range, tree)
    return treedef.unflatten(
        [_wide_range(leaf) if flag else None for leaf, flag in zip(leaves, flags, strict=True)]
    )


def _wide_range(leaf: Any) -> Any:
    leaf = as_array(leaf)
    if jnp.result_type(leaf) != jnp.float16:
        return leaf
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return jax.eval_shape(_wide_range, leaf)
    return leaf.astype(jnp.float32)


def _returned(moved: PyTree, updates: PyTree, params: PyTree, moves: bool) -> PyTree:
    """The updates in the structure and the dtypes of those that came in, the other leaves among them."""
    given, treedef = jax.tree.flatten(updates)
    leaves = iter(jax.tree.leaves(moved))
    parameters = jax.tree.leaves(params)
    if len(given) != len(parameters):
        parameters = given
    returned = []
    for g, p in zip(given, parameters, strict=True):
        if is_inexact(p):
            returned.append(_like(next(leaves), g))
        else:
            returned.append(_no_update(p, g) if moves else g)
    return treedef.unflatten(returned)


def _like(u: Array, given: Any) -> Array:
    return u.astype(jnp.result_type(given)) if is_inexact(given) else u


def _no_update(p: Any, given: Any) -> Any:
    """Zero, in the dtype of a parameter that is a number."""
    return jnp.zeros(jnp.shape(p), jnp.result_type(p)) if is_number(p) else given

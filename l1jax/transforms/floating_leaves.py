"""What a transformation sees: the leaves of floating point as JAX arrays, float16 as float32."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from l1jax.annotations import Array, PyTree
from l1jax.penalties.numerics import Leaf, is_inexact


def on_floating_leaves(
    tx: optax.GradientTransformation,
    check: Callable[[PyTree], object],
    is_optimizer: bool = True,
) -> optax.GradientTransformation:
    """Show a transformation the leaves of floating point alone, as JAX arrays of its own precision.

    Integers, booleans and keys are None to it, and so in its state. NumPy arrays and Python numbers
    are arrays to it. float16 becomes float32, which can hold squares of gradients and Adam's 1e-8;
    bfloat16, which has the range of float32, stays. The updates come back in the dtype of those
    that were given.

    Args:
        tx: the transformation.
        check: called by `init` with all parameters; raises if they do not fit.
        is_optimizer: whether `tx` is a whole optimiser, whose updates of other leaves are zero. A
            link of a chain passes them on.
    """

    def init(params: optax.Params) -> optax.OptState:
        check(params)
        return tx.init(_keep_floating(params, params))

    def update(
        updates: optax.Updates, state: optax.OptState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.OptState]:
        if params is None:
            return tx.update(updates, state)  # it raises an error that says why it needs them
        new_updates, state = tx.update(
            _keep_floating(updates, params), state, _keep_floating(params, params)
        )
        return _restore_leaves(new_updates, updates, params, is_optimizer), state

    return optax.GradientTransformation(init, update)


def as_array(leaf: Leaf) -> Leaf:
    """Convert a number or an array of NumPy or Python to a JAX array; return others as they are."""
    if not isinstance(leaf, int | float | complex | np.ndarray | np.generic):
        return leaf
    if not is_number(leaf):
        return leaf
    array = jnp.asarray(leaf)
    # The cast removes a weak type, which a state restored from a checkpoint never has.
    return array.astype(array.dtype)


def is_number(leaf: Leaf) -> bool:
    """Tell whether a leaf holds numbers or booleans, as opposed to random keys and float0."""
    dtype = jnp.result_type(leaf)
    return jnp.issubdtype(dtype, jnp.number) or jnp.issubdtype(dtype, jnp.bool_)


def _keep_floating(tree: PyTree, params: PyTree) -> PyTree:
    """Return the leaves whose parameters are of floating point, None in place of the others."""
    leaves, treedef = jax.tree.flatten(tree)
    parameters = jax.tree.leaves(params)
    if len(leaves) != len(parameters):
        # Either the tree has None for integers, too, or the transformation raises an error.
        return jax.tree.map(_without_float16, tree)
    return treedef.unflatten(
        [
            _without_float16(leaf) if is_inexact(p) else None
            for leaf, p in zip(leaves, parameters, strict=True)
        ]
    )


def _without_float16(leaf: Leaf) -> Leaf:
    leaf = as_array(leaf)
    if jnp.result_type(leaf) != jnp.float16:
        return leaf
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return jax.eval_shape(_without_float16, leaf)
    return leaf.astype(jnp.float32)


def _restore_leaves(
    new_updates: PyTree, updates: PyTree, params: PyTree, is_optimizer: bool
) -> PyTree:
    """Bring updates into the structure and the dtypes of those that came in."""
    given, treedef = jax.tree.flatten(updates)
    new_leaves = iter(jax.tree.leaves(new_updates))
    parameters = jax.tree.leaves(params)
    if len(given) != len(parameters):
        parameters = given
    restored = []
    for u, p in zip(given, parameters, strict=True):
        if is_inexact(p):
            restored.append(_cast_like(next(new_leaves), u))
        elif is_optimizer:
            restored.append(_no_update(p, u))
        else:
            restored.append(u)
    return treedef.unflatten(restored)


def _cast_like(u: Array, given: Leaf) -> Array:
    if not is_inexact(given):
        return u
    return u.astype(jnp.result_type(given))


def _no_update(p: Leaf, given: Leaf) -> Leaf:
    """Return zero in the dtype of the parameter, or what was given if that is no number."""
    if not is_number(p):
        return given
    return jnp.zeros(jnp.shape(p), jnp.result_type(p))

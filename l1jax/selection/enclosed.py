"""Functions whose enclosed arrays are arguments: XLA would fold and embed constants, for seconds if they are large."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.core import eval_jaxpr
from jaxtyping import Array, PyTree, Shaped


def open_closure(
    function: Callable[..., PyTree], *examples: PyTree
) -> tuple[Callable[..., PyTree], list[Array]]:
    """Separate a function from the arrays that it encloses.

    Args:
        function: pure; traced once, here.
        examples: arguments, or their shapes and dtypes.

    Returns:
        (arrays, *arguments) → what `function` returns of arguments of the same shapes and dtypes; and
        the arrays. To be compiled or mapped like any function.
    """
    closed, shapes = jax.make_jaxpr(function, return_shape=True)(*examples)
    structure = jax.tree.structure(shapes)

    def opened(enclosed: Sequence[Shaped[Array, "..."]], *arguments: PyTree) -> PyTree:
        results = eval_jaxpr(closed.jaxpr, enclosed, *jax.tree.leaves(arguments))
        return jax.tree.unflatten(structure, results)

    return opened, [jnp.asarray(constant) for constant in closed.consts]

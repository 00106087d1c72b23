"""Turn the arrays that a function closes over into arguments.

XLA would embed them in the program and fold them as constants, which takes seconds if they are
large.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.core import eval_jaxpr
from jaxtyping import Array, PyTree, Shaped


def hoist_constants(
    function: Callable[..., PyTree], *examples: PyTree
) -> tuple[Callable[..., PyTree], list[Array]]:
    """Separate a function from the arrays that it closes over.

    Args:
        function: a pure function, which is traced once, here.
        examples: its arguments, or their shapes and dtypes.

    Returns:
        A function (constants, *arguments) that returns what `function` returns for arguments of
        the same shapes and dtypes, and can be compiled and mapped like any other; and the
        constants, which are the arrays that `function` closes over.
    """
    closed, shapes = jax.make_jaxpr(function, return_shape=True)(*examples)
    structure = jax.tree.structure(shapes)

    def hoisted(constants: Sequence[Shaped[Array, "..."]], *arguments: PyTree) -> PyTree:
        results = eval_jaxpr(closed.jaxpr, constants, *jax.tree.leaves(arguments))
        return jax.tree.unflatten(structure, results)

    return hoisted, [jnp.asarray(constant) for constant in closed.consts]

"""The order of a network's layers, from its inputs to its outputs."""

from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import Literal
from jaxtyping import PyTree


def layers_by_depth(
    forward: Callable[[PyTree], Any], params: PyTree
) -> list[tuple[str, tuple[str, ...]]]:
    """List the layers of a network in the order in which a forward pass first uses them.

    A layer is a part of the parameters' tree, one level below its root, that has a kernel. Parts
    without one, such as norms, belong to the layer before them, or to the first.

    Args:
        forward: parameters → outputs; it is traced and not computed.
        params: the parameters, or their shapes.

    Returns:
        Of each layer its name, and the names of all parts that belong to it.
    """
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    traced = jax.make_jaxpr(forward)(params).jaxpr
    order = _first_uses(traced, list(range(len(paths))))
    unused = [index for index in range(len(paths)) if index not in order]
    names = [_key(paths[index][0]) for index in (*order, *unused)]
    with_kernel = {
        _key(path[0]) for path in paths if any(_key(key) == "kernel" for key in path[1:])
    }
    layers: list[tuple[str, list[str]]] = []
    waiting: list[str] = []  # parts before the first layer
    for name in dict.fromkeys(names):
        if name in with_kernel:
            layers.append((name, [*waiting, name]))
            waiting = []
        elif layers:
            layers[-1][1].append(name)
        else:
            waiting.append(name)
    return [(name, tuple(parts)) for name, parts in layers]


def _first_uses(jaxpr: Any, inputs: list[int | None]) -> list[int]:
    """Return the indices of inputs in the order of their first use.

    Args:
        jaxpr: the traced program.
        inputs: the index that each of its input variables stands for; None for others.
    """
    index_of = {
        variable: index
        for variable, index in zip(jaxpr.invars, inputs, strict=True)
        if index is not None
    }
    order = dict[int, None]()
    for equation in jaxpr.eqns:
        used = [
            None if isinstance(variable, Literal) else index_of.get(variable)
            for variable in equation.invars
        ]
        inner = equation.params.get("jaxpr")
        inner = getattr(inner, "jaxpr", inner)  # of a program with its constants
        if inner is not None and len(getattr(inner, "invars", ())) == len(used):
            order |= dict.fromkeys(_first_uses(inner, used))
        order |= dict.fromkeys(index for index in used if index is not None)
    return list(order)


def _key(key: Any) -> str:
    return jax.tree_util.keystr((key,), simple=True)

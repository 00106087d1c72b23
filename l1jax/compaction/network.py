"""The network that a table describes, as a Linen module and as pure functions."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, PyTree, Shaped

from l1jax.compaction import axes, layers
from l1jax.compaction.graph import Node, from_layout
from l1jax.compaction.operations import ELEMENTWISE, REDUCTIONS
from l1jax.models.network import Network, linen_network


class Compacted(nn.Module):
    """A network as a table: each row a layer or an operation on rows further up.

    Its layers have the names that they had in the network that the table was made from, slashes included.
    """

    nodes: Sequence[Node]
    structure: Any = None  # of the outputs, a PyTreeDef; None for one array

    @nn.compact
    def __call__(
        self,
        x: Shaped[Array, "batch ..."],
        train: bool = False,
        *others: Shaped[Array, "batch ..."],
    ) -> Any:
        """Run the table; the last row is the output, or has all of them."""
        values: list[Any] = []
        modules: dict[str, nn.Module] = {}
        for node in self.nodes:
            read = [values[i] for i in node.inputs]
            if node.op == "input":
                value = (x, *others)[node.options["index"]]
            elif node.op == "constant":
                value = self._constant(node)
            elif node.op == "tuple":
                value = jax.tree.unflatten(self.structure, read)
            elif node.op in layers.MODULES:
                module = modules.get(node.name) or layers.build(node, train)
                if node.name:
                    modules[node.name] = module  # shared by all of its calls
                value = module(*_layer_inputs(node, read, train))
            else:
                value = operate(node, read, x.shape[0])
            values.append(value)
        return values[-1]

    def _constant(self, node: Node) -> Array:
        """A parameter, or a number of the table."""
        if node.name:
            value = self.param(node.name, nn.initializers.zeros, tuple(node.shape))
        else:
            value = jnp.asarray(np.array(node.options["value"]))
        exact = jnp.issubdtype(jnp.dtype(node.dtype), jnp.floating) and value.dtype == jnp.float64
        value = value if exact and node.name else value.astype(node.dtype)
        return value[None] if node.shape else value


def _layer_inputs(node: Node, read: list[Any], train: bool) -> list[Any]:
    return [read[0], train, read[1]] if node.op == "conditional_batch_norm" else read


def operate(node: Node, read: list[Any], batch: Any) -> Any:
    """What an operation without parameters computes."""
    options, shape = node.options, (batch, *node.shape)
    match node.op:
        case "reshape":
            return jnp.reshape(read[0], shape)
        case "broadcast_in_dim":
            x = read[0]
            if not x.ndim:
                return jnp.broadcast_to(x, shape)
            sizes = [x.shape[0], *(1 for _ in node.shape)]
            for d, n in zip(options["dims"], x.shape[1:], strict=True):
                sizes[1 + d] = n
            return jnp.broadcast_to(x.reshape(sizes), shape)
        case "transpose":
            return jnp.transpose(read[0], (0, *(1 + a for a in options["order"])))
        case "concatenate":
            return jnp.concatenate(read, 1 + options["axis"])
        case "pad":
            around = [(0, 0), *zip(options["low"], options["high"], strict=True)]
            return jnp.pad(read[0], around, constant_values=options["value"])
        case "matmul":
            return axes.multiplied(node, *read)
    if node.op in axes.WINDOWS:
        return axes.windowed(node, read[0])
    if node.op in REDUCTIONS:
        reduced = REDUCTIONS[node.op](jnp, read[0], tuple(1 + a for a in options["axes"]))
        return (
            reduced if jnp.issubdtype(reduced.dtype, jnp.floating) else reduced.astype(node.dtype)
        )
    return ELEMENTWISE[node.op](jnp, *read, **options)


def layout_network(layout: Mapping[str, Any], latent_size: int, classes: int) -> Network:
    """The pure functions of a layout; parameters and statistics are nested as the original network's."""
    nodes = from_layout(layout)
    flat = linen_network(Compacted(nodes), (latent_size,), classes)

    def init(key: Any) -> tuple[PyTree, PyTree]:
        params, statistics = flat.init(key)
        return nested(params), nested(statistics)

    def apply(params: PyTree, statistics: PyTree, *args: Any, **kwargs: Any) -> tuple[Any, PyTree]:
        outputs, moved = flat.apply(
            flattened(params, nodes), flattened(statistics, nodes), *args, **kwargs
        )
        return outputs, nested(moved)

    return Network(init, apply)


def nested(by_name: Mapping[str, Any]) -> PyTree:
    """By names with slashes → nested by their parts."""
    tree: dict[str, Any] = {}
    for name, value in by_name.items():
        *above, last = name.split("/")
        inner = tree
        for part in above:
            inner = inner.setdefault(part, {})
        inner[last] = value
    return tree


def flattened(tree: PyTree, nodes: Sequence[Node]) -> dict[str, Any]:
    """`nested` undone, with the names of a table."""
    found = {}
    for name in {node.name for node in nodes if node.name}:
        inner = tree
        for part in name.split("/"):
            inner = inner.get(part) if isinstance(inner, Mapping) else None
        if inner is not None:
            found[name] = inner
    return found

"""The network that a layout describes, as a Linen module and as pure functions."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Key, PyTree, Shaped

from l1jax.models.flow import make_flow
from l1jax.models.flow_sampling import FlowSampler
from l1jax.models.layout.axis_operations import POOLINGS, multiply_along_axis, pool
from l1jax.models.layout.layer_kinds import MODULES, build_layer
from l1jax.models.layout.node import Layout, Node, PyTreeDef, Tree, from_layout
from l1jax.models.layout.operations import ELEMENTWISE, REDUCTIONS
from l1jax.models.network import Generator, Network, linen_network


class TrainedGenerator(NamedTuple):
    """A generator with its weights.

    The names in `params` and `batch_stats` are those of the network that was trained, whether or
    not it has been compacted since.
    """

    generator: Generator
    params: PyTree
    batch_stats: PyTree
    # JSON values from which `l1jax.serialization.rebuild` makes the network; empty for the network
    # of the experiment's configuration.
    layout: Layout


class LayoutModule(nn.Module):
    """A network that is described by nodes, each a layer or an operation on earlier nodes.

    The layers have the names that they had in the network that the layout was made from, slashes
    included.
    """

    nodes: Sequence[Node]
    # Structure of the outputs; None for a single array.
    structure: PyTreeDef | None = None

    @nn.compact
    def __call__(
        self,
        x: Shaped[Array, "batch ..."],
        train: bool = False,
        *others: Shaped[Array, "batch ..."],
    ) -> PyTree:
        """Compute all nodes in turn and return the value of the last one."""
        values: list[Any] = []
        modules: dict[str, nn.Module] = {}
        for node in self.nodes:
            inputs = [values[i] for i in node.inputs]
            if node.op == "input":
                value = (x, *others)[node.options["index"]]
            elif node.op == "constant":
                value = self._constant(node)
            elif node.op == "tuple":
                value = jax.tree.unflatten(self.structure, inputs)
            elif node.op in MODULES:
                module = modules.get(node.name) or build_layer(node, train)
                if node.name:
                    modules[node.name] = module  # All calls of a layer share its parameters.
                value = module(*_layer_arguments(node, inputs, train))
            else:
                value = apply_operation(node, inputs, x.shape[0])
            values.append(value)
        return values[-1]

    def _constant(self, node: Node) -> Array:
        """Return the value of a constant, which is a parameter if the node has a name."""
        if node.name:
            value = self.param(node.name, nn.initializers.zeros, tuple(node.shape))
        else:
            value = jnp.asarray(np.array(node.options["value"]))
        floating = jnp.issubdtype(jnp.dtype(node.dtype), jnp.floating)
        is_float64_parameter = bool(node.name) and floating and value.dtype == jnp.float64
        if not is_float64_parameter:
            value = value.astype(node.dtype)
        return value[None] if node.shape else value


def _layer_arguments(node: Node, inputs: list[Any], train: bool) -> list[Any]:
    if node.op == "conditional_batch_norm":
        x, label = inputs
        return [x, train, label]
    return inputs


def apply_operation(node: Node, inputs: list[Any], batch_size: int) -> Array:
    """Compute an operation that has no parameters.

    Args:
        node: the operation.
        inputs: values of the nodes that it reads, with a batch axis.
        batch_size: number of examples.
    """
    options = node.options
    shape = (batch_size, *node.shape)
    match node.op:
        case "reshape":
            return jnp.reshape(inputs[0], shape)
        case "broadcast_in_dim":
            return _broadcast_in_dim(inputs[0], options["dims"], shape)
        case "transpose":
            return jnp.transpose(inputs[0], (0, *(1 + axis for axis in options["order"])))
        case "concatenate":
            return jnp.concatenate(inputs, 1 + options["axis"])
        case "pad":
            widths = [(0, 0), *zip(options["low"], options["high"], strict=True)]
            return jnp.pad(inputs[0], widths, constant_values=options["value"])
        case "matmul":
            return multiply_along_axis(node, *inputs)
    if node.op in POOLINGS:
        return pool(node, inputs[0])
    if node.op in REDUCTIONS:
        axes = tuple(1 + axis for axis in options["axes"])
        # With jax.numpy these operations return JAX's arrays.
        reduced = cast(Array, REDUCTIONS[node.op](jnp, inputs[0], axes))
        if jnp.issubdtype(reduced.dtype, jnp.floating):
            return reduced
        return reduced.astype(node.dtype)
    return cast(Array, ELEMENTWISE[node.op](jnp, *inputs, **options))


def _broadcast_in_dim(x: Array, dims: Sequence[int], shape: tuple[int, ...]) -> Array:
    """Broadcast `x`, whose axes become the axes `dims` of each example."""
    if not x.ndim:
        return jnp.broadcast_to(x, shape)
    sizes = [x.shape[0]] + [1] * (len(shape) - 1)
    for dim, size in zip(dims, x.shape[1:], strict=True):
        sizes[1 + dim] = size
    return jnp.broadcast_to(x.reshape(sizes), shape)


def layout_network(layout: Mapping[str, Any], latent_size: int, classes: int) -> Network:
    """Make the pure functions of a generator's network from its layout.

    Args:
        layout: JSON values, as `to_layout` returns them.
        latent_size: length of a latent vector.
        classes: number of classes; 0 for an unconditional generator.

    Returns:
        The network; its parameters and batch statistics are nested as the original network's are.
    """
    nodes = from_layout(layout)
    by_name = linen_network(LayoutModule(nodes), (latent_size,), classes)

    def init(key: Key[Array, ""]) -> tuple[PyTree, PyTree]:
        params, batch_stats = by_name.init(key)
        return nest(params), nest(batch_stats)

    def apply(
        params: PyTree, batch_stats: PyTree, *args: Any, **kwargs: Any
    ) -> tuple[Array, PyTree]:
        named_params = select_by_name(params, nodes)
        named_batch_stats = select_by_name(batch_stats, nodes)
        outputs, new_batch_stats = by_name.apply(named_params, named_batch_stats, *args, **kwargs)
        return outputs, nest(new_batch_stats)

    return Network(init, apply)


def layout_generator(generator: Generator, layout: Mapping[str, Any]) -> Generator:
    """Give a generator the network of a layout.

    Of a flow model the layout describes the network that predicts, and `flow` in it how it is
    followed.

    Args:
        generator: with other layers.
        layout: JSON values.
    """
    settings = layout.get("flow")
    if settings is None:
        network = layout_network(layout, generator.latent_size, generator.classes)
        return generator._replace(network=network, activations=None)
    _, length = generator.predictor()
    predictor = layout_network(layout, length, generator.classes)
    values = {key: _as_tuple(value) for key, value in settings.items()}
    sampler = FlowSampler(**{name: values.pop(name) for name in FlowSampler._fields})
    flow = make_flow(predictor, **values, sampler=sampler)
    followed = flow.generator
    return generator._replace(network=followed.network, velocities=followed.velocities)


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def nest(by_name: Mapping[str, Any]) -> PyTree:
    """Nest values by the parts of their names, which slashes separate."""
    tree: Tree = {}
    for name, value in by_name.items():
        *parents, last = name.split("/")
        branch = tree
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[last] = value
    return tree


def select_by_name(tree: PyTree, nodes: Sequence[Node]) -> dict[str, Any]:
    """Select each node's values from nested ones; the inverse of `nest`."""
    selected = {}
    for name in {node.name for node in nodes if node.name}:
        branch = tree
        for part in name.split("/"):
            branch = branch.get(part) if isinstance(branch, Mapping) else None
        if branch is not None:
            selected[name] = branch
    return selected

"""Compact a generator or a Linen module: trace it, shrink its graph and make a network of the rest.

The steps are `trace` (network → graph), `fold_batch_norms`, `shrink` (which removes dead channels),
the sharing of layers that are called more than once, and the rounding of the parameters from
float64 to the types that they had.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, PyTree

from l1jax.compaction.fold_batch_norm import fold_batch_norms, layer_in_front
from l1jax.compaction.graph import Graph
from l1jax.compaction.shrink import shrink
from l1jax.compaction.trace import trace
from l1jax.compaction.verify_module import verify_module
from l1jax.models import Gan, Generator, Vae
from l1jax.models.layout.layout_network import (
    LayoutModule,
    TrainedGenerator,
    layout_generator,
    nest,
)
from l1jax.models.layout.node import to_layout


def compact(
    model: Generator | Gan | Vae, params: PyTree, batch_stats: PyTree, *, fold_norms: bool = True
) -> TrainedGenerator:
    """Remove every dead channel of a generator; the images stay the same.

    A channel is dead if nothing that the image depends on reads it, or if it is constant in
    inference. What read a constant channel then has the constant in its bias, or reads one channel
    of ones instead. This holds through norms, activations, reshapes, sums, concatenated labels and
    resampling, and for latents, too. Latents keep their length; those that nothing reads are
    skipped.

    Of a flow model the network that predicts is compacted, and followed as before. So its layers
    are the same at all times, and a channel that depends on the time alone stays.

    Args:
        model: the generator, or a model whose generator or decoder (its mean image) is compacted.
        params: parameters of the generator; concrete.
        batch_stats: its running batch statistics; concrete.
        fold_norms: whether batch norms become part of the layers in front of them. If they do not,
            the network can be trained further. Class-conditional norms always stay.

    Raises:
        ValueError: if the network has an operation or a layer whose dependencies between channels
            are not known, naming it.
    """
    generator = model if isinstance(model, Generator) else model.generator
    params = jax.tree.map(jnp.asarray, params)
    batch_stats = jax.tree.map(jnp.asarray, batch_stats)

    network, length = generator.predictor()

    def apply(x: Array, *label: Array) -> Array:
        return network.apply(params, batch_stats, x, False, *label)[0]

    inputs = [jax.ShapeDtypeStruct((length,), jnp.result_type(float))]
    if generator.classes:
        inputs.append(jax.ShapeDtypeStruct((), jnp.int32))
    traced = trace(apply, {"params": params, "batch_stats": batch_stats}, inputs)
    graph = _round_params(_shrink(traced, fold_norms), _param_dtypes(traced))
    layout = to_layout(graph.nodes)
    if generator.velocities is not None:
        layout["flow"] = generator.velocities.to_json()
    return TrainedGenerator(
        layout_generator(generator, layout),
        nest(graph.params),
        nest(graph.batch_stats),
        layout,
    )


def compact_linen(
    module: object, variables: PyTree, *inputs: Any, fold_norms: bool = True, **options: Any
) -> tuple[LayoutModule, dict[str, PyTree]]:
    """Compact any Linen module that is made of the usual layers.

    Dense layers, convolutions, embeddings, batch norms and l1jax's own layers lose channels, group
    norms whole groups. Layer norms are kept whole, with everything that they read. Operations
    between layers may work entry by entry, move entries, or mix them along other axes than the
    channels': activations, sums, products, reshapes, transpositions, concatenation, padding,
    slices, flips, repetition, pooling and resizing.

    The result is compared with the original on random inputs of several scales, and returned only
    if it computes the same. A layer that is called more than once, each time with other dead
    channels, becomes several layers.

    Args:
        module: a module of flax.linen. It is applied as `module.apply(variables, *inputs,
            **options)` and must be in inference there.
        variables: the collections "params" and "batch_stats"; concrete.
        inputs: an example of each input, with a batch axis in front. The comparison's random inputs
            have its scale, and integers are drawn from it; a `jax.ShapeDtypeStruct` counts as an
            example of ones.
        fold_norms: whether batch norms become part of the layers in front of them.
        options: other arguments of the module, such as train=False.

    Returns:
        A module, to be called as module(input, train, *other inputs), and its variables.

    Raises:
        ValueError: as `compact` does, or if `module` is not a module of flax.linen.
        MismatchError: if the result computes something else, which would be a bug of l1jax.
    """
    if not isinstance(module, nn.Module):
        raise ValueError(
            f"`module` (={type(module).__name__}) must be a module of flax.linen; modules of "
            "flax.nnx and others are not supported."
        )

    def apply(variables: PyTree, *inputs: Array) -> PyTree:
        return module.apply(variables, *inputs, **options)

    shapes = [jax.ShapeDtypeStruct(x.shape[1:], x.dtype) for x in inputs]
    graph = trace(lambda *xs: apply(variables, *xs), variables, shapes, any_batch=True)
    exact = _shrink(graph, fold_norms)
    rounded = _round_params(exact, _param_dtypes(graph))
    verify_module(apply, variables, graph, exact, rounded, inputs)
    smaller = {"params": rounded.params, "batch_stats": rounded.batch_stats}
    smaller = {name: tree for name, tree in smaller.items() if tree}
    return LayoutModule(rounded.nodes, rounded.structure), smaller


def _shrink(graph: Graph, fold_norms: bool) -> Graph:
    """Remove the dead channels; the parameters are in float64."""
    if not fold_norms:
        return _share_equal_calls(_absorb_new_biases(graph, shrink(graph)))
    return _share_equal_calls(shrink(fold_batch_norms(graph)))


def _share_equal_calls(graph: Graph) -> Graph:
    """Let later calls of a layer share the parameters of its first call if they are still equal."""
    nodes = list(graph.nodes)
    params = dict(graph.params)
    batch_stats = dict(graph.batch_stats)
    first_calls = {node.name: node for node in nodes if node.name not in graph.copies}
    for i, node in enumerate(nodes):
        first = first_calls.get(graph.copies.get(node.name, ""))
        if first is None or (first.op, first.options) != (node.op, node.options):
            continue
        same_params = _equal(params.get(first.name, {}), params.get(node.name, {}))
        if same_params and _equal(batch_stats.get(first.name, {}), batch_stats.get(node.name, {})):
            nodes[i] = node._replace(name=first.name)
            params.pop(node.name, None)
            batch_stats.pop(node.name, None)
    return graph._replace(nodes=nodes, params=params, batch_stats=batch_stats)


def _equal(tree: PyTree, other: PyTree) -> bool:
    if jax.tree.structure(tree) != jax.tree.structure(other):
        return False
    leaves = zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(a, b) for a, b in leaves)


def _param_dtypes(graph: Graph) -> dict[str, np.dtype]:
    """Return the type of each node's parameters."""
    dtypes = {}
    for name, tree in graph.params.items():
        leaves = jax.tree.leaves(tree)
        dtypes[name] = np.result_type(*leaves) if leaves else np.dtype(np.float32)
    return dtypes


def _round_params(graph: Graph, dtypes: dict[str, np.dtype]) -> Graph:
    """Round the parameters to the types that they had; new ones to the largest of these."""
    largest = max(dtypes.values(), key=lambda dtype: dtype.itemsize, default=np.dtype(np.float32))

    def round_tree(name: str, tree: PyTree) -> PyTree:
        dtype = dtypes.get(name, largest)
        return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), tree)

    params = {name: round_tree(name, tree) for name, tree in graph.params.items()}
    return graph._replace(params=params, batch_stats=jax.tree.map(jnp.asarray, graph.batch_stats))


def _absorb_new_biases(original: Graph, graph: Graph) -> Graph:
    """Move biases that layers in front of a batch norm did not have before to its running mean."""
    nodes = list(graph.nodes)
    params = dict(graph.params)
    batch_stats = dict(graph.batch_stats)
    for i, node in enumerate(graph.nodes):
        source = layer_in_front(graph, i) if node.op == "batch_norm" else None
        if source is None or graph.nodes[source].shape != node.shape:
            continue
        layer = graph.nodes[source]
        if "bias" in params[layer.name] and "bias" not in original.params[layer.name]:
            layer_params = dict(params[layer.name])
            bias = layer_params.pop("bias")
            params[layer.name] = layer_params
            moments = batch_stats[node.name]
            mean = (moments["mean"] - bias).astype(moments["mean"].dtype)
            batch_stats[node.name] = {**moments, "mean": mean}
            nodes[source] = layer._replace(options={**layer.options, "use_bias": False})
    return graph._replace(nodes=nodes, params=params, batch_stats=batch_stats)

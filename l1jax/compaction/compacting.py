"""The same network without its dead channels."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import PyTree

from l1jax.compaction.fold import fold, layer_in_front
from l1jax.compaction.graph import Graph, to_layout
from l1jax.compaction.network import Compacted, layout_network, nested
from l1jax.compaction.shrink import shrink
from l1jax.compaction.trace import trace
from l1jax.models import Gan, Generator, Vae


class Compact(NamedTuple):
    """A generator whose network has smaller layers.

    params, statistics: as the original's, nested by the same names.
    layout: plain JSON values; `rebuild` makes the network from them.
    """

    generator: Generator
    params: PyTree
    statistics: PyTree
    layout: dict[str, Any]


def compact(model: Generator | Gan | Vae, params: PyTree, statistics: PyTree, *, fold_norms: bool = True) -> Compact:
    """Remove every channel of a generator that is dead; the images stay the same.

    A channel is dead if nothing that the image depends on reads it, or if it is a constant in inference:
    what read it has that constant in its bias then, or reads one channel of ones. This holds through norms,
    activations, reshapes, sums, concatenated labels and resampling, for latents too, until nothing more goes.
    Latents keep their length; those that nothing reads are passed over.

    Args:
        model: whose generator, or decoder's mean image, is meant.
        params: of the generator, concrete.
        statistics: its running batch statistics, concrete.
        fold_norms: whether batch norms become part of the layers in front of them; otherwise they stay, and
            the network can be trained on. Class-conditional norms stay either way.

    Raises:
        ValueError: if the network has an operation or a layer of which the dependencies between channels
            are not known, naming it.
    """
    generator = model if isinstance(model, Generator) else model.generator
    params, statistics = (jax.tree.map(jnp.asarray, tree) for tree in (params, statistics))

    def apply(latents: Any, *label: Any) -> Any:
        return generator.network.apply(params, statistics, latents, False, *label)[0]

    inputs = [jax.ShapeDtypeStruct((generator.latent_size,), jnp.result_type(float))]
    inputs += [jax.ShapeDtypeStruct((), jnp.int32)] if generator.classes else []
    graph = _compacted(trace(apply, {"params": params, "batch_stats": statistics}, inputs), fold_norms)
    layout = to_layout(graph.nodes)
    smaller = layout_network(layout, generator.latent_size, generator.classes)
    return Compact(
        generator._replace(network=smaller, activations=None), nested(graph.params), nested(graph.statistics), layout
    )


def compact_linen(
    module: nn.Module, variables: PyTree, *inputs: Any, fold_norms: bool = True, **options: Any
) -> tuple[Compacted, dict[str, Any]]:
    """Compact any Linen module of the usual layers.

    Dense layers, convolutions, batch norms and l1jax's own layers are cut; layer and group norms are kept
    whole, with all that they read. Between them, whatever works entry by entry or moves entries without
    mixing them: activations, sums, products, reshapes, transpositions, concatenation, padding, slices,
    repetition.

    Args:
        module: applied as module.apply(variables, *inputs, **options), to be in inference there.
        variables: concrete; the collections "params" and "batch_stats".
        inputs: an example of each, with a batch axis in front; only shapes and types matter.
        fold_norms: whether batch norms become part of the layers in front of them.
        options: other arguments, such as train=False.

    Returns:
        A module, to be called as module(input, train, *other inputs), and its variables.

    Raises:
        ValueError: as `compact` does.
    """
    graph = trace(
        lambda *xs: module.apply(variables, *xs, **options),
        variables,
        [jax.ShapeDtypeStruct(x.shape[1:], x.dtype) for x in inputs],
    )
    graph = _compacted(graph, fold_norms)
    smaller = {"params": graph.params, "batch_stats": graph.statistics}
    return Compacted(graph.nodes), {name: tree for name, tree in smaller.items() if tree}


def _compacted(graph: Graph, fold_norms: bool) -> Graph:
    """Shrunk, its parameters in the types that they had."""
    dtypes = {name: _types(graph.params[name]) for name in graph.params}
    smaller = shrink(fold(graph) if fold_norms else graph)
    if not fold_norms:
        smaller = _absorb(graph, smaller)

    def cast(name: str, tree: Any) -> Any:
        dtype = dtypes.get(name, np.dtype(np.float32) if not dtypes else max(dtypes.values(), key=lambda d: d.itemsize))
        return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), tree)

    params = {name: cast(name, tree) for name, tree in smaller.params.items()}
    return Graph(smaller.nodes, params, jax.tree.map(jnp.asarray, smaller.statistics))


def _types(tree: Any) -> Any:
    return np.result_type(*jax.tree.leaves(tree)) if jax.tree.leaves(tree) else np.dtype(np.float32)


def _absorb(before: Graph, graph: Graph) -> Graph:
    """Biases that layers in front of a batch norm did not have become part of its running mean."""
    nodes, params, statistics = list(graph.nodes), dict(graph.params), dict(graph.statistics)
    for i, node in enumerate(graph.nodes):
        source = layer_in_front(graph, i) if node.op == "batch_norm" else None
        if source is None or graph.nodes[source].shape != node.shape:
            continue
        layer = graph.nodes[source]
        if "bias" in params[layer.name] and "bias" not in before.params[layer.name]:
            own = dict(params[layer.name])
            bias = own.pop("bias")
            moments = statistics[node.name]
            params[layer.name] = own
            statistics[node.name] = {**moments, "mean": (moments["mean"] - bias).astype(moments["mean"].dtype)}
            nodes[source] = layer._replace(options={**layer.options, "use_bias": False})
    return Graph(nodes, params, statistics)

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
from l1jax.compaction.verification import verify
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


def compact(
    model: Generator | Gan | Vae, params: PyTree, statistics: PyTree, *, fold_norms: bool = True
) -> Compact:
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
    graph = _rounded(
        *_compacted(trace(apply, {"params": params, "batch_stats": statistics}, inputs), fold_norms)
    )
    layout = to_layout(graph.nodes)
    smaller = layout_network(layout, generator.latent_size, generator.classes)
    return Compact(
        generator._replace(network=smaller, activations=None),
        nested(graph.params),
        nested(graph.statistics),
        layout,
    )


def compact_linen(
    module: Any, variables: PyTree, *inputs: Any, fold_norms: bool = True, **options: Any
) -> tuple[Compacted, dict[str, Any]]:
    """Compact any Linen module of the usual layers.

    Dense layers, convolutions, embeddings, batch norms and l1jax's own layers are cut; layer and group norms are
    kept whole, with all that they read. Between them, whatever works entry by entry, moves entries or mixes them
    along other axes than the channels': activations, sums, products, reshapes, transpositions, concatenation,
    padding, slices, flips, repetition, pooling, resizing.

    The result is compared with the original on random inputs of several scales, and returned only if it computes
    the same. A layer that is called more than once, each time with other dead channels, becomes several.

    Args:
        module: of flax.linen; applied as module.apply(variables, *inputs, **options), to be in inference there.
        variables: concrete; the collections "params" and "batch_stats".
        inputs: an example of each, with a batch axis in front. The random inputs of the comparison are of its size,
            and integers are taken from it; `jax.ShapeDtypeStruct` is an example of ones.
        fold_norms: whether batch norms become part of the layers in front of them.
        options: other arguments, such as train=False.

    Returns:
        A module, to be called as module(input, train, *other inputs), and its variables.

    Raises:
        ValueError: as `compact` does, or if `module` is none of flax.linen.
        Different: if the result computes something else, which would be a mistake here.
    """
    if not isinstance(module, nn.Module):
        raise ValueError(
            f"`module` (={type(module).__name__}) must be a module of flax.linen; networks of flax.nnx and others are "
            "not known here."
        )

    def apply(own: PyTree, *xs: Any) -> Any:
        return module.apply(own, *xs, **options)

    shapes = [jax.ShapeDtypeStruct(x.shape[1:], x.dtype) for x in inputs]
    graph = trace(lambda *xs: apply(variables, *xs), variables, shapes, any_batch=True)
    exact, dtypes = _compacted(graph, fold_norms)
    rounded = _rounded(exact, dtypes)
    verify(apply, variables, graph, exact, rounded, inputs)
    smaller = {"params": rounded.params, "batch_stats": rounded.statistics}
    return Compacted(rounded.nodes, rounded.structure), {
        name: tree for name, tree in smaller.items() if tree
    }


def _compacted(graph: Graph, fold_norms: bool) -> tuple[Graph, dict[str, Any]]:
    """Shrunk, with the types that the parameters had."""
    dtypes = {name: _types(graph.params[name]) for name in graph.params}
    smaller = shrink(fold(graph) if fold_norms else graph)
    if not fold_norms:
        smaller = _absorb(graph, smaller)
    return _shared(smaller), dtypes


def _shared(graph: Graph) -> Graph:
    """Calls of one layer that are still the same share its parameters again."""
    nodes, params, statistics = list(graph.nodes), dict(graph.params), dict(graph.statistics)
    first = {node.name: node for node in nodes if node.name not in graph.copies}
    for i, node in enumerate(nodes):
        original = first.get(graph.copies.get(node.name, ""))
        if original is None or (original.op, original.options) != (node.op, node.options):
            continue
        pairs = [
            (tree.get(original.name, {}), tree.get(node.name, {})) for tree in (params, statistics)
        ]
        if all(_equal(*pair) for pair in pairs):
            nodes[i] = node._replace(name=original.name)
            params.pop(node.name, None)
            statistics.pop(node.name, None)
    return graph._replace(nodes=nodes, params=params, statistics=statistics)


def _equal(tree: Any, other: Any) -> bool:
    same = jax.tree.structure(tree) == jax.tree.structure(other)
    leaves = zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=False)
    return same and all(np.array_equal(a, b) for a, b in leaves)


def _rounded(smaller: Graph, dtypes: dict[str, Any]) -> Graph:
    """Its parameters in the types that they had."""

    def cast(name: str, tree: Any) -> Any:
        dtype = dtypes.get(
            name,
            np.dtype(np.float32) if not dtypes else max(dtypes.values(), key=lambda d: d.itemsize),
        )
        return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), tree)

    params = {name: cast(name, tree) for name, tree in smaller.params.items()}
    return smaller._replace(params=params, statistics=jax.tree.map(jnp.asarray, smaller.statistics))


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
            statistics[node.name] = {
                **moments,
                "mean": (moments["mean"] - bias).astype(moments["mean"].dtype),
            }
            nodes[source] = layer._replace(options={**layer.options, "use_bias": False})
    return graph._replace(nodes=nodes, params=params, statistics=statistics)

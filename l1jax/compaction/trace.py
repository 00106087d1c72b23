"""Trace a Linen network in inference to a graph of layers and operations."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from jax.experimental.xla_metadata import set_xla_metadata
from jaxtyping import PyTree

from l1jax.compaction.graph import Graph, remove_unread
from l1jax.compaction.graph_builder import GraphBuilder
from l1jax.compaction.layer_calls import record_layer
from l1jax.compaction.trace_equations import add_equations

# Numbers of examples to trace with; one is used that is not the length of any axis.
# fmt: off
PRIMES = (509, 503, 499, 491, 487, 479, 467, 463, 461, 457, 449, 443, 439, 433, 431, 421, 419, 409)
# fmt: on
TRACES = itertools.count()


def trace(
    apply: Callable[..., Any],
    variables: Mapping[str, PyTree],
    inputs: Sequence[Any],
    *,
    any_batch: bool = False,
    any_layer: bool = False,
) -> Graph:
    """Make the graph of what a network computes in inference.

    Args:
        apply: inputs → outputs, with a batch axis in front of each; applies Linen modules to
            `variables`.
        variables: concrete, the collections "params" and "batch_stats".
        inputs: for each a `ShapeDtypeStruct` of one example.
        any_batch: whether to check that the graph is the same for another number of examples.
        any_layer: whether layers are allowed whose channels are known but that cannot be compacted;
            the graph then tells the channels, not the outputs.

    Raises:
        ValueError: if there is an operation whose dependencies between channels are not known, or a
            layer with unusual options, naming it.
    """
    taken = {size for leaf in jax.tree.leaves((variables, list(inputs))) for size in np.shape(leaf)}
    sizes = [prime for prime in PRIMES if prime not in taken]
    if len(sizes) < 2:
        lengths = ", ".join(map(str, PRIMES))
        raise ValueError(f"the network must have axes of other lengths than all of {lengths}.")
    record = partial(record_layer, any_layer=any_layer)
    graph = _traced(apply, inputs, sizes[0], record)
    if any_batch:
        _check_same_graph(graph, _traced(apply, inputs, sizes[1], record))
    return graph


def _traced(
    apply: Callable[..., Any], inputs: Sequence[Any], batch: int, record: Callable[..., Any]
) -> Graph:
    """Trace a network.

    Args:
        apply: as in `trace`.
        inputs: as in `trace`.
        batch: the number of examples; an axis of this length is the batch axis.
        record: records a call of a layer.
    """

    def program(*examples: Any) -> Any:
        # JAX caches the programs of functions. The tag is new in each trace, so no cached program
        # that lacks the layers' primitive is used here, and none that has it is used elsewhere.
        with set_xla_metadata(l1jax_trace=str(next(TRACES))), nn.intercept_methods(record):
            return apply(*examples)

    examples = [jax.ShapeDtypeStruct((batch, *x.shape), x.dtype) for x in inputs]
    jaxpr, shapes = jax.make_jaxpr(program, return_shape=True)(*examples)
    builder = GraphBuilder(batch)
    args = []
    for i, x in enumerate(examples):
        args.append(builder.add("input", (), x.shape[1:], x.dtype, options={"index": i}))
    outputs = add_equations(builder, jaxpr.jaxpr, jaxpr.consts, args)
    if not any(isinstance(output, int) for output in outputs):
        raise ValueError("the network's output must depend on its input.")
    structure = jax.tree.structure(shapes)
    if jax.tree_util.treedef_is_leaf(structure):
        structure = None
    builder.finish(outputs, jaxpr.jaxpr.outvars, single=structure is None)
    return remove_unread(
        Graph(
            builder.nodes,
            builder.params,
            builder.batch_stats,
            builder.copies,
            structure,
            tuple(builder.places),
        )
    )


def _check_same_graph(graph: Graph, again: Graph) -> None:
    """Raise if the graph of another number of examples differs."""
    for node, other, place in zip(graph.nodes, again.nodes, graph.places, strict=False):
        # In their texts NaN equals NaN.
        same = repr(node) == repr(other)
        if same and node.op == "constant" and node.name:
            same = np.array_equal(graph.params[node.name], again.params[node.name], equal_nan=True)
        if not same:
            what = "a number" if node.op == "constant" else f"`{node.op}`"
            inside = f" in `{place}`" if place else ""
            why = "it depends on the number of examples in the batch"
            raise ValueError(f"{what}{inside} cannot be compacted: {why}.")
    if len(graph.nodes) != len(again.nodes):
        why = "what it does depends on the number of examples in the batch"
        raise ValueError(f"the network cannot be compacted: {why}.")

"""From a Linen network's inference to a table of layers and operations."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from jax.experimental.xla_metadata import set_xla_metadata
from jaxtyping import PyTree

from l1jax.compaction.graph import Graph, remove_unread
from l1jax.compaction.layer_calls import record
from l1jax.compaction.table import Table

# Numbers of examples to trace with, of which one is taken that no axis has.
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
) -> Graph:
    """Tabulate what a network does in inference.

    Args:
        apply: inputs → outputs, with a batch axis in front of each; applies Linen modules to
            `variables`.
        variables: concrete, the collections "params" and "batch_stats".
        inputs: for each a `ShapeDtypeStruct` of one example.
        any_batch: whether to make sure that the table is the same for another number of examples.

    Raises:
        ValueError: if there is an operation whose dependencies between channels are not known, or a
            layer with unusual options, naming it.
    """
    taken = {size for leaf in jax.tree.leaves((variables, list(inputs))) for size in np.shape(leaf)}
    sizes = [prime for prime in PRIMES if prime not in taken]
    if len(sizes) < 2:
        lengths = ", ".join(map(str, PRIMES))
        raise ValueError(f"the network must have axes of other lengths than all of {lengths}.")
    graph = _traced(apply, inputs, sizes[0])
    if any_batch:
        _refuse_other(graph, _traced(apply, inputs, sizes[1]))
    return graph


def _traced(apply: Callable[..., Any], inputs: Sequence[Any], batch: int) -> Graph:
    """The table, traced with that many examples: an axis of this length is that of the batch."""

    def program(*examples: Any) -> Any:
        # Tagged, so that JAX uses no program that it kept of another trace, which would lack the
        # layers' primitive, and keeps none with it for those who call the network.
        with set_xla_metadata(l1jax_trace=str(next(TRACES))), nn.intercept_methods(record):
            return apply(*examples)

    examples = [jax.ShapeDtypeStruct((batch, *x.shape), x.dtype) for x in inputs]
    jaxpr, shapes = jax.make_jaxpr(program, return_shape=True)(*examples)
    table = Table(batch)
    given = []
    for i, x in enumerate(examples):
        given.append(table.add("input", (), x.shape[1:], x.dtype, options={"index": i}))
    outputs = table.run(jaxpr.jaxpr, jaxpr.consts, given)
    if not any(isinstance(output, int) for output in outputs):
        raise ValueError("the network's output must depend on its input.")
    structure = jax.tree.structure(shapes)
    structure = None if jax.tree_util.treedef_is_leaf(structure) else structure
    table.finish(outputs, jaxpr.jaxpr.outvars, structure is None)
    places = tuple(table.places)
    graph = Graph(table.nodes, table.params, table.statistics, table.copies, structure, places)
    return remove_unread(graph)


def _refuse_other(graph: Graph, again: Graph) -> None:
    """Refuse a network that was traced to another table with another number of examples."""
    for node, other, place in zip(graph.nodes, again.nodes, graph.places, strict=False):
        same = repr(node) == repr(other)  # in which what is no number equals itself
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

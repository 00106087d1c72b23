"""Which channels of a network are one: a pass over its graph that labels every entry.

Every output channel of a layer with weights gets a label of its own. Entries that are added to each
other, or that a layer scales by the same number, must be removed together, so their labels become
one; that is how a residual sum ties the layers that write into it.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from l1jax.compaction.connections import group_count, norm_groups
from l1jax.compaction.graph import Graph, collapse
from l1jax.compaction.mixed_axes import pooled_axes
from l1jax.models.layout.axis_operations import POOLINGS
from l1jax.models.layout.layer_kinds import (
    ATTENTION,
    DIAGONAL,
    GROUPED,
    LAYERS,
    LINEAR,
    LOOKUP,
    MIXING,
)
from l1jax.models.layout.node import Node
from l1jax.models.layout.operations import ELEMENTWISE, REDUCTIONS

CONSTANT = -1
"""The label of an entry that does not depend on the input."""
FIXED = 0
"""The label of an entry that varies and cannot be removed, such as the network's input."""

Labels = Int[np.ndarray, "..."]


class Slot(NamedTuple):
    """An axis of a layer's parameter, and the label of each of its indices."""

    layer: str
    param: str
    axis: int
    labels: Labels
    is_written: bool  # whether the layer writes these channels; it reads them otherwise


class LabelledGraph(NamedTuple):
    """What the pass finds. Labels are those of `roots`: equal ones belong to one channel."""

    slots: list[Slot]
    roots: Labels

    def of(self, slot: Slot) -> Labels:
        """Return the channel of each index, FIXED for those that cannot be removed."""
        return np.where(slot.labels < 0, FIXED, self.roots[slot.labels])


class Labeller:
    """Labels of all nodes so far, and which of them are one."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.parents = [FIXED]
        self.values: list[Labels] = []
        self.slots: list[Slot] = []
        self.inputs: dict[str, Labels] = {}
        """By a layer's name, the labels of its input channels."""
        self.outputs: dict[str, Labels] = {}
        """By a layer's name, the labels of its output channels."""

    def root(self, label: int) -> int:
        """Return the label that stands for all that are one with this one."""
        while self.parents[label] != label:
            self.parents[label] = self.parents[self.parents[label]]
            label = self.parents[label]
        return label

    def roots(self, labels: Labels) -> Labels:
        """Return the roots of labels, constants as they are."""
        unique, places = np.unique(labels, return_inverse=True)
        found = [label if label < 0 else self.root(int(label)) for label in unique]
        return np.asarray(np.asarray(found, int)[places].reshape(labels.shape))

    def new(self, count: int) -> Labels:
        """Return new labels."""
        first = len(self.parents)
        self.parents += range(first, first + count)
        return np.arange(first, first + count)

    def join(self, labels: Labels, others: Labels) -> None:
        """Make labels one, entry by entry; constants join nothing. FIXED stays the root."""
        pairs = np.stack([a.reshape(-1) for a in np.broadcast_arrays(labels, others)], 1)
        for a, b in np.unique(pairs[(pairs >= 0).all(1)], axis=0).tolist():
            low, high = sorted((self.root(a), self.root(b)))
            self.parents[high] = low

    def fix(self, labels: Labels) -> None:
        """Say that these entries cannot be removed."""
        self.join(labels, np.full((), FIXED))

    def shape(self, index: int) -> tuple[int, ...]:
        """Return the shape of a node."""
        return self.graph.nodes[index].shape

    def expanded(self, index: int) -> Labels:
        """Return a node's labels for all its entries, in their present roots."""
        return self.roots(np.broadcast_to(self.values[index], self.shape(index)))

    def per_channel(self, index: int) -> Labels:
        """Return the label of each channel of a node; those of a channel's pixels become one."""
        labels = self.roots(self.values[index])
        count = self.shape(index)[-1]
        labels = np.broadcast_to(labels, (*labels.shape[:-1], count)).reshape(-1, count)
        channels = labels.max(0, initial=CONSTANT)
        for row in np.unique(labels, axis=0):
            self.join(row, channels)
        return self.roots(channels)

    def add_slot(self, node: Node, param: str, axis: int, labels: Labels, is_written: bool) -> None:
        """Note the labels of a parameter's axis, if the layer has that parameter.

        Args:
            node: the layer.
            param: the name of the parameter.
            axis: the axis that the labels number.
            labels: of each index of the axis.
            is_written: whether the layer writes these channels; it reads them otherwise.
        """
        name = self.graph.copies.get(node.name, node.name)
        if param in self.graph.params.get(node.name, {}):
            self.slots.append(Slot(name, param, axis, labels, is_written))


def label_graph(graph: Graph) -> LabelledGraph:
    """Label the entries of all nodes, and the axes of the parameters by the channels they serve."""
    labeller = Labeller(graph)
    for node in graph.nodes:
        rule = RULES.get(node.op, _fixed)
        labels = rule(labeller, node)
        labeller.values.append(collapse(labeller.roots(np.asarray(labels, int))))
    labeller.fix(labeller.values[-1])
    roots = labeller.roots(np.arange(len(labeller.parents)))
    return LabelledGraph(labeller.slots, roots)


def _fixed(labeller: Labeller, node: Node) -> Labels:
    """Fix everything that a node reads, as it may mix all of it."""
    for index in node.inputs:
        labeller.fix(labeller.values[index])
    return np.full((1,) * len(node.shape), FIXED)


def _constant(labeller: Labeller, node: Node) -> Labels:
    return np.full((1,) * len(node.shape), CONSTANT)


def _written(labeller: Labeller, node: Node) -> Labels:
    """Return the labels of a layer's output channels; all calls of a layer have the same."""
    name = labeller.graph.copies.get(node.name, node.name)
    if name not in labeller.outputs:
        labeller.outputs[name] = labeller.new(node.shape[-1])
    return labeller.outputs[name]


def _linear(labeller: Labeller, node: Node) -> Labels:
    """Give the outputs labels of their own; tie what a row of the kernel reads in all calls."""
    kernel = np.asarray(labeller.graph.params[node.name]["kernel"])
    inputs = labeller.per_channel(node.inputs[0])
    name = labeller.graph.copies.get(node.name, node.name)
    labeller.join(inputs, labeller.inputs.setdefault(name, inputs))
    outputs = _written(labeller, node)
    groups = group_count(node)
    if groups == 1:
        labeller.add_slot(node, "kernel", -2, inputs, is_written=False)
    elif kernel.shape[-2] == 1:  # each group reads one channel, which its outputs stand for
        labeller.join(outputs, np.repeat(inputs, len(outputs) // groups))
    else:
        labeller.fix(inputs)
    labeller.add_slot(node, "kernel", -1, outputs, is_written=True)
    labeller.add_slot(node, "bias", -1, outputs, is_written=True)
    return _last(outputs, node)


def _diagonal(labeller: Labeller, node: Node) -> Labels:
    channels = labeller.per_channel(node.inputs[0])
    for param in ("kernel", "scale", "bias"):
        labeller.add_slot(node, param, -1, channels, is_written=True)
    return _last(channels, node)


def _group_norm(labeller: Labeller, node: Node) -> Labels:
    """Tie the channels of each group; with a constant among them a group cannot be removed."""
    channels = labeller.per_channel(node.inputs[0])
    groups = channels.reshape(norm_groups(node), -1)
    labeller.join(groups, groups.max(1, keepdims=True))
    some_constant = np.any(groups < 0, axis=1, keepdims=True)
    labeller.fix(np.where(some_constant, groups, CONSTANT))
    largest = np.broadcast_to(groups.max(1, keepdims=True), groups.shape)
    channels = labeller.roots(largest.reshape(-1))
    for param in ("scale", "bias"):
        labeller.add_slot(node, param, -1, channels, is_written=True)
    return _last(channels, node)


def _embed(labeller: Labeller, node: Node) -> Labels:
    outputs = _written(labeller, node)
    labeller.add_slot(node, "embedding", -1, outputs, is_written=True)
    return _last(outputs, node)


def _attention(labeller: Labeller, node: Node) -> Labels:
    """Tie each head of keys and values with the queries that share it."""
    count = node.options["key_value_heads"]
    query, key, value = (labeller.per_channel(index) for index in node.inputs)
    heads = labeller.new(count)
    for labels in (query, key, value):
        labeller.join(labels.reshape(count, -1), heads[:, None])
    return _last(np.repeat(heads, node.shape[-1] // count), node)


def _last(channels: Labels, node: Node) -> Labels:
    return channels.reshape((1,) * (len(node.shape) - 1) + channels.shape)


def _elementwise(labeller: Labeller, node: Node) -> Labels:
    """Tie entries that are combined; a product is zero with its removable factor."""
    rank = len(node.shape)
    operands = [labeller.roots(labeller.values[index]) for index in node.inputs]
    operands = [x.reshape((1,) * rank) if x.ndim != rank else x for x in operands]
    if node.op == "select_n":
        operands = operands[1:]
    result = operands[0]
    for other in operands[1:]:
        if node.op == "mul" or (node.op == "div" and not np.any(other > FIXED)):
            both = (result > FIXED) & (other > FIXED)
            labeller.join(np.where(both, result, CONSTANT), np.where(both, other, CONSTANT))
            result = labeller.roots(np.where(result > FIXED, result, np.maximum(result, other)))
        else:
            labeller.join(result, other)
            result = labeller.roots(np.maximum(result, other))
    return result


def _concatenate(labeller: Labeller, node: Node) -> Labels:
    parts = [labeller.expanded(index) for index in node.inputs]
    return np.concatenate(parts, node.options["axis"])


def _reshape(labeller: Labeller, node: Node) -> Labels:
    return labeller.expanded(node.inputs[0]).reshape(node.shape)


def _broadcast_in_dim(labeller: Labeller, node: Node) -> Labels:
    sizes = [1] * len(node.shape)
    labels = labeller.expanded(node.inputs[0])
    for dim, size in zip(node.options["dims"], labels.shape, strict=True):
        sizes[dim] = size
    return labels.reshape(sizes)


def _transpose(labeller: Labeller, node: Node) -> Labels:
    return labeller.expanded(node.inputs[0]).transpose(node.options["order"])


def _take(labeller: Labeller, node: Node) -> Labels:
    return labeller.expanded(node.inputs[0]).take(node.options["indices"], node.options["axis"])


def _pad(labeller: Labeller, node: Node) -> Labels:
    widths = list(zip(node.options["low"], node.options["high"], strict=True))
    return np.pad(labeller.expanded(node.inputs[0]), widths, constant_values=CONSTANT)


def _mixed(labeller: Labeller, node: Node, axes: Sequence[int], keepdims: bool) -> Labels:
    """Return labels after entries along some axes are mixed; different ones are fixed.

    Args:
        labeller: the labels so far.
        node: what mixes the entries of its first input.
        axes: of that input.
        keepdims: whether the axes stay, with length 1 for any length.
    """
    labels = labeller.expanded(node.inputs[0])
    first = labels.max(tuple(axes), keepdims=True, initial=CONSTANT)
    differ = (labels != first) & (labels >= 0)
    labeller.fix(np.where(differ, labels, CONSTANT))
    labeller.fix(np.where(differ.any(tuple(axes), keepdims=True), first, CONSTANT))
    return labeller.roots(first if keepdims else first.squeeze(tuple(axes)))


def _pool(labeller: Labeller, node: Node) -> Labels:
    axes = [axis for axis, is_mixed in enumerate(pooled_axes(node)) if is_mixed]
    return _mixed(labeller, node, axes, keepdims=True)


def _reduce(labeller: Labeller, node: Node) -> Labels:
    return _mixed(labeller, node, node.options["axes"], keepdims=False)


def _matmul(labeller: Labeller, node: Node) -> Labels:
    return _mixed(labeller, node, [node.options["axis"]], keepdims=True)


RULES: dict[str, Callable[[Labeller, Node], Labels]] = {
    **dict.fromkeys(LAYERS, _fixed),
    **dict.fromkeys(ELEMENTWISE, _elementwise),
    **dict.fromkeys(POOLINGS, _pool),
    **dict.fromkeys(REDUCTIONS, _reduce),
    **dict.fromkeys(LINEAR, _linear),
    **dict.fromkeys(DIAGONAL, _diagonal),
    **dict.fromkeys(LOOKUP, _embed),
    **dict.fromkeys(ATTENTION, _attention),
    **dict.fromkeys(MIXING, _fixed),
    **dict.fromkeys(GROUPED, _group_norm),
    "broadcast_in_dim": _broadcast_in_dim,
    "concatenate": _concatenate,
    "constant": _constant,
    "matmul": _matmul,
    "pad": _pad,
    "reshape": _reshape,
    "take": _take,
    "transpose": _transpose,
}

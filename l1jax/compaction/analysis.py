"""What a network computes that does not depend on its input, and what its output does not depend on.

Both in one pass each, from the inputs down and from the output up, which is exact for a network without
loops: an entry is known if all that it reads is, with a weight that is not zero; an entry is wanted if a wanted
and unknown one reads it.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from l1jax.compaction import axes, layers
from l1jax.compaction.graph import Graph, Masks, Node, Tree, along_axes, collapsed, full, outer
from l1jax.compaction.operations import ELEMENTWISE, REDUCTIONS, wide


class Fact(NamedTuple):
    """Which entries of one example are known, and their values; axes of length 1 stand for all indices."""

    known: np.ndarray
    value: (
        np.ndarray
    )  # float64, or of the node's own type if that is no float; 0 where it is not known

    def whole(self, shape: tuple[int, ...]) -> "Fact":
        """With all indices of each axis."""
        return Fact(np.broadcast_to(self.known, shape), np.broadcast_to(self.value, shape))


def fact(known: np.ndarray, value: np.ndarray) -> Fact:
    """A fact in its shortest form."""
    return Fact(collapsed(known), collapsed(np.where(known, value, np.zeros((), value.dtype))))


def facts(graph: Graph) -> list[Fact]:
    """What is known of each node."""
    found: list[Fact] = []
    for node in graph.nodes:
        with np.errstate(all="ignore"):  # of what is not known
            found.append(_forward(node, graph, [found[i] for i in node.inputs]))
    return found


FILLING = (
    0.25  # share of an axis, from which on known entries among unknown ones are filled in behind
)


def kept_entries(graph: Graph, known: list[Fact]) -> list[Masks]:
    """Of each node the indices of each axis that have to be computed; an empty mask if nothing has.

    Where a layer's known outputs are needed beside unknown ones, as in a sum of which the other term is unknown,
    they are left out and filled in behind, which is a pass over the array: only if they are not few.
    """
    wanted: list[Masks | None] = [None] * len(graph.nodes)
    wanted[-1] = full(graph.nodes[-1].shape)
    kept: list[Masks] = [()] * len(graph.nodes)
    for i, node in reversed(list(enumerate(graph.nodes))):
        demand = wanted[i]
        nothing = tuple(np.zeros(n, bool) for n in node.shape) or (np.zeros(1, bool),)
        if demand is None or node.op == "constant":
            kept[i] = nothing
            continue
        live = np.asarray(outer(demand) & ~known[i].known)
        if not live.any():
            kept[i] = nothing
            continue
        few = [
            a if (b & ~a).sum() >= FILLING * b.sum() else a | b
            for a, b in zip(along_axes(live), demand, strict=True)
        ]
        kept[i] = computed(node, tuple(few), graph)
        for j, masks in zip(node.inputs, wants(node, kept[i], graph, known), strict=True):
            seen = wanted[j]
            wanted[j] = (
                masks if seen is None else tuple(a | b for a, b in zip(seen, masks, strict=True))
            )
    return kept


def computed(node: Node, live: Masks, graph: Graph) -> Masks:
    """What of a node is computed where this is needed."""
    if node.op == "input" or node.op in layers.MIXING:
        return full(node.shape)
    if node.op in layers.LAYERS:
        return (*full(node.shape[:-1]), live[-1])
    if node.op in axes.WINDOWS:
        return axes.filled(node, live)
    if node.op == "reshape":
        shape = graph.nodes[node.inputs[0]].shape
        while True:
            inside = along_axes(outer(live).reshape(shape))
            grown = along_axes(outer(inside).reshape(node.shape))
            if all(np.array_equal(a, b) for a, b in zip(live, grown, strict=True)):
                return live
            live = grown
    return live


def wants(node: Node, kept: Masks, graph: Graph, known: list[Fact]) -> list[Masks]:
    """What a node reads of each of its inputs; of a linear layer without what is known, which its bias takes in."""
    shapes = [graph.nodes[i].shape for i in node.inputs]
    match node.op:
        case "input" | "constant":
            return []
        case "reshape":
            return [along_axes(outer(kept).reshape(shapes[0]))]
        case "broadcast_in_dim":
            dims = node.options["dims"]
            one = np.ones(1, bool)
            return [
                tuple(
                    kept[d] if n > 1 or node.shape[d] == 1 else one
                    for d, n in zip(dims, shapes[0], strict=True)
                )
            ]
        case "transpose":
            return [tuple(kept[node.options["order"].index(a)] for a in range(len(kept)))]
        case "concatenate":
            axis, start, parts = node.options["axis"], 0, []
            for shape in shapes:
                part = kept[axis][start : start + shape[axis]]
                start += shape[axis]
                others = kept if part.any() else tuple(np.zeros_like(mask) for mask in kept)
                parts.append((*others[:axis], part, *others[axis + 1 :]))
            return parts
        case "take":
            axis = node.options["axis"]
            mask = np.zeros(shapes[0][axis], bool)
            mask[np.array(node.options["indices"])[kept[axis]]] = True
            return [(*kept[:axis], mask, *kept[axis + 1 :])]
        case "pad":
            low = node.options["low"]
            return [tuple(mask[a : a + n] for mask, a, n in zip(kept, low, shapes[0], strict=True))]
        case "matmul":
            matrix = known[node.inputs[1]].whole(shapes[1]).value
            return axes.factors(node, kept, matrix)
    if node.op in ELEMENTWISE:
        return [_broadcast(kept, shape) for shape in shapes]
    if node.op in axes.WINDOWS:
        return [axes.filled(node, kept, shapes[0])]
    if node.op in REDUCTIONS:
        inner = iter(kept)
        over = node.options["axes"]
        return [
            tuple(np.ones(n, bool) if a in over else next(inner) for a, n in enumerate(shapes[0]))
        ]
    others = [full(shape) for shape in shapes[1:]]
    if node.op in layers.LINEAR:
        read = layers.connections(node, graph.params[node.name])[:, kept[-1]].any(1)
        read = read & ~known_channels(known[node.inputs[0]], shapes[0])
        return [(*full(shapes[0][:-1]), read), *others]
    if node.op in layers.DIAGONAL:
        read = kept[-1] & layers.scaled_channels(node, graph.params[node.name])
        return [(*full(shapes[0][:-1]), read), *others]
    return [full(shape) for shape in shapes]


def _broadcast(kept: Masks, shape: tuple[int, ...]) -> Masks:
    """Of an operand that has fewer indices on some axes, or none."""
    return tuple(
        mask if n > 1 or len(mask) == 1 else np.ones(1, bool)
        for mask, n in zip(kept, shape, strict=False)
    )


def _forward(node: Node, graph: Graph, inputs: list[Fact]) -> Fact:
    """What is known of a node."""
    shapes, options = [graph.nodes[i].shape for i in node.inputs], node.options
    one = (1,) * len(node.shape)
    nothing = Fact(np.zeros(one, bool), np.zeros(one, wide(node.dtype)))
    match node.op:
        case "input":
            return nothing
        case "constant":
            value = np.asarray(options["value"] if "value" in options else graph.params[node.name])
            value = value.astype(wide(node.dtype))
            return fact(np.ones(value.shape, bool), value)
        case "reshape":
            known, value = (array.reshape(node.shape) for array in inputs[0].whole(shapes[0]))
            return fact(known, value)
        case "broadcast_in_dim":
            sizes = [1] * len(node.shape)
            for d, n in zip(options["dims"], inputs[0].known.shape, strict=True):
                sizes[d] = n
            values = [1] * len(node.shape)
            for d, n in zip(options["dims"], inputs[0].value.shape, strict=True):
                values[d] = n
            return Fact(inputs[0].known.reshape(sizes), inputs[0].value.reshape(values))
        case "transpose":
            return Fact(*(array.transpose(options["order"]) for array in inputs[0]))
        case "concatenate":
            wholes = [f.whole(shape) for f, shape in zip(inputs, shapes, strict=True)]
            return fact(
                *(np.concatenate(arrays, options["axis"]) for arrays in zip(*wholes, strict=True))
            )
        case "take":
            return fact(
                *(a.take(options["indices"], options["axis"]) for a in inputs[0].whole(shapes[0]))
            )
        case "pad":
            around = list(zip(options["low"], options["high"], strict=True))
            known, value = inputs[0].whole(shapes[0])
            return fact(
                np.pad(known, around, constant_values=True),
                np.pad(value, around, constant_values=options["value"]),
            )
        case "matmul":
            return fact(
                *axes.product(node, *inputs[0].whole(shapes[0]), inputs[1].whole(shapes[1]).value)
            )
    if node.op in ELEMENTWISE:
        return _elementwise(node, inputs, len(node.shape))
    if node.op in axes.WINDOWS:
        return fact(*axes.pooled(node, *inputs[0].whole(shapes[0])))
    if node.op in REDUCTIONS:
        known, value = inputs[0].whole(shapes[0])
        reduced = np.asarray(REDUCTIONS[node.op](np, value, **options)).astype(wide(node.dtype))
        return fact(np.asarray(known.all(options["axes"])), reduced)
    if node.op in layers.LOOKUP:
        return _lookup(node, graph)
    if node.op in layers.LINEAR:
        return _linear(node, graph, inputs[0], shapes[0])
    if node.op in layers.DIAGONAL:
        return _diagonal(node, graph, inputs[0])
    return nothing


def _elementwise(node: Node, inputs: list[Fact], rank: int) -> Fact:
    """Known where all operands are, or one factor is a known zero."""
    inputs = [
        f if f.known.ndim == rank else Fact(*(a.reshape((1,) * rank) for a in f)) for f in inputs
    ]
    values = [f.value for f in inputs]
    value = np.asarray(ELEMENTWISE[node.op](np, *values, **node.options)).astype(wide(node.dtype))
    known = np.asarray(np.logical_and.reduce(np.broadcast_arrays(*(f.known for f in inputs))))
    if node.op == "mul":
        zero = [f.known & (f.value == 0) for f in inputs]
        known = np.asarray(known | zero[0] | zero[1])
    return fact(known, value)


def _lookup(node: Node, graph: Graph) -> Fact:
    """A channel is known if all rows of the table have the same in it."""
    table = np.asarray(graph.params[node.name]["embedding"], np.float64)
    shape = (1,) * (len(node.shape) - 1) + node.shape[-1:]
    return fact((table == table[0]).all(0).reshape(shape), table[0].reshape(shape))


def _linear(node: Node, graph: Graph, x: Fact, shape: tuple[int, ...]) -> Fact:
    """A channel is known if every channel that it reads is known at every pixel."""
    params = graph.params[node.name]
    unread = known_channels(x, shape)
    connected = layers.connections(node, params)
    known = ~np.any(connected & ~unread[:, None], axis=0)
    value = np.zeros(node.shape[-1:])
    if known.any():
        constant = unread & np.any(connected[:, known], axis=1)
        inputs = np.where(constant, np.broadcast_to(x.value, shape), 0)
        if np.any(inputs):
            value = evaluate(node, params, inputs)
        elif "bias" in params:
            value = np.asarray(params["bias"], np.float64)
    rank = len(node.shape)
    return fact(
        known.reshape((1,) * (rank - 1) + known.shape),
        value.reshape((1,) * (rank - value.ndim) + value.shape),
    )


def known_channels(x: Fact, shape: tuple[int, ...]) -> np.ndarray:
    """Which channels are known at every pixel."""
    return np.asarray(np.broadcast_to(x.known, shape).all(tuple(range(len(shape) - 1))))


def _diagonal(node: Node, graph: Graph, x: Fact) -> Fact:
    """A channel is known if its input is, or is not read; a class-conditional one if all classes agree, too."""
    params, statistics = graph.params[node.name], graph.statistics.get(node.name, {})
    read = layers.scaled_channels(node, params)
    known, value = x.known | ~read, np.where(x.known, x.value, 0)
    if node.op == "basis":
        kernel = np.asarray(params["kernel"], np.float64)[:, :, 0]
        return fact(known[None, None], kernel * value)
    scale, shift = affine(node, params, statistics)
    if scale.ndim > 1:
        known = known & ((scale == scale[0]).all(0) | ~read) & (shift == shift[0]).all(0)
        scale, shift = scale[0], shift[0]
    return fact(known, value * scale + shift)


def affine(node: Node, params: Tree, statistics: Tree) -> tuple[np.ndarray, np.ndarray]:
    """Scale and shift of each channel, and class if conditional, that a norm amounts to in inference."""
    channels = node.shape[-1]
    scale, shift = (
        np.asarray(params.get(key, default), np.float64) * np.ones(channels)
        for key, default in (("scale", 1.0), ("bias", 0.0))
    )
    moments: Mapping[str, Any] = statistics.get("moments", statistics)
    if moments:
        mean, variance = (np.asarray(moments[key], np.float64) for key in ("mean", "var"))
        scale = scale / np.sqrt(variance + node.options.get("epsilon", 1e-5))
        shift = shift - scale * mean
    return scale, shift


def evaluate(node: Node, params: Tree, x: np.ndarray, bias: bool = True) -> np.ndarray:
    """A layer's output of one example, in float64."""
    options = {**node.options, "dtype": None}
    if "preferred_element_type" in options:
        options["preferred_element_type"] = None
    if not bias:
        options["use_bias"] = False
    with jax.enable_x64(True):
        exact = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
        module = layers.build(node._replace(options=options), train=False)
        call = jax.jit(lambda p, x: module.apply({"params": p}, x))
        return np.asarray(call(exact, np.asarray(x, np.float64)[None]))[0]

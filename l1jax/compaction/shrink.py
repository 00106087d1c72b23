"""The network without what is known and what is not needed."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from l1jax.compaction import layers
from l1jax.compaction.analysis import evaluate, facts, kept_entries, known_channels, wants
from l1jax.compaction.graph import Graph, Masks, Node, cleaned, collapsed, counts, full
from l1jax.compaction.operations import ELEMENTWISE, wide


def shrink(graph: Graph) -> Graph:
    """Remove every channel that is constant or that nothing reads.

    What a layer read of constants becomes part of its bias, exactly. Where that is not the same at every
    pixel, as at the borders of a convolution that pads with zeros, the layer gets one more input channel
    instead, which is 1 everywhere and stands for all constant ones: it is padded as they were. Constants
    that themselves differ from pixel to pixel become a map that is added.
    """
    return _Shrinker(graph).run()


class _Shrinker:
    """The new table as it is made; `made` leads from an old node to the new one, where there is one."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.facts = graph, facts(graph)
        self.kept = kept_entries(graph, self.facts)
        self.nodes: list[Node] = []
        self.params: dict[str, Any] = {}
        self.statistics: dict[str, Any] = {}
        self.made: dict[int, int] = {}
        self.adapted: dict[Any, int] = {}

    def run(self) -> Graph:
        for i, node in enumerate(self.graph.nodes):
            if node.op == "input":
                self.made[i] = self.add(node)
            elif all(mask.any() for mask in self.kept[i]):
                self.made[i] = self.node(i, node)
        last = len(self.graph.nodes) - 1
        if self.graph.nodes[last].op != "tuple":
            output = self.operand(last, full(self.graph.nodes[last].shape))
            self.nodes.append(_identity(self.nodes, output))
        return cleaned(
            self.graph._replace(
                nodes=self.nodes, params=self.params, statistics=self.statistics, places=()
            )
        )

    def add(self, node: Node) -> int:
        """Add a node; the choice of indices from a choice is one choice."""
        below = self.nodes[node.inputs[0]] if node.op == "take" else None
        if below and below.op == "take" and below.options["axis"] == node.options["axis"]:
            indices = tuple(below.options["indices"][i] for i in node.options["indices"])
            return self.add(
                node._replace(inputs=below.inputs, options={**node.options, "indices": indices})
            )
        if below and tuple(node.options["indices"]) == tuple(
            range(below.shape[node.options["axis"]])
        ):
            return node.inputs[0]
        self.nodes.append(node)
        return len(self.nodes) - 1

    def node(self, i: int, node: Node) -> int:
        """Make what is kept of a node from what is kept of its inputs."""
        if node.op in layers.LINEAR:
            return self.linear(i, node)
        kept, reads = self.kept[i], wants(node, self.kept[i], self.graph, self.facts)
        shape, options = counts(kept), dict(node.options)
        if node.op in layers.LAYERS:
            return self.channelwise(i, node)
        if node.op in ELEMENTWISE:
            return self.add(
                node._replace(inputs=self.operands(node, reads, broadcast=True), shape=shape)
            )
        if node.op == "concatenate":
            pairs = [
                (j, masks)
                for j, masks in zip(node.inputs, reads, strict=True)
                if all(m.any() for m in masks)
            ]
            inputs = tuple(self.operand(j, masks) for j, masks in pairs)
            return (
                inputs[0]
                if len(inputs) == 1
                else self.add(node._replace(inputs=inputs, shape=shape))
            )
        inputs = self.operands(node, reads, broadcast=node.op == "broadcast_in_dim")
        if node.op == "reshape" and self.nodes[inputs[0]].shape == shape:
            return inputs[0]
        if node.op == "take":
            axis = node.options["axis"]
            places = np.cumsum(reads[0][axis]) - 1
            options["indices"] = tuple(
                places[np.array(node.options["indices"])[kept[axis]]].tolist()
            )
        if node.op == "pad":
            options["low"] = tuple(
                int(mask[:n].sum()) for mask, n in zip(kept, options["low"], strict=True)
            )
            high = zip(kept, options["high"], strict=True)
            options["high"] = tuple(int(mask[len(mask) - n :].sum()) for mask, n in high)
        return self.add(node._replace(inputs=inputs, shape=shape, options=options))

    def operands(
        self, node: Node, reads: Sequence[Masks], broadcast: bool = False
    ) -> tuple[int, ...]:
        return tuple(
            self.operand(j, masks, broadcast) for j, masks in zip(node.inputs, reads, strict=True)
        )

    def operand(self, i: int, want: Masks, broadcast: bool = False) -> int:
        """These entries of an old node: taken from the new one, and filled in where they are known.

        What is neither kept nor known is not needed and becomes 0. Constants keep their axes of length 1
        if `broadcast`.
        """
        key = (i, broadcast, *(mask.tobytes() for mask in want))
        if key not in self.adapted:
            self.adapted[key] = (
                self.adapt(i, want) if i in self.made else self.known(i, want, broadcast)
            )
        return self.adapted[key]

    def adapt(self, i: int, want: Masks) -> int:
        index, have, dtype = self.made[i], list(self.kept[i]), self.graph.nodes[i].dtype
        for axis, mask in enumerate(want):
            if np.array_equal(have[axis], mask):
                continue
            places, missing = np.cumsum(have[axis]) - 1, mask & ~have[axis]
            if missing.any():
                places[missing] = have[axis].sum() + np.arange(missing.sum())
                filling = self.known(i, (*have[:axis], missing, *have[axis + 1 :]))
                shape = [*counts(tuple(have))]
                shape[axis] += int(missing.sum())
                index = self.add(
                    Node(
                        "concatenate", (index, filling), tuple(shape), dtype, options={"axis": axis}
                    )
                )
            have[axis] = mask
            options = {"axis": axis, "indices": tuple(places[mask].tolist())}
            index = self.add(Node("take", (index,), counts(tuple(have)), dtype, options=options))
        return index

    def known(self, i: int, want: Masks, broadcast: bool = False) -> int:
        """Known values of an old node, as a constant."""
        node = self.graph.nodes[i]
        value = (
            np.broadcast_to(self.facts[i].value, node.shape)[np.ix_(*want)]
            if want
            else self.facts[i].value
        )
        return self.constant(
            value, node.dtype, node.name if node.op == "constant" else "", broadcast
        )

    def constant(
        self, value: np.ndarray, dtype: str, name: str = "", broadcast: bool = False
    ) -> int:
        """Add a constant, as parameters of this name if it is more than one number."""
        shape, value = value.shape, collapsed(value)
        if wide(dtype) == np.float64 and value.size > 1:
            name = self.unused(name, value)
            self.params[name] = value
            node = Node("constant", (), value.shape, dtype, name)
        else:
            plain = value.astype(wide(dtype))
            plain = plain.reshape(()) if plain.size == 1 else plain
            node = Node("constant", (), plain.shape, dtype, options={"value": plain.tolist()})
        index = self.add(node)
        if broadcast:
            return index
        dims = tuple(range(len(node.shape)))
        return self.add(Node("broadcast_in_dim", (index,), shape, dtype, options={"dims": dims}))

    def unused(self, name: str, value: np.ndarray) -> str:
        """A name for a constant, that of the network unless something else has it."""
        count, found = len(self.nodes), name
        while not found or (
            found in self.params and not np.array_equal(self.params[found], value, equal_nan=True)
        ):
            found = f"{name or 'constant'}_{count}"
            count += 1
            if found in self.graph.params:
                found = ""
        return found

    def channelwise(self, i: int, node: Node) -> int:
        """A norm and the like, of fewer channels."""
        mask = self.kept[i][-1]
        reads = wants(node, self.kept[i], self.graph, self.facts)
        if node.op in layers.DIAGONAL:  # it computes every channel from something, be it not read
            reads = [(*reads[0][:-1], mask), *reads[1:]]

        def cut(leaf: Any) -> Any:
            return leaf if node.op in layers.MIXING else np.asarray(leaf)[..., mask]

        self.params[node.name] = jax.tree.map(cut, self.graph.params[node.name])
        if node.name in self.graph.statistics:
            self.statistics[node.name] = jax.tree.map(cut, self.graph.statistics[node.name])
        return self.add(
            node._replace(inputs=self.operands(node, reads), shape=counts(self.kept[i]))
        )

    def linear(self, i: int, node: Node) -> int:
        """A dense or convolutional layer of fewer channels, what it read of constants put elsewhere."""
        params, source = self.graph.params[node.name], node.inputs[0]
        kernel = np.asarray(params["kernel"], np.float64)
        outputs, shape = self.kept[i][-1], self.graph.nodes[source].shape
        read = layers.connections(node, params)[:, outputs].any(1)
        known = known_channels(self.facts[source], shape)
        bias = np.asarray(params["bias"], np.float64) if "bias" in params else None
        constants = np.where(read & known, np.broadcast_to(self.facts[source].value, shape), 0)
        row, offset = None, None
        if constants.any():
            one = collapsed(constants)
            if one.size == one.shape[-1]:  # the same at every pixel
                row = constant_row(node, kernel, one.reshape(-1))
            else:
                offset = evaluate(node, params, constants, bias=False)[..., outputs]
        if row is not None and layers.sees_no_border(node):
            bias = (0 if bias is None else bias) + row.sum(tuple(range(row.ndim - 1)))
            row = None
        index = self.operand(source, (*full(shape[:-1]), read & ~known))
        index = self.smaller(i, node, index, np.flatnonzero(read & ~known), kernel, row, bias)
        if offset is None:
            return index
        added = self.constant(offset, node.dtype, f"{node.name}_offset", broadcast=True)
        return self.add(Node("add", (index, added), self.nodes[index].shape, node.dtype))

    def smaller(
        self,
        i: int,
        node: Node,
        index: int,
        inputs: np.ndarray,
        kernel: np.ndarray,
        row: np.ndarray | None,
        bias: np.ndarray | None,
    ) -> int:
        """A linear layer that reads these input channels, and one more that is 1 if there is a `row` for it.

        Each group of channels has as many inputs and outputs as the largest; what is too many is multiplied
        by zero, or not read.
        """
        outputs, groups = np.flatnonzero(self.kept[i][-1]), layers.groups(node)
        per_in, per_out = kernel.shape[-2], kernel.shape[-1] // groups
        by_group = []
        for g in range(groups):
            own = outputs[outputs // per_out == g]
            if not own.size:
                continue
            places = np.flatnonzero(inputs // per_in == g)
            part = kernel[..., inputs[places] - g * per_in, :][..., own]
            if row is not None and row[..., own].any():
                part, places = (
                    np.concatenate([part, row[..., own]], -2),
                    np.append(places, len(inputs)),
                )
            by_group.append((own, places, part))
        if row is not None and any(len(inputs) in places for _, places, _ in by_group):
            index = self.with_ones(index)
        width, height = (max(len(group[k]) for group in by_group) for k in (1, 0))
        order = np.concatenate([np.resize(places, width) for _, places, _ in by_group])
        index = self.taken(index, order)
        parts = [np.pad(p, [(0, 0)] * (p.ndim - 2) + [(0, width - p.shape[-2]), (0, height - p.shape[-1])])
                 for *_, p in by_group]  # fmt: skip
        params = {"kernel": np.concatenate(parts, -1)}
        if bias is not None and (bias[outputs].any() or "bias" in self.graph.params[node.name]):
            params["bias"] = np.concatenate(
                [np.pad(bias[own], (0, height - len(own))) for own, *_ in by_group]
            )
        self.params[node.name] = params
        options = {**node.options, "use_bias": "bias" in params}
        for key in ("groups", "feature_group_count"):
            if key in options:
                options[key] = len(by_group)
        shape = (*node.shape[:-1], height * len(by_group))
        index = self.add(node._replace(inputs=(index,), shape=shape, options=options))
        return self.taken(
            index,
            np.concatenate([g * height + np.arange(len(o)) for g, (o, *_) in enumerate(by_group)]),
        )

    def taken(self, index: int, order: np.ndarray) -> int:
        """These channels."""
        node = self.nodes[index]
        if np.array_equal(order, np.arange(node.shape[-1])):
            return index
        options = {"axis": len(node.shape) - 1, "indices": tuple(order.tolist())}
        return self.add(
            Node("take", (index,), (*node.shape[:-1], len(order)), node.dtype, options=options)
        )

    def with_ones(self, index: int) -> int:
        """One more channel, which is 1."""
        node = self.nodes[index]
        axis = len(node.shape) - 1
        one = self.constant(np.ones((*node.shape[:-1], 1)), node.dtype)
        shape = (*node.shape[:-1], node.shape[-1] + 1)
        return self.add(
            Node("concatenate", (index, one), shape, node.dtype, options={"axis": axis})
        )


def constant_row(node: Node, kernel: np.ndarray, value: np.ndarray) -> np.ndarray | None:
    """The kernel of one channel that is 1 everywhere, in place of those with these values; None if it is zero."""
    count = layers.groups(node)
    inputs, outputs = kernel.shape[-2], kernel.shape[-1] // count
    parts = [
        np.einsum(
            "i,...io->...o",
            value[g * inputs : (g + 1) * inputs],
            kernel[..., g * outputs : (g + 1) * outputs],
        )
        for g in range(count)
    ]
    row = np.concatenate(parts, -1)[..., None, :]
    return row if row.any() else None


def _identity(nodes: Sequence[Node], index: int) -> Node:
    return Node("reshape", (index,), nodes[index].shape, nodes[index].dtype)

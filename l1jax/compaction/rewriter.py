"""The smaller graph while it is built: adding nodes, constants and selections of entries."""

from typing import Any

import numpy as np
from jaxtyping import Int, Shaped

from l1jax.compaction.constants import Constants
from l1jax.compaction.graph import Graph, Masks, collapse, selected_shape
from l1jax.models.layout.node import Node, Tree
from l1jax.models.layout.operations import numpy_dtype


class Rewriter:
    """Builds a smaller graph from the live entries and the constants of the original one.

    Attributes:
        graph: the original graph.
        constants: for each original node the entries that are constant.
        live: for each original node the entries that are computed in the smaller graph.
        nodes: the smaller graph's nodes so far.
        params: their parameters.
        batch_stats: their batch statistics.
        rewritten: for each original node with live entries, the new node that computes them.
    """

    def __init__(self, graph: Graph, constants: list[Constants], live: list[Masks]) -> None:
        self.graph = graph
        self.constants = constants
        self.live = live
        self.nodes: list[Node] = []
        self.params: dict[str, Any] = {}
        self.batch_stats: dict[str, Tree] = {}
        self.rewritten: dict[int, int] = {}
        self._operands: dict[tuple[object, ...], int] = {}

    def add(self, node: Node) -> int:
        """Add a node and return its index; a selection from a selection becomes one selection."""
        source = self.nodes[node.inputs[0]] if node.op == "take" else None
        if source is not None:
            axis = node.options["axis"]
            indices = node.options["indices"]
            if source.op == "take" and source.options["axis"] == axis:
                merged = tuple(source.options["indices"][i] for i in indices)
                options = {**node.options, "indices": merged}
                return self.add(node._replace(inputs=source.inputs, options=options))
            if tuple(indices) == tuple(range(source.shape[axis])):
                return node.inputs[0]
        self.nodes.append(node)
        return len(self.nodes) - 1

    def operands(
        self, node: Node, demands: list[Masks], keep_short: bool = False
    ) -> tuple[int, ...]:
        """Return new nodes with the demanded entries of every input of an original node.

        Args:
            node: the original node.
            demands: for each of its inputs the entries that it reads.
            keep_short: whether constants may keep length 1 on axes along which they do not vary.
        """
        pairs = zip(node.inputs, demands, strict=True)
        return tuple(self.operand(i, demand, keep_short) for i, demand in pairs)

    def operand(self, i: int, demand: Masks, keep_short: bool = False) -> int:
        """Return a new node with these entries of an original node.

        Live entries are selected from the new node that computes them; constant ones are filled in.
        An entry that is neither is not needed and becomes 0.

        Args:
            i: index of the original node.
            demand: the entries.
            keep_short: whether constants may keep length 1 on axes along which they do not vary.
        """
        key = (i, keep_short, *(mask.tobytes() for mask in demand))
        if key not in self._operands:
            if i in self.rewritten:
                self._operands[key] = self._select_and_fill(i, demand)
            else:
                self._operands[key] = self._constant_entries(i, demand, keep_short)
        return self._operands[key]

    def _select_and_fill(self, i: int, demand: Masks) -> int:
        index = self.rewritten[i]
        available = list(self.live[i])
        dtype = self.graph.nodes[i].dtype
        for axis, mask in enumerate(demand):
            if np.array_equal(available[axis], mask):
                continue
            positions = np.cumsum(available[axis]) - 1
            missing = mask & ~available[axis]
            if missing.any():
                # The constants are appended; the selection below puts them in their places.
                positions[missing] = available[axis].sum() + np.arange(missing.sum())
                masks = (*available[:axis], missing, *available[axis + 1 :])
                filling = self._constant_entries(i, masks)
                shape = list(selected_shape(tuple(available)))
                shape[axis] += int(missing.sum())
                options = {"axis": axis}
                index = self.add(
                    Node("concatenate", (index, filling), tuple(shape), dtype, options=options)
                )
            available[axis] = mask
            options = {"axis": axis, "indices": tuple(positions[mask].tolist())}
            shape = selected_shape(tuple(available))
            index = self.add(Node("take", (index,), shape, dtype, options=options))
        return index

    def _constant_entries(self, i: int, demand: Masks, keep_short: bool = False) -> int:
        node = self.graph.nodes[i]
        value = self.constants[i].value
        if demand:
            value = np.broadcast_to(value, node.shape)[np.ix_(*demand)]
        name = node.name if node.op == "constant" else ""
        return self.constant(value, node.dtype, name, keep_short)

    def constant(
        self,
        value: Shaped[np.ndarray, "..."],
        dtype: str,
        name: str = "",
        keep_short: bool = False,
    ) -> int:
        """Add a constant: a number in the table, or parameters if it is more than one number.

        Args:
            value: of one example.
            dtype: type that the network computes with.
            name: of the parameters, if it is free.
            keep_short: whether the constant may keep length 1 on axes along which it does not vary.
        """
        shape = value.shape
        value = collapse(value)
        if numpy_dtype(dtype) == np.float64 and value.size > 1:
            name = self._free_name(name, value)
            self.params[name] = value
            node = Node("constant", (), value.shape, dtype, name)
        else:
            value = value.astype(numpy_dtype(dtype))
            if value.size == 1:
                value = value.reshape(())
            node = Node("constant", (), value.shape, dtype, options={"value": value.tolist()})
        index = self.add(node)
        if keep_short:
            return index
        options = {"dims": tuple(range(len(node.shape)))}
        return self.add(Node("broadcast_in_dim", (index,), shape, dtype, options=options))

    def _free_name(self, name: str, value: Shaped[np.ndarray, "..."]) -> str:
        """Find a name that no other parameters have; an equal constant may share its name."""
        count = len(self.nodes)
        candidate = name
        while not candidate or self._is_taken(candidate, value):
            candidate = f"{name or 'constant'}_{count}"
            count += 1
            if candidate in self.graph.params:
                candidate = ""
        return candidate

    def _is_taken(self, name: str, value: Shaped[np.ndarray, "..."]) -> bool:
        if name not in self.params:
            return False
        return not np.array_equal(self.params[name], value, equal_nan=True)

    def take_channels(self, index: int, order: Int[np.ndarray, " channels"]) -> int:
        """Select channels of a new node, in this order."""
        node = self.nodes[index]
        if np.array_equal(order, np.arange(node.shape[-1])):
            return index
        options = {"axis": len(node.shape) - 1, "indices": tuple(order.tolist())}
        shape = (*node.shape[:-1], len(order))
        return self.add(Node("take", (index,), shape, node.dtype, options=options))

    def append_ones(self, index: int) -> int:
        """Append a channel that is 1 everywhere to a new node."""
        node = self.nodes[index]
        one = self.constant(np.ones((*node.shape[:-1], 1)), node.dtype)
        shape = (*node.shape[:-1], node.shape[-1] + 1)
        options = {"axis": len(node.shape) - 1}
        return self.add(Node("concatenate", (index, one), shape, node.dtype, options=options))

"""The graph of a network while it is traced: adding nodes, constants and transpositions."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
from jax.core import ShapedArray
from jax.extend.core import JaxprEqn, Literal, Var
from jax.typing import DTypeLike
from jaxtyping import Array, Shaped

from l1jax.compaction.layer_calls import LAYER
from l1jax.models.layout.node import Node, Tree, dtype_name


class MovedBatch(NamedTuple):
    """A node that the network computes with its batch axis elsewhere than in front."""

    node: int
    # Position of the batch axis among all axes; the others are in the node's order.
    batch_axis: int


# What a traced value is: a node's index, a node with a moved batch axis, or an array that does not
# depend on the network's input.
Value = int | MovedBatch | Array | np.ndarray | np.generic


def array_type(atom: Var | Literal) -> ShapedArray:
    """Return the shape and the type of an input or output of an equation."""
    return cast(ShapedArray, atom.aval)


class GraphBuilder:
    """Collects the nodes of a traced network.

    Attributes:
        batch_size: the number of examples that the network is traced with. An axis of this length
            in front is the batch axis.
        nodes: the nodes so far.
        places: for each node the modules around it, for messages.
        place: the modules around the equation that is traced now.
        scope: the modules around the calls of the functions that are being inlined.
        params: parameters by the nodes' names.
        batch_stats: batch statistics by the nodes' names.
        copies: the name of each later call of a layer, and the name of the layer's first call.
    """

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self.nodes: list[Node] = []
        self.places: list[str] = []
        self.place = ""
        self.scope: list[str] = []
        self.params: dict[str, Any] = {}
        self.batch_stats: dict[str, Tree] = {}
        self.copies: dict[str, str] = {}

    def add(
        self,
        op: str,
        inputs: Sequence[int],
        shape: Sequence[int],
        dtype: DTypeLike,
        name: str = "",
        options: Mapping[str, Any] | None = None,
    ) -> int:
        """Add a node and return its index.

        Args:
            op: name of the layer or operation.
            inputs: indices of the nodes that it reads.
            shape: of one example.
            dtype: type of its entries.
            name: of its parameters, if it has any.
            options: plain values.
        """
        sizes = tuple(int(size) for size in shape)
        node = Node(op, tuple(inputs), sizes, dtype_name(dtype), name)
        if options is not None:
            node = node._replace(options=options)
        self.nodes.append(node)
        self.places.append(self.place)
        return len(self.nodes) - 1

    def transpose(self, index: int, order: Sequence[int]) -> int:
        """Add a transposition of a node; one of a transposition becomes one transposition."""
        node = self.nodes[index]
        if node.op == "transpose":
            order = [node.options["order"][axis] for axis in order]
            (index,) = node.inputs
            node = self.nodes[index]
        if list(order) == list(range(len(order))):
            return index
        shape = [node.shape[axis] for axis in order]
        options = {"order": tuple(int(axis) for axis in order)}
        return self.add("transpose", (index,), shape, node.dtype, options=options)

    def take(self, index: int, axis: int, indices: Sequence[int]) -> int:
        """Add a selection of indices of a node's axis, unless they are all of them in order.

        Args:
            index: the node.
            axis: of one example, which has no batch axis.
            indices: to keep, in this order.
        """
        node = self.nodes[index]
        shape = list(node.shape)
        if list(indices) == list(range(shape[axis])):
            return index
        shape[axis] = len(indices)
        options = {"axis": axis, "indices": tuple(int(i) for i in indices)}
        return self.add("take", (index,), shape, node.dtype, options=options)

    def constant(self, array: Shaped[np.ndarray | Array, "..."] | float, dtype: DTypeLike) -> int:
        """Add a constant without a batch axis.

        A single number and integers become part of the table; other arrays become parameters.
        """
        array = np.asarray(array)
        if array.dtype.kind in "biu" or array.ndim == 0:
            options = {"value": array.tolist()}
            return self.add("constant", (), array.shape, dtype, options=options)
        name = f"constant_{len(self.nodes)}"
        self.params[name] = array
        return self.add("constant", (), array.shape, dtype, name)

    def example(self, array: Value) -> np.ndarray:
        """Return the example of a constant that has a batch axis of its own.

        Raises:
            ValueError: if the examples differ.
        """
        array = np.asarray(array)
        first = np.broadcast_to(array[:1], array.shape)
        if not np.array_equal(array, first, equal_nan=array.dtype.kind == "f"):
            raise ValueError(
                f"a constant in `{self.place}` cannot be compacted: it differs between the "
                "examples of a batch."
            )
        return array[0]

    def as_node(self, value: Value, dtype: DTypeLike) -> int:
        """Return a node for a value that may be an array with a batch axis of its own."""
        if isinstance(value, int):
            return value
        array = self.example(value)
        index = self.constant(array, dtype)
        options = {"dims": tuple(range(array.ndim))}
        return self.add("broadcast_in_dim", (index,), array.shape, dtype, options=options)

    def as_nodes(self, equation: JaxprEqn, args: Sequence[Value]) -> list[int]:
        """Return nodes for an equation's arguments, see `as_node`."""
        pairs = zip(args, equation.invars, strict=True)
        return [self.as_node(arg, array_type(atom).dtype) for arg, atom in pairs]

    def finish(self, outputs: Sequence[Value], variables: Sequence[Var], single: bool) -> None:
        """Make the output the last node: an array, or a tuple of several arrays.

        Args:
            outputs: what the network returns.
            variables: the jaxpr's variables of these.
            single: whether the output is one array rather than a tree.

        Raises:
            ValueError: if an output has no batch axis in front.
        """
        self.place = ""
        indices = []
        for output, variable in zip(outputs, variables, strict=True):
            array = array_type(variable)
            shape = array.shape
            if isinstance(output, MovedBatch) or not shape or shape[0] != self.batch_size:
                raise ValueError(
                    f"the network's outputs must have the batch in front, not {shape}."
                )
            indices.append(self.as_node(output, array.dtype))
        if not single:
            self.add("tuple", indices, (), np.float32)
        elif indices[0] != len(self.nodes) - 1:
            node = self.nodes[indices[0]]
            self.add("reshape", indices, node.shape, node.dtype)

    def unsupported_error(self, equation: JaxprEqn, why: str) -> ValueError:
        """Make the error for an operation that cannot be compacted; `why` follows the word "it"."""
        what = f"`{equation.primitive.name}`"
        if self.place:
            what += f" in `{self.place}`"
        layer = _layer_inside(equation)
        if layer:
            what += f" around the layer `{layer}`"
        return ValueError(f"{what} cannot be compacted: it {why}.")


def _layer_inside(equation: JaxprEqn) -> str:
    """Return the name of a layer in an operation's own program, such as a loop's body, or ""."""
    for value in equation.params.values():
        parts = value if isinstance(value, tuple | list) else (value,)
        for part in parts:
            program = getattr(part, "jaxpr", part)
            for inner in getattr(program, "eqns", ()):
                if inner.primitive.name == LAYER.name:
                    return inner.params["call"].name or "layer"
                name = _layer_inside(inner)
                if name:
                    return name
    return ""

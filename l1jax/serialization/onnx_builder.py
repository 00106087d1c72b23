"""An ONNX graph as it grows: its nodes, its constants, and sizes that only a run knows."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Shaped

Operand = Shaped[np.ndarray, "..."] | str  # a constant, or the name of what the graph computes
Shape = Sequence[Any]  # of numbers, and of names of axes whose size is not known


class OnnxBuilder:
    """Nodes and constants of an ONNX graph.

    first_input: name of the input whose first axes have the sizes that are not known.
    unknown: their names, in order, such as ("batch",) or ("batch", "length").
    """

    def __init__(self, first_input: str, unknown: Sequence[str] = ("batch",)):
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.first_input = first_input
        self.unknown = tuple(unknown)

    def add(self, kind: str, *inputs: Operand, **attributes: Any) -> str:
        """Append a node and give the name of its output.

        Args:
            kind: the operator's name in ONNX.
            *inputs: names of outputs, or arrays that become constants.
            **attributes: of the operator.
        """
        from onnx import helper

        names = [
            operand if isinstance(operand, str) else self.constant(operand) for operand in inputs
        ]
        self.nodes.append(helper.make_node(kind, names, [f"v{len(self.nodes)}"], **attributes))
        return self.nodes[-1].output[0]

    def constant(self, value: Shaped[np.ndarray, "..."]) -> str:
        """Append a constant and give its name."""
        from onnx import numpy_helper

        self.constants.append(
            numpy_helper.from_array(np.asarray(value, order="C"), f"c{len(self.constants)}")
        )
        return self.constants[-1].name

    def sizes(self, shape: Shape) -> Operand:
        """Give a shape as numbers, which are computed where they are not known.

        Raises:
            NotImplementedError: if a size is neither a number nor that of one axis.
        """
        parts: list[Operand] = []
        for size in shape:
            if isinstance(size, int):
                parts.append(np.array([size], np.int64))
            elif str(size) in self.unknown:
                axis = self.unknown.index(str(size))
                parts.append(self.add("Shape", self.first_input, start=axis, end=axis + 1))
            else:
                raise NotImplementedError(f"the size {size}")
        if all(not isinstance(part, str) for part in parts):
            return np.array(shape, np.int64)
        if len(parts) == 1:
            return parts[0]
        return self.add("Concat", *parts, axis=0)

    def reshape(self, x: Operand, shape: Shape) -> str:
        """Reshape; one size that is not known is −1, several are computed."""
        sizes = [size if isinstance(size, int) else -1 for size in shape]
        if sizes.count(-1) > 1:
            return self.add("Reshape", x, self.sizes(shape))
        return self.add("Reshape", x, np.array(sizes, np.int64))

    def expand(self, x: Operand, old: Shape, new: Shape) -> Operand:
        """Repeat along the axes of size one that are larger in the new shape.

        Args:
            x: what is repeated.
            old: its shape.
            new: the shape afterwards, of as many axes.
        """
        if tuple(old) == tuple(new):
            return x
        larger = [1 if a == b else b for a, b in zip(old, new, strict=True)]
        return self.add("Expand", x, self.sizes(larger))

"""An ONNX graph as it grows: its nodes, its constants, and sizes that only a run knows."""

from collections.abc import Iterable, Sequence
from posixpath import commonpath
from typing import Any

import numpy as np
from jaxtyping import Shaped

Operand = Shaped[np.ndarray, "..."] | str  # a constant, or the name of what the graph computes
Shape = Sequence[Any]  # of numbers, and of names of axes whose size is not known


class OnnxBuilder:
    """Nodes and constants of an ONNX graph.

    nodes: in the order in which they run.
    constants: name → value.
    shapes: name of what the graph computes → its shape, where a whole operation of JAX computes it.
    inputs: names of the inputs; the first axes of the first one have the sizes that are not known.
    output: name of the output.
    unknown: the names of these sizes, in order, such as ("batch",) or ("batch", "length").
    """

    def __init__(self, inputs: Sequence[str], output: str, unknown: Sequence[str] = ("batch",)):
        self.nodes: list[Any] = []
        self.constants: dict[str, np.ndarray] = {}
        self.shapes: dict[str, Shape] = {}
        self.inputs = tuple(inputs)
        self.output = output
        self.unknown = tuple(unknown)
        self._taken = {*inputs, output}
        # By id, with the array, so that no other one gets its id.
        self._sources: dict[int, tuple[np.ndarray, frozenset[str]]] = {}
        self._added: dict[Any, tuple[np.ndarray, str]] = {}  # by id or, if of no parameter, content

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
        output = self._unused(f"v{len(self.nodes)}")
        self.nodes.append(helper.make_node(kind, names, [output], **attributes))
        return output

    def constant(self, value: Shaped[np.ndarray, "..."]) -> str:
        """Return the name of a constant, which tells the parameters that it was made of."""
        sources = self.sources(value)
        content: Any = id(value)
        if not sources:  # such as a shape, which often comes again
            content = (value.dtype.str, value.shape, value.tobytes())
        if content not in self._added:
            name = self._unused(_joined(sources))
            self.constants[name] = np.asarray(value, order="C")
            self._added[content] = (value, name)
        return self._added[content][1]

    def sources(self, *operands: Operand) -> frozenset[str]:
        """Return the paths of the parameters that constants were made of."""
        found: frozenset[str] = frozenset()
        for operand in operands:
            if not isinstance(operand, str) and id(operand) in self._sources:
                found |= self._sources[id(operand)][1]
        return found

    def made_of(self, value: np.ndarray, sources: Iterable[str]) -> np.ndarray:
        """Note which parameters a constant is made of, and return it."""
        self._sources[id(value)] = (value, frozenset(sources))
        return value

    def finish(self, result: Operand) -> None:
        """Give the graph's result the name of its output."""
        if not isinstance(result, str) or result in self.inputs:
            result = self.add("Identity", result)
        (maker,) = [node for node in self.nodes if result in node.output]
        maker.output[0] = self.output
        for node in self.nodes:
            node.input[:] = [self.output if name == result else name for name in node.input]

    def _unused(self, name: str) -> str:
        """Return the name, with a number behind it if it is taken."""
        chosen = name
        count = 1
        while chosen in self._taken:
            count += 1
            chosen = f"{name}_{count}"
        self._taken.add(chosen)
        return chosen

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
                parts.append(self.add("Shape", self.inputs[0], start=axis, end=axis + 1))
            else:
                raise NotImplementedError(f"the size {size}")
        if all(not isinstance(part, str) for part in parts):
            return np.array(shape, np.int64)
        if len(parts) == 1:
            return parts[0]
        return self.add("Concat", *parts, axis=0)

    def reshape(self, x: Operand, shape: Shape) -> Operand:
        """Reshape; one size that is not known is −1, several are computed."""
        sizes = [size if isinstance(size, int) else -1 for size in shape]
        if not isinstance(x, str) and -1 not in sizes:
            return self.made_of(x.reshape(sizes), self.sources(x))
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


def _joined(sources: Iterable[str]) -> str:
    """Name a constant after the parameters that it is made of.

    It has the name of a single one. Several, such as params/norm/scale and statistics/norm/var,
    become norm/scale_var.
    """
    names = sorted(sources)
    if not names:
        return "constant"
    if len(names) == 1:
        return names[0]
    inner = [name.partition("/")[2] for name in names]
    folder = commonpath([name.rpartition("/")[0] for name in inner])
    last = "_".join(name.rpartition("/")[2] for name in inner)
    return "/".join(part for part in (folder, last) if part)

"""Replace groups of ONNX nodes by single ones, such as `LeakyRelu` and `Gemm`.

JAX's programs spell out what its functions do: a leaky ReLU is a comparison, a product and a choice
between two values. Here such groups are found again.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped

from l1jax.serialization.onnx_builder import OnnxBuilder

COMMUTATIVE = frozenset(["Add", "Mul", "Max", "Min"])


class Value(NamedTuple):
    """Stands in a pattern for anything that the graph computes or is given, under a name."""

    name: str


class Number(NamedTuple):
    """Stands in a pattern for a constant of one floating-point number.

    Attributes:
        name: under which it is found; empty if it is known.
        value: which it must be; None for any.
    """

    name: str = ""
    value: float | None = None


class Node(NamedTuple):
    """Stands in a pattern for an operation.

    Attributes:
        kinds: operators that it can be.
        inputs: patterns of its inputs.
        name: under which its output is found; empty if it is not needed.
    """

    kinds: tuple[str, ...]
    inputs: tuple[Any, ...]
    name: str = ""


Pattern = Value | Number | Node
Found = Mapping[str, Any]  # names in a pattern → names of values, and numbers


class Rule(NamedTuple):
    """A pattern, and the single node that computes the same.

    Attributes:
        pattern: of the group of nodes.
        make: (graph, what was found) → the operator, its inputs and its attributes; None if the
            group is none after all.
    """

    pattern: Pattern
    make: Callable[[OnnxBuilder, Found], "Single | None"]


class Single(NamedTuple):
    """A node that replaces a group."""

    kind: str
    inputs: Sequence[str | Shaped[np.ndarray, "..."]]
    attributes: Mapping[str, Any]


def fuse(graph: OnnxBuilder) -> None:
    """Replace the groups of nodes that a rule describes, and remove what is not used any more.

    Args:
        graph: the whole graph, which is changed.
    """
    from onnx import helper

    makers = {node.output[0]: node for node in graph.nodes}
    # Larger groups end later, so they are found before the smaller ones within them.
    for i in reversed(range(len(graph.nodes))):
        node = graph.nodes[i]
        for rule in RULES:
            found = _match(graph, makers, rule.pattern, node.output[0], {})
            single = None if found is None else rule.make(graph, found)
            if single is None:
                continue
            names = [x if isinstance(x, str) else graph.constant(x) for x in single.inputs]
            graph.nodes[i] = helper.make_node(
                single.kind, names, list(node.output), **single.attributes
            )
            makers[node.output[0]] = graph.nodes[i]
            break
    _remove_unused(graph)


def _match(
    graph: OnnxBuilder, makers: Mapping[str, Any], pattern: Pattern, name: str, found: Found
) -> Found | None:
    """Match a value with a pattern; return what was found, together with what was before.

    Args:
        graph: the graph.
        makers: name of a value → the node that computes it.
        pattern: of the value.
        name: the value's.
        found: in other parts of the pattern.
    """
    if isinstance(pattern, Value):
        if found.get(pattern.name, name) != name:
            return None
        return {**found, pattern.name: name}
    if isinstance(pattern, Number):
        value = graph.constants.get(name)
        if value is None or value.size != 1 or value.dtype.kind != "f":
            return None
        number = value.item()
        if pattern.value not in (None, number):
            return None
        return {**found, pattern.name: number}
    node = makers.get(name)
    if node is None or node.op_type not in pattern.kinds:
        return None
    orders = [tuple(node.input)]
    if node.op_type in COMMUTATIVE:
        orders.append(tuple(reversed(node.input)))
    for order in orders:
        if len(order) != len(pattern.inputs):
            continue
        partial: Found | None = found
        for part, operand in zip(pattern.inputs, order, strict=True):
            partial = None if partial is None else _match(graph, makers, part, operand, partial)
        if partial is not None:
            return {**partial, pattern.name: name}
    return None


def _remove_unused(graph: OnnxBuilder) -> None:
    used = {graph.output}
    kept = []
    for node in reversed(graph.nodes):
        if used.intersection(node.output):
            used.update(node.input)
            kept.append(node)
    graph.nodes[:] = reversed(kept)
    for name in set(graph.constants) - used:
        del graph.constants[name]


def _leaky_relu(graph: OnnxBuilder, found: Found) -> Single | None:
    return Single("LeakyRelu", [found["x"]], {"alpha": found["slope"]})


def _leaky_relu_of_maximum(graph: OnnxBuilder, found: Found) -> Single | None:
    if not 0 <= found["slope"] <= 1:
        return None
    return _leaky_relu(graph, found)


def _single(kind: str) -> Callable[[OnnxBuilder, Found], Single | None]:
    return lambda graph, found: Single(kind, [found["x"]], {})


def _clip(graph: OnnxBuilder, found: Found) -> Single | None:
    if not found["low"] <= found["high"]:
        return None
    bounds = [np.array(found[name], np.float32) for name in ("low", "high")]
    return Single("Clip", [found["x"], *bounds], {})


def _gemm(graph: OnnxBuilder, found: Found) -> Single | None:
    """Make one node of a product of matrices and a bias, which is the same for every row."""
    kernel = graph.constants.get(found["kernel"])
    bias = graph.constants.get(found["bias"])
    if kernel is None or bias is None or kernel.ndim != 2:
        return None
    is_of_matrices = len(graph.shapes.get(found["product"], ())) == 2
    is_row = bias.size == kernel.shape[1] == bias.shape[-1]
    is_used_twice = _uses(graph, found["product"]) > 1  # and would be computed twice
    if is_used_twice or not (is_of_matrices and is_row):
        return None
    if _uses(graph, found["bias"]) == 1:
        graph.constants[found["bias"]] = bias.reshape(-1)
    return Single("Gemm", [found[name] for name in ("x", "kernel", "bias")], {})


def _uses(graph: OnnxBuilder, name: str) -> int:
    return sum(list(node.input).count(name) for node in graph.nodes)


X = Value("x")
ZERO = Number(value=0)
ZEROS = Node(("Expand",), (ZERO, Value("shape")))
ONE = Number(value=1)
SLOPE = Number("slope")
SCALED = Node(("Mul",), (SLOPE, X))
IS_POSITIVE = Node(("GreaterOrEqual", "Greater"), (X, ZERO))
IS_NEGATIVE = Node(("LessOrEqual", "Less"), (X, ZERO))
DIFFERENCE = Node(("Sub",), (X, ZERO))
SUM = Node(("Add",), (X, ZERO))
NOT_A_NUMBER = Node(("Not",), (Node(("Equal",), (DIFFERENCE, DIFFERENCE)),))
DECAY = Node(("Exp",), (Node(("Neg",), (Node(("Abs",), (DIFFERENCE,)),)),))
ABOVE_MAXIMUM = Node(("Log",), (Node(("Add",), (ONE, DECAY)),))
SOFTPLUS = Node(("Add",), (Node(("Max",), (X, ZERO)), ABOVE_MAXIMUM))
PRODUCT = Node(("MatMul",), (X, Value("kernel")), "product")
RULES = (
    Rule(Node(("Where",), (IS_POSITIVE, X, SCALED)), _leaky_relu),
    Rule(Node(("Where",), (IS_NEGATIVE, SCALED, X)), _leaky_relu),
    Rule(Node(("Max",), (X, SCALED)), _leaky_relu_of_maximum),
    Rule(
        Node(("Where",), (NOT_A_NUMBER, Node(("Add",), (X, ZERO)), SOFTPLUS)), _single("Softplus")
    ),
    Rule(SOFTPLUS, _single("Softplus")),
    Rule(
        Node(("Div",), (ONE, Node(("Add",), (ONE, Node(("Exp",), (Node(("Neg",), (X,)),)))))),
        _single("Sigmoid"),
    ),
    Rule(Node(("Max",), (X, ZERO)), _single("Relu")),
    Rule(Node(("Where",), (IS_POSITIVE, X, ZERO)), _single("Relu")),
    Rule(Node(("Where",), (IS_POSITIVE, X, ZEROS)), _single("Relu")),
    Rule(Node(("Min",), (Node(("Max",), (X, Number("low"))), Number("high"))), _clip),
    Rule(Node(("Max",), (Node(("Min",), (X, Number("high"))), Number("low"))), _clip),
    Rule(Node(("Add",), (PRODUCT, Value("bias"))), _gemm),
)

"""Verify that a compacted network computes what the original computes, before it is returned.

The network's graph of nodes is called its table here. Three comparisons, on random inputs of
several scales, find three kinds of mistakes:

1. `original` and `table`, in the same precision: does the table compute what the network does?
2. `table_wide` and `exact_wide`, the smaller table, in float64: was all that was removed dead?
3. `table_wide` and `returned`, the network as the caller gets it: is it much further from it than
   `original` is, by rounding?

The names are those of `Outputs`. The first comparison allows for the rounding of the original,
which is the difference of `original` and `original_wide`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from l1jax.compaction.graph import Graph
from l1jax.models.layout.layout_network import LayoutModule
from l1jax.models.layout.node import Node

EXAMPLES = 8  # of each scale
SCALES = (
    (0, 1),
    (0, 1e-3),
    (0, 1e3),
    (1e3, 1),
)  # mean and deviation, in units of the example's root mean square
WILD = 100  # size of integers that no example has
TOLERANCE = 1e-5  # of float32 sums taken in another order
COARSE = 2e-2  # where layers compute in 16 bits
EXACT = 1e-7  # of float64
ROUNDING = 2  # times that of the original: the table, operation by operation
REORDERED = 8  # times that of the original: sums in another order, layers that took in norms
SHARE = 0.99  # of the entries: rounding can move single ones past a jump, such as that of `round`


class MismatchError(ValueError):
    """A compact network computes something else."""


class Group(NamedTuple):
    """Inputs of one scale."""

    name: str
    inputs: list[np.ndarray]


class Outputs(NamedTuple):
    """What the forms of a network give for the same inputs."""

    original: np.ndarray
    original_wide: np.ndarray  # in float64, but for what computes in a type of its own
    table: np.ndarray
    table_wide: np.ndarray  # in float64 throughout
    exact_wide: np.ndarray  # of the smaller table, its parameters not yet rounded
    returned: np.ndarray


def verify_module(
    apply: Callable[..., PyTree],
    variables: PyTree,
    graph: Graph,
    exact: Graph,
    returned: Graph,
    inputs: Sequence[Any],
) -> None:
    """Raise unless a compacted network computes what the original does.

    Args:
        apply: variables, inputs → outputs of the original.
        variables: of the original.
        graph: its table.
        exact: the smaller table, its parameters not yet rounded.
        returned: the same with the parameters that are returned.
        inputs: an example of each, with a batch axis; or its shape and type.

    Raises:
        MismatchError: if an output differs, or none is a finite number.
    """
    groups = random_inputs(inputs)
    floor = COARSE if _computes_in_16_bits(graph) else TOLERANCE
    judged = 0
    for leaf in _computed(apply, variables, (graph, exact, returned), groups):
        for index, group in enumerate(groups):
            rows = slice(index * EXAMPLES, (index + 1) * EXAMPLES)
            judged += _judge(group.name, Outputs(*(array[rows] for array in leaf)), floor)
    if not judged:
        why = "it gives no finite number on random inputs, so that nothing can be compared"
        raise MismatchError(f"the network cannot be compacted: {why}.")


def _computed(
    apply: Callable[..., PyTree],
    variables: PyTree,
    graphs: tuple[Graph, Graph, Graph],
    groups: Sequence[Group],
) -> list[Outputs]:
    """Every output of all forms for the inputs of all groups."""
    graph, exact, returned = graphs
    columns = zip(*(group.inputs for group in groups), strict=True)
    joined = [np.concatenate(parts) for parts in columns]
    given = [jnp.asarray(part) for part in joined]

    def natural(*xs: Any) -> Any:
        return apply(variables, *xs), _run(graph, xs), _run(returned, xs)

    def wide(*xs: Any) -> Any:
        return tuple(_run(_in_float64(table), xs) for table in (graph, exact))

    with jax.default_matmul_precision("highest"):  # GPUs would round to fewer bits
        original, table, smaller = map(_leaves, jax.jit(natural)(*given))
        with jax.enable_x64(True):
            widened = [_wide(part) for part in joined]
            table_wide, exact_wide = map(_leaves, jax.jit(wide)(*widened))
            try:
                more = jax.tree.map(_wide, variables)
                original_wide = _leaves(jax.jit(lambda *xs: apply(more, *xs))(*widened))
            except (
                TypeError,
                ValueError,
            ):  # types that are written down in the network and fit no other ones
                original_wide = original
    forms = (original, original_wide, table, table_wide, exact_wide, smaller)
    return [Outputs(*arrays) for arrays in zip(*forms, strict=True)]


def random_inputs(inputs: Sequence[Any]) -> list[Group]:
    """Draw inputs of every scale: floats, integers that the examples have, and any integers."""
    random = np.random.default_rng(0)
    groups = []
    for mean, deviation in SCALES:
        drawn = [_drawn(random, x, mean, deviation, wild=False) for x in inputs]
        groups.append(Group(f"of mean {mean:g} and deviation {deviation:g}", drawn))
    if any(jnp.issubdtype(x.dtype, jnp.integer) for x in inputs):
        drawn = [_drawn(random, x, 0, 1, wild=True) for x in inputs]
        groups.append(Group("with any integers", drawn))
    return groups


def _drawn(
    random: np.random.Generator,
    x: Any,
    mean: float,
    deviation: float,
    wild: bool,
) -> np.ndarray:
    shape = (EXAMPLES, *x.shape[1:])
    values = np.zeros(0) if isinstance(x, jax.ShapeDtypeStruct) else np.asarray(x)
    given = values.size > 0
    if jnp.issubdtype(x.dtype, jnp.floating):
        scale = float(np.sqrt(np.mean(np.square(values, dtype=np.float64)))) if given else 1.0
        scale = scale if np.isfinite(scale) and scale > 0 else 1.0
        return (scale * random.normal(mean, deviation, shape)).astype(x.dtype)
    if x.dtype == bool:
        return random.random(shape) < 0.5
    if wild:
        lowest = max(-WILD, jnp.iinfo(x.dtype).min)
        return random.integers(lowest, WILD, shape).astype(x.dtype)
    if given:
        return random.choice(np.ravel(values), shape)
    return random.integers(0, 2, shape).astype(x.dtype)


def _judge(which: str, outputs: Outputs, floor: float) -> int:
    """Compare one output; how many of its entries are finite.

    Raises:
        MismatchError: if it differs.
    """
    arrays = [np.asarray(array, np.float64) for array in outputs]
    finite = np.isfinite(arrays[0]) & np.isfinite(arrays[1]) & np.isfinite(arrays[3])
    if not finite.any():
        return 0
    own = Outputs(*(array[finite] for array in arrays))
    scale = float(np.abs(own.original_wide).max()) or 1.0
    error = {
        "rounding": _error(own.original, own.original_wide, 1) / scale,
        "table": _error(own.table, own.original, 1) / scale,
        "smaller": _error(own.exact_wide, own.table_wide, 1) / scale,
        "bits": _error(own.original, own.table_wide, 1) / scale,
        "returned": _error(own.returned, own.table_wide, SHARE) / scale,
    }
    checks = (
        ("its table", error["table"], max(floor, ROUNDING * error["rounding"])),
        ("what is left of it", error["smaller"], EXACT),
        (
            "what is left of it, rounded,",
            error["returned"],
            max(TOLERANCE, REORDERED * error["bits"]),
        ),
    )
    for what, found, most in checks:
        if not found <= most:
            raise MismatchError(
                f"the network cannot be compacted: {what} computes something else. On random "
                f"inputs {which}, outputs differ by {found:.3g} of the largest, and may by "
                f"{most:.3g}. Nothing is returned; please report the network."
            )
    return int(finite.sum())


def _error(found: np.ndarray, wanted: np.ndarray, share: float) -> float:
    """Return the largest difference of that share of the entries; infinite for NaN or infinity."""
    difference = np.abs(found - wanted)
    difference = np.where(np.isfinite(difference), difference, np.inf)
    return float(np.quantile(difference, share, method="lower"))


def _run(graph: Graph, inputs: Sequence[Any]) -> Any:
    variables = jax.tree.map(
        jnp.asarray, {"params": graph.params, "batch_stats": graph.batch_stats}
    )
    first, *others = inputs
    return LayoutModule(graph.nodes, graph.structure).apply(variables, first, False, *others)


def _leaves(outputs: Any) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(outputs)]


def _wide(leaf: Any) -> Any:
    array = np.asarray(leaf)
    floating = jnp.issubdtype(array.dtype, jnp.floating)
    return jnp.asarray(array, np.float64) if floating else jnp.asarray(array)


def _computes_in_16_bits(graph: Graph) -> bool:
    types = {node.dtype for node in graph.nodes}
    types |= {node.options["dtype"] for node in graph.nodes if node.options.get("dtype")}
    found = [jnp.dtype(dtype) for dtype in types]
    return any(jnp.issubdtype(dtype, jnp.floating) and dtype.itemsize < 4 for dtype in found)


def _in_float64(graph: Graph) -> Graph:
    """Return the same table, computing in float64 throughout."""
    nodes = [
        Node(
            node.op,
            node.inputs,
            node.shape,
            _wider(node.dtype),
            node.name,
            _wider_options(node.options),
        )
        for node in graph.nodes
    ]
    params, statistics = (jax.tree.map(_wide, tree) for tree in (graph.params, graph.batch_stats))
    return graph._replace(nodes=nodes, params=params, batch_stats=statistics)


def _wider(dtype: str) -> str:
    return "float64" if jnp.issubdtype(jnp.dtype(dtype), jnp.floating) else dtype


def _wider_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Of a layer no type of its own, of a conversion the wider one."""
    own = dict(options)
    for field in ("dtype", "preferred_element_type"):
        if own.get(field) is not None:
            own[field] = _wider(own[field])
    return own

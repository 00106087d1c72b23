"""From a Linen network's inference to a table of layers and operations."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.core import ShapedArray
from jax.extend.core import Literal, Primitive
from jaxtyping import PyTree

from l1jax.compaction.graph import Graph, Node
from l1jax.compaction.layers import describe
from l1jax.compaction.operations import ELEMENTWISE, REDUCTIONS

BATCH = 509  # examples while tracing: an axis of this length, in front, is that of the batch
LAYER = Primitive("l1jax_layer")  # stands for a layer, whose own operations nobody reads then
LAYER.def_abstract_eval(lambda *_, shape, dtype, **__: ShapedArray(shape, dtype))
INLINED = {"jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call", "checkpoint", "remat", "remat2"}
SKIPPED = {"copy", "copy_p", "stop_gradient", "optimization_barrier", "pvary", "pcast"}


def trace(apply: Callable[..., Any], variables: Mapping[str, PyTree], inputs: Sequence[Any]) -> Graph:
    """Tabulate what a network does in inference.

    Args:
        apply: inputs → outputs, with a batch axis in front of each; applies Linen modules to `variables`.
        variables: concrete, the collections "params" and "batch_stats".
        inputs: for each a `ShapeDtypeStruct` of one example.

    Raises:
        ValueError: if there is an operation whose dependencies between channels are not known, or a
            layer with unusual options, naming it.
    """
    found: dict[str, tuple[str, dict[str, Any]]] = {}

    def record(call: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        with jax.named_scope(context.module.name or type(context.module).__name__):
            output = call(*args, **kwargs)
        kind = describe(context.module) if context.method_name == "__call__" else None
        if kind is None:
            return output
        name = "/".join(context.module.path)
        arrays = [a for a in (*args, *kwargs.values()) if hasattr(a, "shape")]
        found[name] = kind
        return LAYER.bind(*arrays, shape=output.shape, dtype=output.dtype, layer=name)

    examples = [jax.ShapeDtypeStruct((BATCH, *x.shape), x.dtype) for x in inputs]
    with nn.intercept_methods(record):
        jaxpr = jax.make_jaxpr(lambda *xs: apply(*xs))(*examples)  # a new function, which JAX has not traced yet
    if len(jaxpr.out_avals) != 1:
        raise ValueError(f"the network must have one output, not {len(jaxpr.out_avals)}.")
    table = _Table(found, variables)
    given = [table.add("input", (), x.shape[1:], x.dtype, options={"index": i}) for i, x in enumerate(examples)]
    (output,) = table.run(jaxpr.jaxpr, jaxpr.consts, given)
    if not isinstance(output, int):
        raise ValueError("the network's output must depend on its input.")
    if output != len(table.nodes) - 1:
        node = table.nodes[output]
        table.add("reshape", (output,), node.shape, node.dtype)
    return Graph(table.nodes, table.params, table.statistics)


class _Table:
    """Nodes as they are found. A value is the index of a node, or an array that has no batch axis."""

    def __init__(self, found: Mapping[str, tuple[str, dict[str, Any]]], variables: Mapping[str, PyTree]) -> None:
        self.found, self.variables = found, variables
        self.nodes: list[Node] = []
        self.params: dict[str, Any] = {}
        self.statistics: dict[str, Any] = {}
        self.scope: list[str] = []  # where the function that is inlined is called

    def add(self, op: str, inputs: Sequence[int], shape: Sequence[int], dtype: Any, name: str = "", **more: Any) -> int:
        self.nodes.append(Node(op, tuple(inputs), tuple(map(int, shape)), jnp.dtype(dtype).name, name, **more))
        return len(self.nodes) - 1

    def run(self, jaxpr: Any, consts: Sequence[Any], args: Sequence[Any]) -> list[Any]:
        """Add what a jaxpr's outputs need; its outputs."""
        values: dict[Any, Any] = {}
        for var, value in zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True):
            values[var] = value

        def read(atom: Any) -> Any:
            return np.asarray(atom.val) if isinstance(atom, Literal) else values[atom]

        for equation in _needed(jaxpr):
            outputs = self.equation(equation, [read(atom) for atom in equation.invars])
            values.update(zip(equation.outvars, outputs, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def equation(self, equation: Any, args: list[Any]) -> list[Any]:
        """Add one equation; its outputs."""
        op, params = equation.primitive.name, equation.params
        if op in SKIPPED:
            return args
        if op in INLINED:
            inner = next(params[key] for key in ("jaxpr", "call_jaxpr", "fun_jaxpr") if key in params)
            self.scope.append(str(equation.source_info.name_stack))
            outputs = self.run(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), args)
            self.scope.pop()
            return outputs
        out = equation.outvars[0].aval
        batched = out.ndim > 0 and out.shape[0] == BATCH
        if not batched and not any(isinstance(arg, int) for arg in args):
            if op == "convert_element_type" and out.dtype == jnp.bfloat16:
                return args  # the table keeps the number that was written, and rounds when it runs
            bound = equation.primitive.bind(*args, **params)
            return list(bound) if equation.primitive.multiple_results else [bound]
        if not batched:
            raise self.refused(equation, "mixes the examples of a batch")
        if op == "l1jax_layer":
            return [self.layer(params["layer"], args, out)]
        if op in ELEMENTWISE and (op != "select_n" or equation.invars[0].aval.dtype == bool):
            return [self.elementwise(op, equation, args, out)]
        handler = getattr(self, f"_{op}", None)
        if op in REDUCTIONS:
            handler = self._reduce
        if handler is None:
            raise self.refused(equation, "is not among the operations whose dependencies between channels are known")
        return handler(equation, args, out)

    def refused(self, equation: Any, why: str) -> ValueError:
        where = "/".join(filter(None, [*self.scope, str(equation.source_info.name_stack)]))
        inside = f" in `{where}`" if where else ""
        return ValueError(f"`{equation.primitive.name}`{inside} cannot be compacted: it {why}.")

    def layer(self, name: str, args: list[Any], out: Any) -> int:
        """Add a layer with its parameters."""
        (op, options), key = self.found[name], name or "layer"
        if key in self.params:
            raise ValueError(f"`{name}` cannot be compacted: it is called more than once.")
        if not all(isinstance(arg, int) for arg in args):
            raise ValueError(f"`{name}` cannot be compacted: it must be called on the batch alone.")
        if op == "take":
            return self.add(op, args, out.shape[1:], out.dtype, options=options)
        own = {}
        for collection in ("params", "batch_stats"):
            tree = self.variables.get(collection, {})
            for part in name.split("/") if name else []:
                tree = tree.get(part, {})
            own[collection] = jax.tree.map(np.asarray, dict(tree))
        self.params[key] = own["params"]
        if own["batch_stats"]:
            self.statistics[key] = own["batch_stats"]
        return self.add(op, args, out.shape[1:], out.dtype, key, options=options)

    def constant(self, array: Any, dtype: Any) -> int:
        """Add an array that has no batch axis: numbers in the table where it is one or they are not to be trained."""
        array = np.asarray(array)
        exact = array.dtype.kind in "biu" or array.ndim == 0
        name = "" if exact else f"constant_{len(self.nodes)}"
        if not exact:
            self.params[name] = array
        options = {"value": array.tolist()} if exact else {}
        return self.add("constant", (), array.shape, dtype, name, options=options)

    def elementwise(self, op: str, equation: Any, args: list[Any], out: Any) -> int:
        def operand(arg: Any, dtype: Any) -> int:
            if isinstance(arg, int):
                return arg
            return self.constant(arg if np.ndim(arg) == 0 else arg[0], dtype)  # of a batch axis of length 1

        params = equation.params
        options = {"y": int(params["y"])} if op == "integer_pow" else {}
        if op == "convert_element_type":
            options = {"dtype": jnp.dtype(params["new_dtype"]).name}
        inputs = [operand(arg, atom.aval.dtype) for arg, atom in zip(args, equation.invars, strict=True)]
        return self.add(op, inputs, out.shape[1:], out.dtype, options=options)

    def whole(self, arg: Any, operand: Any) -> int:
        """A node of an operand that may be an array with a batch axis of its own."""
        if isinstance(arg, int):
            return arg
        dtype, array = operand.aval.dtype, np.asarray(arg)[0]
        options = {"dims": tuple(range(array.ndim))}
        return self.add("broadcast_in_dim", (self.constant(array, dtype),), array.shape, dtype, options=options)

    def _reshape(self, equation: Any, args: list[Any], out: Any) -> list[int]:
        if not isinstance(args[0], int) or self.shape_of(equation)[0] != BATCH:
            raise self.refused(equation, "moves the batch axis")
        return [self.add("reshape", args, out.shape[1:], out.dtype)]

    _squeeze = _expand_dims = _reshape

    def _broadcast_in_dim(self, equation: Any, args: list[Any], out: Any) -> list[int]:
        dims, arg = equation.params["broadcast_dimensions"], args[0]
        if isinstance(arg, int):
            if dims[0] != 0:
                raise self.refused(equation, "moves the batch axis")
            kept = [d - 1 for d in dims[1:]]
        else:
            array = np.asarray(arg)
            if 0 in dims:  # an axis of length 1 becomes the batch's
                array, dims = array.squeeze(dims.index(0)), tuple(d for d in dims if d)
            arg, kept = self.constant(array, out.dtype), [d - 1 for d in dims]
        return [self.add("broadcast_in_dim", (arg,), out.shape[1:], out.dtype, options={"dims": tuple(kept)})]

    def _transpose(self, equation: Any, args: list[Any], out: Any) -> list[int]:
        order = equation.params["permutation"]
        if order[0] != 0:
            raise self.refused(equation, "moves the batch axis")
        options = {"order": tuple(int(a) - 1 for a in order[1:])}
        return [self.add("transpose", args, out.shape[1:], out.dtype, options=options)]

    def _concatenate(self, equation: Any, args: list[Any], out: Any) -> list[int]:
        axis = equation.params["dimension"] - 1
        if axis < 0:
            raise self.refused(equation, "changes the batch axis")
        parts = [self.whole(arg, atom) for arg, atom in zip(args, equation.invars, strict=True)]
        return [self.add("concatenate", parts, out.shape[1:], out.dtype, options={"axis": axis})]

    def _stack(self, equation: Any, args: list[Any], out: Any) -> list[int]:
        axis = equation.params["axis"] - 1
        if axis < 0:
            raise self.refused(equation, "changes the batch axis")
        shape = list(out.shape[1:])
        shape[axis] = 1
        nodes = [self.whole(arg, atom) for arg, atom in zip(args, equation.invars, strict=True)]
        parts = [self.add("reshape", (i,), shape, out.dtype) for i in nodes]
        return [self.add("concatenate", parts, out.shape[1:], out.dtype, options={"axis": axis})]

    def taken(self, index: int, axis: int, indices: Sequence[int]) -> int:
        """Add the choice of some indices of an axis."""
        node = self.nodes[index]
        shape = list(node.shape)
        if list(indices) == list(range(shape[axis])):
            return index
        shape[axis] = len(indices)
        return self.add("take", (index,), shape, node.dtype, options={"axis": axis, "indices": tuple(indices)})

    def _slice(self, equation: Any, args: list[Any], out: Any) -> list[int]:
        starts, limits = equation.params["start_indices"], equation.params["limit_indices"]
        strides = equation.params["strides"] or (1,) * len(starts)
        index = args[0]
        if starts[0] or strides[0] != 1 or limits[0] != BATCH:
            raise self.refused(equation, "changes the batch axis")
        for axis, chosen in enumerate(map(range, starts[1:], limits[1:], strides[1:])):
            index = self.taken(index, axis, chosen)
        return [index]

    def _split(self, equation: Any, args: list[Any], out: Any) -> list[int]:
        axis, ends = equation.params["axis"] - 1, np.cumsum(equation.params["sizes"])
        if axis < 0:
            raise self.refused(equation, "changes the batch axis")
        sizes = equation.params["sizes"]
        return [
            self.taken(args[0], axis, range(end - size, end)) for size, end in zip(sizes, ends.tolist(), strict=True)
        ]

    def _pad(self, equation: Any, args: list[Any], out: Any) -> list[int]:
        config = equation.params["padding_config"]
        if any(config[0]) or any(c[2] or min(c) < 0 for c in config) or isinstance(args[1], int):
            raise self.refused(equation, "pads other than around an image with a constant")
        around = {"low": tuple(int(c[0]) for c in config[1:]), "high": tuple(int(c[1]) for c in config[1:])}
        options = {**around, "value": float(args[1])}
        return [self.add("pad", args[:1], out.shape[1:], out.dtype, options=options)]

    def _reduce(self, equation: Any, args: list[Any], out: Any) -> list[int]:
        axes = tuple(int(a) - 1 for a in equation.params["axes"])
        if min(axes, default=0) < 0:
            raise self.refused(equation, "mixes the examples of a batch")
        return [self.add(equation.primitive.name, args, out.shape[1:], out.dtype, options={"axes": axes})]

    def shape_of(self, equation: Any) -> tuple[int, ...]:
        return equation.invars[0].aval.shape


def _needed(jaxpr: Any) -> list[Any]:
    """The equations that the outputs depend on."""
    wanted, kept = {v for v in jaxpr.outvars if not isinstance(v, Literal)}, []
    for equation in reversed(jaxpr.eqns):
        if any(var in wanted for var in equation.outvars):
            kept.append(equation)
            wanted.update(v for v in equation.invars if not isinstance(v, Literal))
    return kept[::-1]

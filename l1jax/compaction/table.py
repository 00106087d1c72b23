"""A traced network as rows: layers, and the operations between them, as they are found."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

from l1jax.compaction.layer_calls import LAYER, Call, check_rank, refusal
from l1jax.compaction.movement_equations import MOVEMENTS, MOVING_BATCH, Moved
from l1jax.models.layout import layer_kinds as layers
from l1jax.models.layout.node import Node
from l1jax.models.layout.operations import ELEMENTWISE, NOT_FOR_INTEGERS, REDUCTIONS

INLINED = {
    "jit",
    "pjit",
    "closed_call",
    "custom_jvp_call",
    "custom_vjp_call",
    "checkpoint",
    "remat",
    "remat2",
}
SKIPPED = {
    "copy",
    "copy_p",
    "stop_gradient",
    "optimization_barrier",
    "pvary",
    "pcast",
    "sharding_constraint",
}


class Table:
    """Nodes as they are found.

    A value is the index of a node, a `Moved` one, or an array that has no batch axis.
    """

    def __init__(self, batch: int) -> None:
        self.batch = batch
        self.nodes: list[Node] = []
        self.places: list[str] = []  # of each node: the modules around it
        self.place = ""
        self.params: dict[str, Any] = {}
        self.statistics: dict[str, Any] = {}
        self.copies: dict[str, str] = {}
        self.scope: list[str] = []  # where the function that is inlined is called

    def add(
        self,
        op: str,
        inputs: Sequence[int],
        shape: Sequence[int],
        dtype: Any,
        name: str = "",
        **more: Any,
    ) -> int:
        """Add a node."""
        sizes = tuple(map(int, shape))
        self.nodes.append(Node(op, tuple(inputs), sizes, jnp.dtype(dtype).name, name, **more))
        self.places.append(self.place)
        return len(self.nodes) - 1

    def finish(self, outputs: Sequence[Any], atoms: Sequence[Any], single: bool) -> None:
        """Make the output the last node: that of a single array, or a tuple of several."""
        self.place = ""
        found = []
        for output, atom in zip(outputs, atoms, strict=True):
            if atom.aval.ndim == 0 or isinstance(output, Moved) or atom.aval.shape[0] != self.batch:
                shape = atom.aval.shape
                raise ValueError(
                    f"the network's outputs must have the batch in front, not {shape}."
                )
            found.append(self.whole(output, atom))
        if not single:
            self.add("tuple", found, (), jnp.float32)
        elif found[0] != len(self.nodes) - 1:
            node = self.nodes[found[0]]
            self.add("reshape", found, node.shape, node.dtype)

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
        self.place = _path([*self.scope, str(equation.source_info.name_stack)])
        if op in SKIPPED:
            return args
        if op in INLINED:
            keys = ("jaxpr", "call_jaxpr", "fun_jaxpr")
            inner = next(params[key] for key in keys if key in params)
            self.scope.append(str(equation.source_info.name_stack))
            outputs = self.run(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), args)
            self.scope.pop()
            return outputs
        out = equation.outvars[0].aval
        batched = out.ndim > 0 and out.shape[0] == self.batch
        if not batched and not any(isinstance(arg, int | Moved) for arg in args):
            return self.computed(equation, args, out)
        if op in MOVING_BATCH:
            return [MOVING_BATCH[op](self, equation, args, out)]
        if not batched or any(isinstance(arg, Moved) for arg in args):
            raise self.refused(equation, "mixes the examples of a batch, or moves their axis")
        if op == LAYER.name:
            check_rank(params["call"], equation.invars[0].aval.ndim)
            return [self.layer(params["call"], args, out)]
        if op in ELEMENTWISE:
            return [self.elementwise(op, equation, args, out)]
        if op in REDUCTIONS:
            return [self.reduction(op, equation, args, out)]
        if op not in MOVEMENTS:
            raise self.refused(
                equation,
                "is not among the operations whose dependencies between channels are known",
            )
        return MOVEMENTS[op](self, equation, args, out)

    def refused(self, equation: Any, why: str) -> ValueError:
        """What to say of an operation that is not taken in."""
        inside = f" in `{self.place}`" if self.place else ""
        around = _layer_inside(equation)
        layer = f" around the layer `{around}`" if around else ""
        what = f"`{equation.primitive.name}`{inside}{layer}"
        return ValueError(f"{what} cannot be compacted: it {why}.")

    def computed(self, equation: Any, args: list[Any], out: Any) -> list[Any]:
        """What does not depend on the batch."""
        if equation.primitive.name == LAYER.name:
            return [self.constant_layer(equation.params["call"], args)]
        if equation.primitive.name == "convert_element_type" and out.dtype == jnp.bfloat16:
            return args  # the table keeps the number that was written, and rounds when it runs
        bound = equation.primitive.bind(*args, **equation.params)
        return list(bound) if equation.primitive.multiple_results else [bound]

    def variables(self, call: Call, args: list[Any]) -> dict[str, Any]:
        """What a layer computes with."""
        leaves = args[call.inputs :]
        if any(isinstance(leaf, int | Moved) for leaf in leaves):
            raise refusal(call.name, "computes with parameters that depend on the network's input")
        return jax.tree.unflatten(call.variables, [np.asarray(leaf) for leaf in leaves])

    def constant_layer(self, call: Call, args: list[Any]) -> Any:
        """The output of a layer that is called on constants."""
        shape = np.shape(args[0])[:-1]
        own = self.variables(call, args)
        features = max((np.shape(leaf)[-1] for leaf in jax.tree.leaves(own["params"])), default=0)
        node = Node(call.op, (), (*shape, features), "float32", options=call.options)
        if call.axis is not None and call.axis != len(shape):
            why = "is called on constants, with its channels on another axis than the last"
            raise refusal(call.name, why)
        return layers.build_layer(node, train=False).apply(own, *args[: call.inputs])

    def layer(self, call: Call, args: list[Any], out: Any) -> int:
        """Add a layer with its parameters; at a second call under another name."""
        inputs = args[: call.inputs]
        if not all(isinstance(arg, int) for arg in inputs):
            raise refusal(call.name, "must be called on the batch alone")
        if call.op == "take":
            return self.add(call.op, inputs, out.shape[1:], out.dtype, options=call.options)
        own = self.variables(call, args)
        first = call.name or "layer"
        key, count = first, 1
        while key in self.params:
            count += 1
            key = f"{first}_call_{count}"
        if key != first:
            self.copies[key] = first
        self.params[key] = own["params"]
        if own["batch_stats"]:
            self.statistics[key] = own["batch_stats"]
        if call.axis is None or call.axis == out.ndim - 1:
            return self.add(call.op, inputs, out.shape[1:], out.dtype, key, options=call.options)
        order = [*range(out.ndim - 1)]
        order.append(order.pop(call.axis - 1))
        inside = self.transposed(inputs[0], order)
        shape = self.nodes[inside].shape
        index = self.add(call.op, (inside,), shape, out.dtype, key, options=call.options)
        return self.transposed(index, np.argsort(order).tolist())

    def transposed(self, index: int, order: Sequence[int]) -> int:
        """Add a transposition; one of a transposition is one."""
        node = self.nodes[index]
        if node.op == "transpose":
            order = [node.options["order"][axis] for axis in order]
            (index,) = node.inputs
            node = self.nodes[index]
        if list(order) == list(range(len(order))):
            return index
        shape = [node.shape[axis] for axis in order]
        options = {"order": tuple(map(int, order))}
        return self.add("transpose", (index,), shape, node.dtype, options=options)

    def constant(self, array: Any, dtype: Any) -> int:
        """Add an array without a batch axis: in the table if it is one number or of integers."""
        array = np.asarray(array)
        exact = array.dtype.kind in "biu" or array.ndim == 0
        name = "" if exact else f"constant_{len(self.nodes)}"
        if not exact:
            self.params[name] = array
        options = {"value": array.tolist()} if exact else {}
        return self.add("constant", (), array.shape, dtype, name, options=options)

    def elementwise(self, op: str, equation: Any, args: list[Any], out: Any) -> int:
        """Add an operation that works entry by entry."""
        kinds = [atom.aval.dtype for atom in equation.invars]
        if not all(_is_number(kind) for kind in kinds):
            raise self.refused(equation, f"computes with {', '.join(map(str, kinds))}")
        if op == "select_n" and kinds[0] != jnp.dtype(bool):
            raise self.refused(equation, "chooses by numbers, and is known of booleans only")
        if op in NOT_FOR_INTEGERS and any(jnp.issubdtype(kind, jnp.integer) for kind in kinds):
            raise self.refused(equation, "is not known of integers")

        def operand(arg: Any, dtype: Any) -> int:
            if isinstance(arg, int):
                return arg
            return self.constant(arg if np.ndim(arg) == 0 else self.of_one(arg), dtype)

        params = equation.params
        options: dict[str, Any] = {}
        if op == "integer_pow":
            options = {"y": int(params["y"])}
        if op == "round":
            options = {"rounding_method": int(params["rounding_method"])}
        if op == "convert_element_type":
            options = {"dtype": jnp.dtype(params["new_dtype"]).name}
        inputs = [operand(arg, dtype) for arg, dtype in zip(args, kinds, strict=True)]
        return self.add(op, inputs, out.shape[1:], out.dtype, options=options)

    def reduction(self, op: str, equation: Any, args: list[Any], out: Any) -> int:
        """Add a sum over axes, or the like."""
        axes = tuple(int(a) - 1 for a in equation.params["axes"])
        if min(axes, default=0) < 0:
            raise self.refused(equation, "mixes the examples of a batch")
        if op in ("reduce_and", "reduce_or") and equation.invars[0].aval.dtype != bool:
            raise self.refused(equation, "is known of booleans only")
        return self.add(op, args, out.shape[1:], out.dtype, options={"axes": axes})

    def of_one(self, array: Any) -> np.ndarray:
        """A constant of which each example has the same, on a batch axis of its own."""
        array = np.asarray(array)
        first = np.broadcast_to(array[:1], array.shape)
        if not np.array_equal(array, first, equal_nan=array.dtype.kind == "f"):
            why = "it differs between the examples of a batch"
            raise ValueError(f"a constant in `{self.place}` cannot be compacted: {why}.")
        return array[0]

    def whole(self, arg: Any, operand: Any) -> int:
        """A node of an operand that may be an array with a batch axis of its own."""
        if isinstance(arg, int):
            return arg
        dtype, array = operand.aval.dtype, self.of_one(arg)
        options = {"dims": tuple(range(array.ndim))}
        index = self.constant(array, dtype)
        return self.add("broadcast_in_dim", (index,), array.shape, dtype, options=options)


def _layer_inside(equation: Any) -> str:
    """The name of a layer in an operation's own program, such as a loop's; "" if there is none."""
    for value in equation.params.values():
        for part in value if isinstance(value, tuple | list) else (value,):
            program = getattr(part, "jaxpr", part)
            for inner in getattr(program, "eqns", ()):
                call = inner.params.get("call") if inner.primitive.name == LAYER.name else None
                name = call.name or "layer" if call else _layer_inside(inner)
                if name:
                    return name
    return ""


def _path(scopes: Sequence[str]) -> str:
    """The modules around an operation, each once where two in a row have the same name."""
    parts = "/".join(filter(None, scopes)).split("/")
    pairs = zip(parts, ["", *parts], strict=False)
    return "/".join(part for part, before in pairs if part != before)


def _is_number(dtype: Any) -> bool:
    real = jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer)
    return dtype == jnp.dtype(bool) or real


def _needed(jaxpr: Any) -> list[Any]:
    """The equations that the outputs depend on."""
    wanted, kept = {v for v in jaxpr.outvars if not isinstance(v, Literal)}, []
    for equation in reversed(jaxpr.eqns):
        if any(var in wanted for var in equation.outvars):
            kept.append(equation)
            wanted.update(v for v in equation.invars if not isinstance(v, Literal))
    return kept[::-1]

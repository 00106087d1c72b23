"""Add the equations of a traced network, a jaxpr, to its graph.

An example: the network `relu(dense(x)) + 1`, traced with 509 examples, has the jaxpr

    a = l1jax_layer(x, kernel, bias)    one layer, see `layer_calls`
    b = max(a, 0.0)
    c = add(b, 1.0)

and becomes these nodes, whose shapes are those of one example:

    0 input    1 dense(0)    2 constant 0.0    3 max(1, 2)    4 constant 1.0    5 add(3, 4)
"""

from collections.abc import Callable, Sequence
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import ShapedArray
from jax.extend.core import Jaxpr, JaxprEqn, Literal, Var
from jaxtyping import Array, PyTree

from l1jax.compaction.graph_builder import GraphBuilder, MovedBatch, Value, array_type
from l1jax.compaction.layer_calls import LAYER, LayerCall, check_rank, unsupported_error
from l1jax.compaction.movement_equations import MOVEMENTS, MOVING_BATCH
from l1jax.models.layout.layer_kinds import WITHOUT_PARAMS, build_layer
from l1jax.models.layout.node import Node
from l1jax.models.layout.operations import ELEMENTWISE, NOT_FOR_INTEGERS, REDUCTIONS

# Calls of functions, whose equations are added in place of the call.
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
# Operations that return their operands.
SKIPPED = {
    "copy",
    "copy_p",
    "stop_gradient",
    "optimization_barrier",
    "pvary",
    "pcast",
    "sharding_constraint",
}
MIXES_BATCH = "mixes the examples of a batch, or moves their axis"


def add_equations(
    builder: GraphBuilder, jaxpr: Jaxpr, consts: Sequence[Value], args: Sequence[Value]
) -> list[Value]:
    """Add the equations that a jaxpr's outputs depend on.

    Args:
        builder: the graph.
        jaxpr: the program.
        consts: values of its constants.
        args: values of its arguments.

    Returns:
        The values of its outputs.

    Raises:
        ValueError: if an operation cannot be compacted, naming it.
    """
    variables = [*jaxpr.constvars, *jaxpr.invars]
    values: dict[Var, Value] = dict(zip(variables, [*consts, *args], strict=True))

    def read(atom: Var | Literal) -> Value:
        return np.asarray(atom.val) if isinstance(atom, Literal) else values[atom]

    for equation in _needed_equations(jaxpr):
        outputs = _add_equation(builder, equation, [read(atom) for atom in equation.invars])
        values.update(zip(equation.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _needed_equations(jaxpr: Jaxpr) -> list[JaxprEqn]:
    needed = {atom for atom in jaxpr.outvars if not isinstance(atom, Literal)}
    equations = []
    for equation in reversed(jaxpr.eqns):
        if any(variable in needed for variable in equation.outvars):
            equations.append(equation)
            needed.update(atom for atom in equation.invars if not isinstance(atom, Literal))
    return equations[::-1]


def _add_equation(builder: GraphBuilder, equation: JaxprEqn, args: list[Value]) -> Sequence[Value]:
    op = equation.primitive.name
    builder.place = _join_scopes([*builder.scope, str(equation.source_info.name_stack)])
    if op in SKIPPED:
        return args
    if op in INLINED:
        return _inline(builder, equation, args)
    out = array_type(equation.outvars[0])
    batched = out.ndim > 0 and out.shape[0] == builder.batch_size
    if not batched and not any(isinstance(arg, int | MovedBatch) for arg in args):
        return _evaluate(equation, args, out)
    if op in MOVING_BATCH:
        return [MOVING_BATCH[op](builder, equation, args, out)]
    if not batched or any(isinstance(arg, MovedBatch) for arg in args):
        raise builder.unsupported_error(equation, MIXES_BATCH)
    if op not in HANDLERS:
        why = "is not among the operations whose dependencies between channels are known"
        raise builder.unsupported_error(equation, why)
    return HANDLERS[op](builder, equation, args, out)


def _inline(builder: GraphBuilder, equation: JaxprEqn, args: list[Value]) -> list[Value]:
    """Add the equations of a function in place of its call."""
    keys = ("jaxpr", "call_jaxpr", "fun_jaxpr")
    program = next(equation.params[key] for key in keys if key in equation.params)
    jaxpr = getattr(program, "jaxpr", program)
    consts = getattr(program, "consts", ())
    builder.scope.append(str(equation.source_info.name_stack))
    outputs = add_equations(builder, jaxpr, consts, args)
    builder.scope.pop()
    return outputs


def _join_scopes(scopes: Sequence[str]) -> str:
    """Join the names of modules; a name that follows itself is written once."""
    names = "/".join(filter(None, scopes)).split("/")
    joined: list[str] = []
    for name in names:
        if not joined or name != joined[-1]:
            joined.append(name)
    return "/".join(joined)


def _evaluate(equation: JaxprEqn, args: list[Value], out: ShapedArray) -> list[Value]:
    """Compute what does not depend on the batch."""
    if equation.primitive.name == LAYER.name:
        return [_evaluate_layer(equation.params["call"], args)]
    if equation.primitive.name == "convert_element_type" and out.dtype == jnp.bfloat16:
        # The table keeps the number as it was written, and rounds it when it runs.
        return args
    results = equation.primitive.bind(*args, **equation.params)
    return list(results) if equation.primitive.multiple_results else [results]


def _evaluate_layer(call: LayerCall, args: list[Value]) -> Value:
    """Compute a layer that is called on constants."""
    shape = np.shape(args[0])[:-1]
    variables = _layer_variables(call, args)
    if call.axis is not None and call.axis != len(shape):
        why = "is called on constants, with its channels on another axis than the last"
        raise unsupported_error(call.name, why)
    leaves = jax.tree.leaves(variables["params"])
    features = max((np.shape(leaf)[-1] for leaf in leaves), default=0)
    node = Node(call.op, (), (*shape, features), "float32", options=call.options)
    output = build_layer(node, train=False).apply(variables, *args[: call.input_count])
    return cast(Array, output)


def _layer_variables(call: LayerCall, args: list[Value]) -> dict[str, PyTree]:
    """Return the parameters and batch statistics that a layer computes with.

    Raises:
        ValueError: if they depend on the network's input.
    """
    leaves = args[call.input_count :]
    if any(isinstance(leaf, int | MovedBatch) for leaf in leaves):
        raise unsupported_error(
            call.name, "computes with parameters that depend on the network's input"
        )
    return jax.tree.unflatten(call.variables, [np.asarray(leaf) for leaf in leaves])


def _add_layer(
    builder: GraphBuilder, equation: JaxprEqn, args: list[Value], out: ShapedArray
) -> list[Value]:
    """Add a layer with its parameters; a second call of the same layer gets another name."""
    call: LayerCall = equation.params["call"]
    check_rank(call, array_type(equation.invars[0]).ndim)
    inputs = [arg for arg in args[: call.input_count] if isinstance(arg, int)]
    if len(inputs) < call.input_count:
        raise unsupported_error(call.name, "must be called on the batch alone")
    shape = out.shape[1:]
    if call.op in WITHOUT_PARAMS:
        return [builder.add(call.op, inputs, shape, out.dtype, options=call.options)]
    name = _add_variables(builder, call.name or "layer", _layer_variables(call, args))
    if call.axis is None or call.axis == out.ndim - 1:
        return [builder.add(call.op, inputs, shape, out.dtype, name, call.options)]
    # The channels of a batch norm are moved to the last axis and back.
    order = [*range(out.ndim - 1)]
    order.append(order.pop(call.axis - 1))
    channels_last = builder.transpose(inputs[0], order)
    shape = builder.nodes[channels_last].shape
    index = builder.add(call.op, (channels_last,), shape, out.dtype, name, call.options)
    return [builder.transpose(index, np.argsort(order).tolist())]


def _add_variables(builder: GraphBuilder, name: str, variables: dict[str, PyTree]) -> str:
    """Add a layer's variables under its name, or under a new one if this is not its first call."""
    unique = name
    count = 1
    while unique in builder.params:
        count += 1
        unique = f"{name}_call_{count}"
    if unique != name:
        builder.copies[unique] = name
    builder.params[unique] = variables["params"]
    if variables["batch_stats"]:
        builder.batch_stats[unique] = variables["batch_stats"]
    return unique


def _add_elementwise(
    builder: GraphBuilder, equation: JaxprEqn, args: list[Value], out: ShapedArray
) -> list[Value]:
    op = equation.primitive.name
    dtypes = [array_type(atom).dtype for atom in equation.invars]
    if not all(_is_real(dtype) for dtype in dtypes):
        raise builder.unsupported_error(equation, f"computes with {', '.join(map(str, dtypes))}")
    if op == "select_n" and dtypes[0] != jnp.dtype(bool):
        raise builder.unsupported_error(
            equation, "chooses by numbers, and is known of booleans only"
        )
    if op in NOT_FOR_INTEGERS and any(jnp.issubdtype(dtype, jnp.integer) for dtype in dtypes):
        raise builder.unsupported_error(equation, "is not known of integers")
    inputs = []
    for arg, dtype in zip(args, dtypes, strict=True):
        if isinstance(arg, int):
            inputs.append(arg)
            continue
        array = np.asarray(arg)
        if array.ndim:
            array = builder.example(array)
        inputs.append(builder.constant(array, dtype))
    options: dict[str, object] = {}
    if op == "integer_pow":
        options = {"y": int(equation.params["y"])}
    elif op == "round":
        options = {"rounding_method": int(equation.params["rounding_method"])}
    elif op == "convert_element_type":
        options = {"dtype": jnp.dtype(equation.params["new_dtype"]).name}
    return [builder.add(op, inputs, out.shape[1:], out.dtype, options=options)]


def _is_real(dtype: np.dtype) -> bool:
    if dtype == jnp.dtype(bool):
        return True
    return jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer)


def _add_reduction(
    builder: GraphBuilder, equation: JaxprEqn, args: list[Value], out: ShapedArray
) -> list[Value]:
    op = equation.primitive.name
    axes = tuple(int(axis) - 1 for axis in equation.params["axes"])
    if min(axes, default=0) < 0:
        raise builder.unsupported_error(equation, "mixes the examples of a batch")
    if op in ("reduce_and", "reduce_or") and array_type(equation.invars[0]).dtype != bool:
        raise builder.unsupported_error(equation, "is known of booleans only")
    inputs = builder.as_nodes(equation, args)
    return [builder.add(op, inputs, out.shape[1:], out.dtype, options={"axes": axes})]


# How each primitive is added to the graph: builder, equation, arguments, first output → outputs.
HANDLERS: dict[
    str, Callable[[GraphBuilder, JaxprEqn, list[Value], ShapedArray], Sequence[Value]]
] = {
    **MOVEMENTS,
    **dict.fromkeys(ELEMENTWISE, _add_elementwise),
    **dict.fromkeys(REDUCTIONS, _add_reduction),
    LAYER.name: _add_layer,
}

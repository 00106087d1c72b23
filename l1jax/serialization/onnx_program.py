"""Export a generator as an ONNX graph with its weights, and run such a graph on the CPU.

Its inputs are `latents` (float32) and, for a class-conditional generator, `label` (int32). Its
output is `images` in the generator's range, channels last. The packages that it needs are the extra
`onnx`.
"""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Literal
from jaxtyping import Array, ArrayLike, PyTree

from l1jax.config import InputError
from l1jax.models import Generator
from l1jax.models.layers import library_convolutions
from l1jax.serialization.onnx_operators import Equation, OnnxBuilder, Operand, lower, refusal
from l1jax.serialization.stablehlo_program import as_program, program, program_inputs

ONNX = "model.onnx"
# Versions of 2022, which all current runtimes read.
OPSET = 18
IR_VERSION = 9


def export_onnx(generator: Generator, params: PyTree, statistics: PyTree) -> bytes:
    """Serialise the network with its weights for any batch size.

    Args:
        generator: the network, which must compute in float32.
        params: its parameters.
        statistics: its running batch statistics.

    Raises:
        InputError: if the network has an operation that is not known here.
        MissingExtraError: if the package onnx is missing.
    """
    onnx: Any = importlib.import_module("onnx")
    inputs = program_inputs(generator)
    with library_convolutions():
        traced = jax.make_jaxpr(program(generator, params, statistics))(*inputs)
    graph = OnnxBuilder("latents")
    names = ["latents", "label"][: len(inputs)]
    (images,) = _lowered(graph, traced, names)
    graph.add("Identity", images)
    graph.nodes[-1].output[0] = "images"
    avals = [*inputs, *traced.out_avals]
    described = [
        onnx.helper.make_tensor_value_info(
            name,
            onnx.helper.np_dtype_to_tensor_dtype(np.dtype(aval.dtype)),
            ["batch", *aval.shape[1:]],
        )
        for name, aval in zip([*names, "images"], avals, strict=True)
    ]
    made = onnx.helper.make_graph(
        graph.nodes, "generator", described[:-1], described[-1:], graph.constants
    )
    opsets = [onnx.helper.make_opsetid("", OPSET)]
    model = onnx.helper.make_model(
        made, opset_imports=opsets, ir_version=IR_VERSION, producer_name="l1jax"
    )
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def open_onnx(generator: Generator, content: bytes, file: Path) -> Generator:
    """Make a generator of an ONNX graph, which runs on the CPU wherever JAX runs.

    Args:
        generator: one with the same inputs and outputs; its network is not used.
        content: of the file.
        file: its path, for messages.

    Raises:
        InputError: if it cannot be read, or is a graph of something else.
        MissingExtraError: if the package onnxruntime is missing.
    """
    runtime: Any = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # the errors below say what is wrong
    try:
        session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no class of their own
        raise InputError(
            f"`{file}` is no ONNX graph that this onnxruntime reads: export it anew."
        ) from error
    found = [
        (value.name, value.type, value.shape[1:])
        for value in (*session.get_inputs(), *session.get_outputs())
    ]
    wanted = [("latents", "tensor(float)", [generator.latent_size])]
    if generator.classes:
        wanted += [("label", "tensor(int32)", [])]
    wanted += [("images", "tensor(float)", list(generator.image_shape))]
    if found != wanted:
        raise InputError(
            f"`{file}` takes and gives {found}, and its config.json's generator {wanted}."
        )
    names = [name for name, *_ in wanted[:-1]]

    def run(*arguments: ArrayLike) -> np.ndarray:
        return session.run(
            None, {name: np.asarray(value) for name, value in zip(names, arguments, strict=True)}
        )[0]

    def apply(
        params: PyTree,
        statistics: PyTree,
        inputs: Array,
        train: bool,
        label: Array | None = None,
        key: Array | None = None,
    ) -> tuple[Array, PyTree]:
        arguments = [inputs]
        if generator.classes:
            arguments.append(jnp.asarray(label, jnp.int32))
        images = jax.ShapeDtypeStruct((inputs.shape[0], *generator.image_shape), jnp.float32)
        return jax.pure_callback(run, images, *arguments), statistics

    return as_program(generator, apply)


def _lowered(
    graph: OnnxBuilder, closed: ClosedJaxpr, inputs: Sequence[Operand], where: str = ""
) -> list[Operand]:
    """Append the operations of a program; what is constant is computed at once.

    Args:
        graph: the graph so far.
        closed: the program.
        inputs: its inputs.
        where: the layer that the program is a part of, for messages.
    """
    jaxpr = closed.jaxpr
    values: dict[Any, Operand] = dict(zip(jaxpr.invars, inputs, strict=True))
    values |= {
        var: np.asarray(const) for var, const in zip(jaxpr.constvars, closed.consts, strict=True)
    }

    def read(atom: Any) -> Operand:
        if isinstance(atom, Literal):
            return np.asarray(atom.val)
        return values[atom]

    for eqn in jaxpr.eqns:
        operands = [read(atom) for atom in eqn.invars]
        place = f"{where}/{eqn.source_info.name_stack}".strip("/")
        inner = _inner(eqn.params)
        aval, *others = [var.aval for var in eqn.outvars]
        known = not any(isinstance(operand, str) for operand in operands)
        if inner is not None:
            results = _lowered(graph, inner, operands, place)
        elif known and all(isinstance(size, int) for size in aval.shape):
            bound = eqn.primitive.bind(*map(jnp.asarray, operands), **eqn.params)
            if not eqn.primitive.multiple_results:
                bound = [bound]
            results = [np.asarray(result) for result in bound]
        else:
            shapes = [atom.aval.shape for atom in eqn.invars]
            equation = Equation(
                eqn.primitive.name, operands, shapes, aval.shape, aval.dtype, eqn.params
            )
            try:
                if others:
                    raise NotImplementedError("several results")
                results = [lower(graph, equation)]
            except NotImplementedError as error:
                raise refusal(equation, error, place) from error
        values |= dict(zip(eqn.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _inner(params: dict[str, Any]) -> ClosedJaxpr | None:
    """Return the program that an operation calls, such as `jit` or `checkpoint`, or None."""
    for name in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        inner = params.get(name)
        if inner is not None:
            if isinstance(inner, ClosedJaxpr):
                return inner
            return ClosedJaxpr(inner, ())
    return None

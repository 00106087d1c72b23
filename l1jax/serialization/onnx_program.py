"""Export a generator as an ONNX graph with its weights, and run such a graph on the CPU.

Its inputs are `latents` (float32) and, for a class-conditional generator, `label` (int32). Its
output is `images` in the generator's range, channels last. The packages that it needs are the extra
`onnx`.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Literal
from jaxtyping import Array, ArrayLike, PyTree

import l1jax
from l1jax.config import InputError
from l1jax.models import Generator
from l1jax.models.flow_sampling import unrolled_steps
from l1jax.models.layers import library_convolutions
from l1jax.serialization.named_weights import named_leaves
from l1jax.serialization.onnx_builder import OnnxBuilder, Operand
from l1jax.serialization.onnx_operators import Equation, lower_all, refusal
from l1jax.serialization.onnx_patterns import fuse
from l1jax.serialization.stablehlo_program import as_program, program, program_inputs

ONNX = "model.onnx"
NOTHING: Mapping[str, str] = MappingProxyType({})
# Versions of 2022, which all current runtimes read.
OPSET = 18
IR_VERSION = 9


class Weights(NamedTuple):
    """What a network was trained to.

    Attributes:
        params: its parameters.
        statistics: its running batch statistics.
    """

    params: PyTree
    statistics: PyTree


def export_onnx(
    generator: Generator, params: PyTree, statistics: PyTree, about: Mapping[str, str] = NOTHING
) -> bytes:
    """Serialise the network with its weights for any batch size.

    Args:
        generator: the network, which must compute in float32.
        params: its parameters.
        statistics: its running batch statistics.
        about: what the file says of the model, as `onnx_metadata.describe_generator` writes it.

    Raises:
        InputError: if the network has an operation that is not known here.
        MissingExtraError: if the package onnx is missing.
    """
    inputs = program_inputs(generator)
    names = ["latents", "label"][: len(inputs)]

    def generate(weights: Weights, *arguments: Array) -> Array:
        return program(generator, *weights)(*arguments)

    with library_convolutions(), unrolled_steps():
        return export_graph(
            generate,
            Weights(params, statistics),
            dict(zip(names, inputs, strict=True)),
            "images",
            about,
        )


def export_graph(
    function: Callable[..., Array],
    weights: Weights,
    inputs: Mapping[str, jax.ShapeDtypeStruct],
    output: str,
    about: Mapping[str, str] = NOTHING,
) -> bytes:
    """Serialise a function of one result as an ONNX graph.

    Args:
        function: (weights, inputs) → what the graph computes.
        weights: its constants, which keep their paths as names.
        inputs: the types of its other arguments by name. Sizes that are not known are symbolic, and
            are those of the first axes of the first one.
        output: the result's name.
        about: what the file says of the model: `description`, and whatever else.

    Raises:
        InputError: if the function has an operation that is not known here.
        MissingExtraError: if the package onnx is missing.
    """
    onnx: Any = importlib.import_module("onnx")
    traced = jax.make_jaxpr(function)(weights, *inputs.values())
    shape = next(iter(inputs.values())).shape
    unknown = [str(size) for size in shape if not isinstance(size, int)]
    graph = OnnxBuilder(list(inputs), output, unknown)
    constants = [graph.made_of(np.array(leaf), [name]) for name, leaf in named_leaves(*weights)]
    (result,) = _lowered(graph, traced, [*constants, *inputs])
    graph.finish(result)
    fuse(graph)
    avals = [*inputs.values(), *traced.out_avals]
    described = [
        onnx.helper.make_tensor_value_info(
            name,
            onnx.helper.np_dtype_to_tensor_dtype(np.dtype(aval.dtype)),
            [size if isinstance(size, int) else str(size) for size in aval.shape],
        )
        for name, aval in zip([*inputs, output], avals, strict=True)
    ]
    made = onnx.helper.make_graph(
        graph.nodes,
        "generator",
        described[:-1],
        described[-1:],
        [onnx.numpy_helper.from_array(value, name) for name, value in graph.constants.items()],
    )
    opsets = [onnx.helper.make_opsetid("", OPSET)]
    model = onnx.helper.make_model(
        made,
        opset_imports=opsets,
        ir_version=IR_VERSION,
        producer_name="l1jax",
        producer_version=l1jax.__version__,
        doc_string=about.get("description", ""),
    )
    onnx.helper.set_model_props(model, dict(about))
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
    session = open_session(content, file)
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


def open_session(content: bytes, file: Path) -> Any:
    """Open a graph in onnxruntime, on the CPU.

    Raises:
        InputError: if it cannot be read.
        MissingExtraError: if the package onnxruntime is missing.
    """
    runtime: Any = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # the error below says what is wrong
    try:
        return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no class of their own
        raise InputError(
            f"`{file}` is no ONNX graph that this onnxruntime reads: export it anew."
        ) from error


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
        avals = [var.aval for var in eqn.outvars]
        aval = avals[0]
        known = not any(isinstance(operand, str) for operand in operands)
        if inner is not None:
            results = _lowered(graph, inner, operands, place)
        elif known and all(isinstance(size, int) for a in avals for size in a.shape):
            sources = graph.sources(*operands)
            bound = eqn.primitive.bind(*map(jnp.asarray, operands), **eqn.params)
            if not eqn.primitive.multiple_results:
                bound = [bound]
            results = [graph.made_of(np.array(result), sources) for result in bound]
        else:
            shapes = [atom.aval.shape for atom in eqn.invars]
            equation = Equation(
                eqn.primitive.name, operands, shapes, aval.shape, aval.dtype, eqn.params
            )
            try:
                results = lower_all(graph, equation, [a.shape for a in avals])
            except NotImplementedError as error:
                raise refusal(equation, error, place) from error
            for name, a in zip(results, avals, strict=True):
                if isinstance(name, str):
                    graph.shapes[name] = a.shape
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

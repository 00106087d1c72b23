"""Export the logits of a language model as a StableHLO program or an ONNX graph.

Both have the weights in them. The input `tokens` is int32 [batch, length], of any batch and any
length, also beyond the context; the output `logits` is float32 [batch, length, vocabulary].
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from l1jax.config import InputError
from l1jax.models import LanguageModel
from l1jax.serialization.onnx_program import NOTHING, ONNX, Weights, export_graph, open_session
from l1jax.serialization.stablehlo_program import PLATFORMS, STABLEHLO

Logits = Callable[
    [Int[np.ndarray, "batch length"]], Float[np.ndarray, "batch length vocabulary"]
]  # tokens → logits of the token that follows each

PROBE_BATCH = 4


def export_text_stablehlo(model: LanguageModel, params: PyTree) -> bytes:
    """Serialise the logits for CPU, CUDA and TPU; `jax.export.deserialize` reads it."""
    exported = jax.export.export(jax.jit(_logits(model, params)), platforms=PLATFORMS)
    return bytes(exported(_tokens_type()).serialize())


def export_text_onnx(
    model: LanguageModel, params: PyTree, about: Mapping[str, str] = NOTHING
) -> bytes:
    """Serialise the logits of a model that computes in float32.

    Args:
        model: the network.
        params: its parameters.
        about: what the file says of the model, as `onnx_metadata.describe_text` writes it.

    Raises:
        MissingExtraError: if the package onnx is missing.
    """

    def logits(weights: Weights, tokens: Array) -> Array:
        return _logits(model, weights.params)(tokens)

    weights = Weights(params, {})
    return export_graph(logits, weights, {"tokens": _tokens_type()}, "logits", about)


def open_text_stablehlo(content: bytes, file: Path) -> Logits:
    """Make a function of a StableHLO program.

    Args:
        content: of the file.
        file: its path, for messages.

    Raises:
        InputError: if it cannot be read, or is a program of something else.
    """
    try:
        exported = jax.export.deserialize(bytearray(content))
        (tokens,) = exported.in_avals
        (logits,) = exported.out_avals
    except Exception as error:
        # The readers raise errors of many types.
        raise _unreadable(file, "StableHLO program that this JAX reads") from error
    if (str(tokens.dtype), tokens.ndim, logits.ndim) != ("int32", 2, 3):
        raise _unreadable(file, "program of logits")
    return lambda given: np.asarray(exported.call(jnp.asarray(given, jnp.int32)))


def open_text_onnx(content: bytes, file: Path) -> Logits:
    """Make a function of an ONNX graph, which runs on the CPU.

    Args:
        content: of the file.
        file: its path, for messages.

    Raises:
        InputError: if it cannot be read, or is a graph of something else.
        MissingExtraError: if the package onnxruntime is missing.
    """
    session = open_session(content, file)
    names = [value.name for value in (*session.get_inputs(), *session.get_outputs())]
    if names != ["tokens", "logits"]:
        raise _unreadable(file, "graph of logits")
    return lambda given: session.run(None, {"tokens": np.asarray(given, np.int32)})[0]


OPENERS = {STABLEHLO: open_text_stablehlo, ONNX: open_text_onnx}


def probe_tokens(model: LanguageModel) -> Int[np.ndarray, "batch length"]:
    """Return random tokens, half as long again as the context."""
    shape = (PROBE_BATCH, model.context + max(1, model.context // 2))
    return np.random.default_rng(0).integers(0, model.vocabulary, shape, np.int32)


def probe_logits(
    model: LanguageModel, params: PyTree, statistics: PyTree
) -> Float[np.ndarray, "batch length vocabulary"]:
    """Compute the logits of `probe_tokens`.

    Args:
        model: the network.
        params: its parameters.
        statistics: its batch statistics, of which it has none.
    """
    apply = jax.jit(
        lambda params, tokens: model.network.apply(params, statistics, tokens, False)[0]
    )
    return np.asarray(apply(params, probe_tokens(model)))


def _logits(model: LanguageModel, params: PyTree) -> Callable[[Array], Array]:
    return lambda tokens: model.network.apply(params, {}, tokens, False)[0]


def _tokens_type() -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(jax.export.symbolic_shape("batch, length"), jnp.int32)


def _unreadable(file: Path, what: str) -> InputError:
    return InputError(f"`{file}` is no {what}: export it anew.")

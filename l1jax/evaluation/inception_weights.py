"""Convert, check and prepare the weights of Inception-v3."""

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PyTree, Shaped

from l1jax.config import InputError
from l1jax.evaluation.inception_network import CLASSES, SIZE, Inception
from l1jax.evaluation.tensors import save_tensors
from l1jax.evaluation.torch_files import read_torch
from l1jax.outputs import check_output_file, write_error

PUBLIC_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
"""Hash of `pt_inception-2015-12-05-6726825d.pth`, whose distances all papers report."""
SOURCE = "source.sha256"  # metadata key: hash of the file that the weights were converted from
EPSILON = 1e-3  # of the batch norms
BATCH_NORM_TENSORS = ("weight", "bias", "running_mean", "running_var")


def convert_weights(source: Path, output: Path, *, any_weights: bool = False) -> str:
    """Convert a PyTorch file of Inception-v3's weights to safetensors, without running its code.

    Args:
        source: file that `torch.save` wrote, in either of its layouts.
        output: safetensors file, which appears whole or not at all.
        any_weights: whether to accept a file other than the public one.

    Returns:
        The SHA-256 of the source.

    Raises:
        InputError: if the source is not the public file although it must be, cannot be read, is
            damaged, names anything but tensors, or holds another network's tensors; or if the
            output cannot be written.
    """
    if output.suffix != ".safetensors":
        raise InputError(f"`--output` (={output}) must end in .safetensors.")
    check_output_file(str(output))
    try:
        with source.open("rb") as file:
            source_sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(
            f"`FILE` (={source}) cannot be read: {error.strerror or error}."
        ) from error
    if source_sha256 != PUBLIC_SHA256 and not any_weights:
        raise InputError(
            f"`FILE` (={source}) must be the public weights, whose sha256 is {PUBLIC_SHA256}; its "
            f"own is {source_sha256}. Download it again, or give --any-weights to measure "
            "distances that compare with no published ones."
        )
    tensors = {}
    for name, value in read_torch(source).items():
        if name.endswith(".num_batches_tracked"):
            continue
        if value.dtype.kind == "f":
            value = value.astype(np.float32)
        tensors[name] = value
    check_tensors(tensors, str(source))
    try:
        save_tensors(output, tensors, {SOURCE: source_sha256})
    except OSError as error:
        raise write_error(output, error) from error
    return source_sha256


@cache
def tensor_shapes() -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of the tensors that are needed from the public PyTorch file."""
    images = jnp.zeros((1, SIZE, SIZE, 3))
    parameters = jax.eval_shape(Inception().init, jax.random.key(0), images)["params"]
    shapes: dict[str, tuple[int, ...]] = {}
    for name, layer in parameters.items():
        if isinstance(layer, Mapping):
            height, width, inputs, outputs = layer["kernel"].shape
            shapes[f"{name}.conv.weight"] = (outputs, inputs, height, width)
            for part in BATCH_NORM_TENSORS:
                shapes[f"{name}.bn.{part}"] = (outputs,)
    shapes["fc.weight"] = (CLASSES, parameters["fc.kernel"].shape[0])
    shapes["fc.bias"] = (CLASSES,)
    return shapes


def check_tensors(tensors: Mapping[str, Shaped[np.ndarray, "..."]], name: str) -> None:
    """Raise unless the tensors are weights of this network.

    Args:
        tensors: tensors by name.
        name: name of their file, for the message.

    Raises:
        InputError: naming the first tensor that is missing, unknown, of another shape or type, or
            not finite.
    """
    shapes = tensor_shapes()
    missing = shapes.keys() - tensors.keys()
    unknown = tensors.keys() - shapes.keys()
    for verb, keys in (("lacks", missing), ("must not hold", unknown)):
        if keys:
            raise InputError(
                f"{name!r} {verb} {len(keys)} of the tensors of Inception-v3, `{min(keys)}` for "
                "one: give the public weights of the Fréchet Inception distance."
            )
    for key, shape in shapes.items():
        value = tensors[key]
        if value.shape != shape or value.dtype != np.float32:
            raise InputError(
                f"`{key}` of {name!r} (={value.dtype}{list(value.shape)}) must be "
                f"float32{list(shape)}."
            )
        if not np.all(np.isfinite(value)):
            raise InputError(
                f"`{key}` of {name!r} must be finite; the file is damaged: replace it."
            )


def fold_batch_norms(tensors: Mapping[str, Float[np.ndarray, "..."]]) -> PyTree:
    """Make the network's parameters, with each batch norm folded into its convolution.

    y = (w∗x − μ)·γ/√(σ² + ε) + β is a convolution with w·s and the bias β − μ·s, where
    s = γ/√(σ² + ε).
    """
    parameters: dict[str, PyTree] = {
        "fc.kernel": tensors["fc.weight"].T,
        "fc.bias": tensors["fc.bias"],
    }
    for key in tensors:
        if not key.endswith(".conv.weight"):
            continue
        name = key.removesuffix(".conv.weight")
        gamma, beta, mean, variance = (
            tensors[f"{name}.bn.{part}"].astype(np.float64) for part in BATCH_NORM_TENSORS
        )
        scale = gamma / np.sqrt(variance + EPSILON)
        kernel = (tensors[key] * scale[:, None, None, None]).transpose(2, 3, 1, 0)
        parameters[name] = {
            "kernel": np.ascontiguousarray(kernel, np.float32),
            "bias": np.ascontiguousarray(beta - mean * scale, np.float32),
        }
    return parameters

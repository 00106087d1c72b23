"""Recognise, check and prepare the weights of Inception-v3."""

from collections.abc import Mapping
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PyTree, Shaped

from l1jax.config import InputError
from l1jax.evaluation.inception_network import CLASSES, SIZE, Inception

EPSILON = 1e-3  # of the batch norms
BATCH_NORM_TENSORS = ("weight", "bias", "running_mean", "running_var")


def is_inception(tensors: Mapping[str, Shaped[np.ndarray, "..."]]) -> bool:
    """Tell whether tensors are those of Inception-v3, by their names."""
    return "Mixed_7c.branch_pool.conv.weight" in tensors


def select_tensors(
    tensors: Mapping[str, Shaped[np.ndarray, "..."]],
) -> dict[str, Shaped[np.ndarray, "..."]]:
    """Return the tensors that features need, in float32: all but the batch norms' counters."""
    selected = {}
    for name, value in tensors.items():
        if name.endswith(".num_batches_tracked"):
            continue
        if value.dtype.kind == "f":
            value = value.astype(np.float32)
        selected[name] = value
    return selected


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

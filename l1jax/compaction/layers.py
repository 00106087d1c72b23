"""Layers with parameters: their Linen modules, and which outputs read which inputs."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Shaped

from l1jax.compaction.graph import Node, Tree
from l1jax.models.conditional import ConditionalBatchNorm
from l1jax.models.linear import Conv, Dense
from l1jax.models.r3gan import Basis


class Affine(nn.Module):
    """scale · x + bias for each channel: an inference batch norm that no layer in front can take in."""

    dtype: Any = None

    @nn.compact
    def __call__(self, x: Float[Array, "batch ..."]) -> Float[Array, "batch ..."]:
        """Scale and shift."""
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        return x * scale.astype(x.dtype) + bias.astype(x.dtype)


class Take(nn.Module):
    """Some indices of an axis."""

    axis: int  # of one example
    indices: tuple[int, ...]

    @nn.compact
    def __call__(self, x: Shaped[Array, "batch ..."]) -> Shaped[Array, "batch ..."]:
        """Take them: as a slice where they are in a row."""
        first, last = self.indices[0], self.indices[-1]
        if self.indices == tuple(range(first, last + 1)):
            return x[(slice(None),) * (1 + self.axis) + (slice(first, last + 1),)]
        return jnp.take(x, np.array(self.indices), 1 + self.axis)


class Kind(NamedTuple):
    """A type of layer that can be made again from plain values."""

    module: type[nn.Module]
    fields: tuple[str, ...]  # those that matter, besides the number of features
    params: tuple[str, ...] = ("kernel", "bias")
    statistics: tuple[str, ...] = ()
    required: Mapping[str, Any] = {}  # what fields that have no default must be
    arrays: tuple[str, ...] = ()  # arguments that are arrays, besides the first one


NORM = ("epsilon", "use_bias", "use_scale", "use_fast_variance", "dtype")
NORM_PARAMS = ("scale", "bias")
# `linear`: each output is a sum over inputs, the same with fewer of them, plus a bias.
LINEAR = {
    "dense": Kind(Dense, ("use_bias", "dtype")),
    "conv": Kind(
        Conv,
        ("kernel_size", "stride", "use_bias", "transposed", "resampling", "groups", "dtype"),
    ),
    "linen_dense": Kind(nn.Dense, ("use_bias", "dtype", "precision")),
    "linen_conv": Kind(
        nn.Conv,
        (
            *("kernel_size", "strides", "padding", "input_dilation", "kernel_dilation"),
            *("feature_group_count", "use_bias", "dtype", "precision"),
        ),
    ),
    "linen_conv_transpose": Kind(
        nn.ConvTranspose,
        (
            *("kernel_size", "strides", "padding", "kernel_dilation", "use_bias"),
            *("dtype", "precision", "preferred_element_type"),
        ),
    ),
}
# Each output channel reads the input channel of its own index.
DIAGONAL = {
    "batch_norm": Kind(
        nn.BatchNorm,
        ("momentum", "axis_name", *NORM),
        NORM_PARAMS,
        statistics=("mean", "var"),
    ),
    "conditional_batch_norm": Kind(
        ConditionalBatchNorm, ("classes", "dtype"), NORM_PARAMS, ("moments",), arrays=("label",)
    ),
    "basis": Kind(
        Basis,
        ("size", "transposed", "dtype"),
        ("kernel",),
        required={"transposed": True},
    ),
    "affine": Kind(Affine, ("dtype",), NORM_PARAMS),
}
# Each output reads all inputs: nothing goes.
MIXING = {
    "layer_norm": Kind(nn.LayerNorm, NORM, NORM_PARAMS),
    "group_norm": Kind(nn.GroupNorm, ("num_groups", "group_size", *NORM), NORM_PARAMS),
}
# Each output channel is a column of a table, of which integers choose the rows.
LOOKUP = {"embed": Kind(nn.Embed, ("num_embeddings", "dtype"), ("embedding",))}
TAKE = {"take": Kind(Take, ("axis", "indices"), ())}
LAYERS = {**LINEAR, **DIAGONAL, **MIXING, **LOOKUP}
MODULES = {op: kind.module for op, kind in {**LAYERS, **TAKE}.items()}
BY_TYPE = {kind.module: (op, kind) for op, kind in {**LAYERS, **TAKE}.items()}


def build(node: Node, train: bool) -> nn.Module:
    """The layer's module, to be called in the compact method of another one."""
    options: dict[str, Any] = {**node.options, "name": node.name or None}
    for field in ("dtype", "preferred_element_type"):
        if options.get(field) is not None:
            options[field] = jnp.dtype(options[field])
    if isinstance(options.get("precision"), list):  # JSON has no tuples
        options["precision"] = tuple(options["precision"])
    if node.op in LINEAR or node.op in LOOKUP:
        options["features"] = node.shape[-1]
    if node.op == "batch_norm":
        options["use_running_average"] = not train
    return MODULES[node.op](**options)


def groups(node: Node) -> int:
    """Groups of a linear layer's channels, each reading its own inputs."""
    return node.options.get("groups", node.options.get("feature_group_count", 1))


def connections(node: Node, params: Tree) -> np.ndarray:
    """Of a linear layer, inputs × outputs: whether the kernel has an entry there that is not zero."""
    kernel = np.asarray(params["kernel"])
    read = np.any(kernel.reshape(-1, *kernel.shape[-2:]) != 0, axis=0)
    count = groups(node)
    if count == 1:
        return read
    inputs, outputs = read.shape[0], read.shape[1] // count
    whole = np.zeros((inputs * count, outputs * count), bool)
    for g in range(count):
        own = slice(g * outputs, (g + 1) * outputs)
        whole[g * inputs : (g + 1) * inputs, own] = read[:, own]
    return whole


def scaled_channels(node: Node, params: Tree) -> np.ndarray:
    """Of a diagonal layer: which outputs read their input."""
    if node.op == "basis":
        return np.any(np.asarray(params["kernel"]) != 0, axis=(0, 1, 2))
    if "scale" not in params:
        return np.ones(node.shape[-1], bool)
    scale = np.asarray(params["scale"])
    return np.any(scale.reshape(-1, scale.shape[-1]) != 0, axis=0)


def sees_no_border(node: Node) -> bool:
    """Whether every output reads the whole kernel, nowhere a zero that pads or enlarges."""
    options = node.options
    if node.op in ("dense", "linen_dense"):
        return True
    sizes = np.ravel(options["kernel_size"])
    pointwise = bool(np.all(sizes == 1))
    padding = options.get("padding", "SAME")
    if node.op == "conv":
        return pointwise and (not options["transposed"] or options["stride"] == 1)
    if node.op == "linen_conv_transpose":
        return pointwise and _ones(options["strides"]) and padding in ("SAME", "VALID")
    if not _ones(options["input_dilation"]):
        return False
    if isinstance(padding, str):
        return padding in ("VALID", "CIRCULAR", "REFLECT") or pointwise
    return not np.any(padding)


def _ones(values: Any) -> bool:
    return values is None or bool(np.all(np.ravel(values) == 1))

"""The layers that a layout may have: their Linen modules and what to know about them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Shaped

from l1jax.models.conditional import ConditionalBatchNorm
from l1jax.models.layout.node import Node
from l1jax.models.linear import Conv, Dense
from l1jax.models.r3gan import Basis
from l1jax.models.transformer_layers import SelfAttention
from l1jax.models.unet_blocks import FullAttention


class Affine(nn.Module):
    """Compute scale · x + bias for each channel.

    It replaces a batch norm in inference that cannot be folded into a layer in front of it.
    """

    # Ignored: the input's type is kept. The field makes all layers' options alike.
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "batch ..."]) -> Float[Array, "batch ..."]:
        """Scale and shift each channel."""
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        return x * scale.astype(x.dtype) + bias.astype(x.dtype)


class Take(nn.Module):
    """Select some indices of an axis."""

    # Axis of one example, which has no batch axis.
    axis: int
    indices: tuple[int, ...]

    @nn.compact
    def __call__(self, x: Shaped[Array, "batch ..."]) -> Shaped[Array, "batch ..."]:
        """Select the indices, with a slice where they are consecutive."""
        first = self.indices[0]
        last = self.indices[-1]
        if self.indices == tuple(range(first, last + 1)):
            return x[(slice(None),) * (1 + self.axis) + (slice(first, last + 1),)]
        return jnp.take(x, np.array(self.indices), 1 + self.axis)


class LayerKind(NamedTuple):
    """A type of layer that can be made again from plain values."""

    module: type[nn.Module]
    # Fields that change what the layer computes, besides the number of features.
    fields: tuple[str, ...]
    params: tuple[str, ...] = ("kernel", "bias")
    batch_stats: tuple[str, ...] = ()
    # The only supported value of fields that have no default.
    required: Mapping[str, Any] = MappingProxyType({})
    # Arguments that are arrays, besides the first one.
    array_arguments: tuple[str, ...] = ()


NORM_FIELDS = ("epsilon", "use_bias", "use_scale", "use_fast_variance", "dtype")
NORM_PARAMS = ("scale", "bias")
# Each output is a weighted sum of inputs plus a bias; fewer inputs make a shorter sum.
LINEAR = {
    "dense": LayerKind(Dense, ("use_bias", "dtype")),
    "conv": LayerKind(
        Conv,
        ("kernel_size", "stride", "use_bias", "transposed", "resampling", "groups", "dtype"),
    ),
    "linen_dense": LayerKind(nn.Dense, ("use_bias", "dtype", "precision")),
    "linen_conv": LayerKind(
        nn.Conv,
        (
            *("kernel_size", "strides", "padding", "input_dilation", "kernel_dilation"),
            *("feature_group_count", "use_bias", "dtype", "precision"),
        ),
    ),
    "linen_conv_transpose": LayerKind(
        nn.ConvTranspose,
        (
            *("kernel_size", "strides", "padding", "kernel_dilation", "use_bias"),
            *("dtype", "precision", "preferred_element_type"),
        ),
    ),
}
# Each output channel reads the input channel of its own index.
DIAGONAL = {
    "batch_norm": LayerKind(
        nn.BatchNorm,
        ("momentum", "axis_name", *NORM_FIELDS),
        NORM_PARAMS,
        batch_stats=("mean", "var"),
    ),
    "conditional_batch_norm": LayerKind(
        ConditionalBatchNorm,
        ("classes", "dtype"),
        NORM_PARAMS,
        ("moments",),
        array_arguments=("label",),
    ),
    "basis": LayerKind(
        Basis,
        ("size", "transposed", "dtype"),
        ("kernel",),
        required={"transposed": True},
    ),
    "affine": LayerKind(Affine, ("dtype",), NORM_PARAMS),
}
# Each output depends on all inputs, so no channel can be removed.
MIXING = {"layer_norm": LayerKind(nn.LayerNorm, NORM_FIELDS, NORM_PARAMS)}
# Each output depends on the inputs of its own group of channels, which can be removed as a whole.
GROUPED = {
    "group_norm": LayerKind(nn.GroupNorm, ("num_groups", "group_size", *NORM_FIELDS), NORM_PARAMS)
}
# Each output channel is a column of a table whose rows are selected by integers.
LOOKUP = {"embed": LayerKind(nn.Embed, ("num_embeddings", "dtype"), ("embedding",))}
# Its channels are those of heads, and each head mixes the positions along the first axis.
ATTENTION = {
    "attention": LayerKind(
        SelfAttention,
        ("heads", "key_value_heads", "context", "rotary_base"),
        (),
        array_arguments=("key", "value"),
    ),
    "full_attention": LayerKind(
        FullAttention,
        ("heads", "key_value_heads"),
        (),
        array_arguments=("key", "value"),
    ),
}
TAKE = {"take": LayerKind(Take, ("axis", "indices"), ())}
LAYERS = {**LINEAR, **DIAGONAL, **MIXING, **GROUPED, **LOOKUP}
WITHOUT_PARAMS = {**ATTENTION, **TAKE}
MODULES = {op: kind.module for op, kind in {**LAYERS, **WITHOUT_PARAMS}.items()}
BY_TYPE = {kind.module: (op, kind) for op, kind in {**LAYERS, **WITHOUT_PARAMS}.items()}


def build_layer(node: Node, train: bool) -> nn.Module:
    """Make a layer's module, to be called in the compact method of another module."""
    options: dict[str, Any] = {**node.options, "name": node.name or None}
    for field in ("dtype", "preferred_element_type"):
        if options.get(field) is not None:
            options[field] = jnp.dtype(options[field])
    if isinstance(options.get("precision"), list):
        # JSON has no tuples.
        options["precision"] = tuple(options["precision"])
    if node.op in LINEAR or node.op in LOOKUP:
        options["features"] = node.shape[-1]
    if node.op == "batch_norm":
        options["use_running_average"] = not train
    return MODULES[node.op](**options)

"""Rewrite a dense or convolutional layer with fewer channels; its constant inputs go elsewhere."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from l1jax.compaction.connections import connections, group_count, sees_no_border
from l1jax.compaction.constants import constant_channels, evaluate_layer
from l1jax.compaction.graph import collapse, full_masks
from l1jax.compaction.rewriter import Rewriter
from l1jax.models.layout.node import Node

# The axes of the window, then input channels of one group, then output channels.
Kernel = Float[np.ndarray, "..."]


class LinearLayer(NamedTuple):
    """What a linear layer computes from the channels that are left."""

    # Live inputs and outputs, by their original index.
    inputs: Int[np.ndarray, " live_inputs"]
    outputs: Int[np.ndarray, " live_outputs"]
    # Of the original layer, with all its channels.
    kernel: Kernel
    bias: Float[np.ndarray, " outputs"] | None
    # Kernel of one more input channel, which is 1 everywhere; None if there is none.
    ones_kernel: Kernel | None


class ChannelGroup(NamedTuple):
    """The part of one group of channels that is left."""

    # Original indices of its outputs.
    outputs: Int[np.ndarray, " group_outputs"]
    # Positions of its inputs among the live inputs; the channel of ones comes after them.
    inputs: Int[np.ndarray, " group_inputs"]
    kernel: Kernel


def rewrite_linear(rewriter: Rewriter, i: int, node: Node) -> int:
    """Add a linear layer with its live channels only and return the new node.

    Args:
        rewriter: the smaller graph so far.
        i: index of the original node.
        node: the original node.
    """
    params = rewriter.graph.params[node.name]
    source = node.inputs[0]
    shape = rewriter.graph.nodes[source].shape
    live_outputs = rewriter.live[i][-1]
    kernel = np.asarray(params["kernel"], np.float64)
    bias = np.asarray(params["bias"], np.float64) if "bias" in params else None

    read = connections(node, params)[:, live_outputs].any(1)
    constant = constant_channels(rewriter.constants[source], shape)
    value = np.broadcast_to(rewriter.constants[source].value, shape)
    constant_inputs = np.where(read & constant, value, 0)
    ones_kernel = None
    offset = None
    if constant_inputs.any():
        by_channel = collapse(constant_inputs)
        if by_channel.size == by_channel.shape[-1]:
            ones_kernel = sum_constants(node, kernel, by_channel.reshape(-1))
        else:
            # The constants differ from pixel to pixel.
            offset = evaluate_layer(node, params, constant_inputs, bias=False)[..., live_outputs]
    if ones_kernel is not None and sees_no_border(node):
        total = ones_kernel.sum(tuple(range(ones_kernel.ndim - 1)))
        bias = total if bias is None else bias + total
        ones_kernel = None

    live_inputs = read & ~constant
    inputs = rewriter.operand(source, (*full_masks(shape[:-1]), live_inputs))
    layer = LinearLayer(
        np.flatnonzero(live_inputs), np.flatnonzero(live_outputs), kernel, bias, ones_kernel
    )
    index = _add_layer(rewriter, node, layer, inputs)
    if offset is None:
        return index
    added = rewriter.constant(offset, node.dtype, f"{node.name}_offset", keep_short=True)
    return rewriter.add(Node("add", (index, added), rewriter.nodes[index].shape, node.dtype))


def sum_constants(
    node: Node, kernel: Kernel, values: Float[np.ndarray, " channels"]
) -> Kernel | None:
    """Return the kernel of one channel of ones that stands for constant channels.

    Args:
        node: the linear layer.
        kernel: its kernel.
        values: the constant of each input channel, 0 for channels that are not constant.

    Returns:
        The sum of the constant channels' kernels, each times its constant; None if it is zero.
    """
    groups = group_count(node)
    group_inputs = kernel.shape[-2]
    group_outputs = kernel.shape[-1] // groups
    parts = []
    for group in range(groups):
        group_values = values[group * group_inputs : (group + 1) * group_inputs]
        group_kernel = kernel[..., group * group_outputs : (group + 1) * group_outputs]
        parts.append(np.einsum("i,...io->...o", group_values, group_kernel))
    ones_kernel = np.concatenate(parts, -1)[..., None, :]
    return ones_kernel if ones_kernel.any() else None


def _add_layer(rewriter: Rewriter, node: Node, layer: LinearLayer, inputs: int) -> int:
    """Add a linear layer that reads the live input channels, which the node `inputs` computes.

    All groups of channels must have equal sizes, so each is padded to the largest: superfluous
    inputs are multiplied by zero, and superfluous outputs are not read.
    """
    groups = _split_groups(layer, group_count(node))
    ones_position = len(layer.inputs)
    if layer.ones_kernel is not None and any(ones_position in group.inputs for group in groups):
        inputs = rewriter.append_ones(inputs)
    group_inputs = max(len(group.inputs) for group in groups)
    group_outputs = max(len(group.outputs) for group in groups)
    order = np.concatenate([np.resize(group.inputs, group_inputs) for group in groups])
    inputs = rewriter.take_channels(inputs, order)

    kernels = [_pad_kernel(group.kernel, group_inputs, group_outputs) for group in groups]
    params = {"kernel": np.concatenate(kernels, -1)}
    had_bias = "bias" in rewriter.graph.params[node.name]
    if layer.bias is not None and (layer.bias[layer.outputs].any() or had_bias):
        biases = []
        for group in groups:
            missing = group_outputs - len(group.outputs)
            biases.append(np.pad(layer.bias[group.outputs], (0, missing)))
        params["bias"] = np.concatenate(biases)
    rewriter.params[node.name] = params

    options = {**node.options, "use_bias": "bias" in params}
    for key in ("groups", "feature_group_count"):
        if key in options:
            options[key] = len(groups)
    shape = (*node.shape[:-1], group_outputs * len(groups))
    index = rewriter.add(node._replace(inputs=(inputs,), shape=shape, options=options))
    positions = []
    for i, group in enumerate(groups):
        positions.append(i * group_outputs + np.arange(len(group.outputs)))
    return rewriter.take_channels(index, np.concatenate(positions))


def _split_groups(layer: LinearLayer, count: int) -> list[ChannelGroup]:
    """Split a layer by groups of channels; groups without live outputs are left out."""
    group_inputs = layer.kernel.shape[-2]
    group_outputs = layer.kernel.shape[-1] // count
    groups = []
    for group in range(count):
        outputs = layer.outputs[layer.outputs // group_outputs == group]
        if not outputs.size:
            continue
        positions = np.flatnonzero(layer.inputs // group_inputs == group)
        rows = layer.inputs[positions] - group * group_inputs
        kernel = layer.kernel[..., rows, :][..., outputs]
        if layer.ones_kernel is not None and layer.ones_kernel[..., outputs].any():
            kernel = np.concatenate([kernel, layer.ones_kernel[..., outputs]], -2)
            positions = np.append(positions, len(layer.inputs))
        groups.append(ChannelGroup(outputs, positions, kernel))
    return groups


def _pad_kernel(kernel: Kernel, inputs: int, outputs: int) -> Kernel:
    """Pad a kernel with zeros to this number of input and output channels."""
    widths = [(0, 0)] * kernel.ndim
    widths[-2] = (0, inputs - kernel.shape[-2])
    widths[-1] = (0, outputs - kernel.shape[-1])
    return np.pad(kernel, widths)

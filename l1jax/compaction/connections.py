"""Which outputs of a layer with parameters depend on which of its inputs."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

from l1jax.models.layout.node import Node, Tree


def group_count(node: Node) -> int:
    """Return the number of groups of a linear layer's channels; each group reads its own inputs."""
    return node.options.get("groups", node.options.get("feature_group_count", 1))


def norm_groups(node: Node) -> int:
    """Return the number of groups of a group norm's channels."""
    size = node.options.get("group_size")
    return node.options["num_groups"] if size is None else node.shape[-1] // size


def whole_groups(channels: Bool[np.ndarray, " channels"], count: int) -> np.ndarray:
    """Extend channels to all of each group that has one of them.

    Args:
        channels: the selected ones.
        count: of the groups, which are equally long.
    """
    groups = channels.reshape(count, -1)
    return np.broadcast_to(groups.any(1, keepdims=True), groups.shape).reshape(-1)


def connections(node: Node, params: Tree) -> Bool[np.ndarray, "inputs outputs"]:
    """Return which outputs of a linear layer read which inputs with a weight that is not zero."""
    kernel = np.asarray(params["kernel"])
    # In a grouped layer the rows are the inputs of one group.
    nonzero = np.any(kernel.reshape(-1, *kernel.shape[-2:]) != 0, axis=0)
    groups = group_count(node)
    if groups == 1:
        return nonzero
    group_inputs = nonzero.shape[0]
    group_outputs = nonzero.shape[1] // groups
    connected = np.zeros((group_inputs * groups, group_outputs * groups), bool)
    for group in range(groups):
        inputs = slice(group * group_inputs, (group + 1) * group_inputs)
        outputs = slice(group * group_outputs, (group + 1) * group_outputs)
        connected[inputs, outputs] = nonzero[:, outputs]
    return connected


def scaled_channels(node: Node, params: Tree) -> Bool[np.ndarray, " channels"]:
    """Return which outputs of a diagonal layer depend on their input."""
    if node.op == "basis":
        return np.any(np.asarray(params["kernel"]) != 0, axis=(0, 1, 2))
    if "scale" not in params:
        return np.ones(node.shape[-1], bool)
    scale = np.asarray(params["scale"])
    return np.any(scale.reshape(-1, scale.shape[-1]) != 0, axis=0)


def sees_no_border(node: Node) -> bool:
    """Return whether every output pixel uses the whole kernel and never a zero of the padding.

    Zeros that dilate the input of a transposed convolution count as padding, too.
    """
    options = node.options
    if node.op in ("dense", "linen_dense"):
        return True
    pointwise = bool(np.all(np.ravel(options["kernel_size"]) == 1))
    padding = options.get("padding", "SAME")
    if node.op == "conv":
        return pointwise and (not options["transposed"] or options["stride"] == 1)
    if node.op == "linen_conv_transpose":
        return pointwise and _all_ones(options["strides"]) and padding in ("SAME", "VALID")
    if not _all_ones(options["input_dilation"]):
        return False
    if isinstance(padding, str):
        return padding in ("VALID", "CIRCULAR", "REFLECT") or pointwise
    return not np.any(padding)


def _all_ones(values: Sequence[int] | int | None) -> bool:
    return values is None or bool(np.all(np.ravel(values) == 1))

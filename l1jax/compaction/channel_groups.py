"""The groups of parameters that belong to one channel each, found in a network's graph."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from jaxtyping import Array, PyTree

from l1jax.compaction.channel_labels import FIXED, LabelledGraph, Slot, label_graph
from l1jax.compaction.graph import Graph
from l1jax.compaction.trace import trace
from l1jax.penalties import Slices
from l1jax.penalties.sparsity import path_name

ROUNDING = 1e-4  # of a kernel that a norm of weights has scaled


def channel_groups(
    module: object, variables: Mapping[str, PyTree], *inputs: Any, **options: Any
) -> dict[str, Slices]:
    """Find the parameters of each channel of a Linen module, for `l1jax.coupled`.

    A group is everything that must be zero for a channel to be removed: the column of each kernel
    that writes it, its bias, its scale and shift in a norm, and, where a residual sum or a product
    joins several channels, all of theirs: a feed-forward unit has a column of `up` and `gate`, an
    attention head columns of `query`, `key` and `value`. The rows of the kernels that read the
    channel belong to its group, too, where these kernels have no removable channels of their own: a
    row of `down`, or of a last layer. A kernel in the middle belongs to what it writes, since no
    entry can be in two groups; its rows go with the channel all the same, because `compact_linen`
    leaves out what reads a channel that is zero.

    The channels of a group norm's group are removed together, so they are one group here, too.
    Channels that cannot be removed are in no group: those of inputs and outputs, and of what a
    layer norm or another mixture of channels reads.

    Args:
        module: a module of flax.linen that `compact_linen` understands.
        variables: the collections "params" and "batch_stats"; concrete.
        *inputs: an example of each input, with a batch axis in front, or a `jax.ShapeDtypeStruct`.
        **options: other arguments of the module, such as train=False.

    Returns:
        Path of a parameter → the axis that numbers its channels, and their groups.

    Raises:
        ValueError: if the network has an operation or a layer whose dependencies between channels
            are not known, naming it; or if no channel can be removed.

    Source: Fang, Ma, Song, Bi Mi, Wang, DepGraph: Towards any structural pruning, CVPR 2023.

    >>> import flax.linen as nn, jax, jax.numpy as jnp
    >>> from l1jax.compaction import channel_groups
    >>> network = nn.Sequential([nn.Dense(2), nn.relu, nn.Dense(3)])
    >>> variables = network.init(jax.random.key(0), jnp.ones((1, 4)))
    >>> for path, slices in channel_groups(network, variables, jnp.ones((1, 4))).items():
    ...     print(path, slices.axis, slices.groups)
    layers_0/kernel -1 (0, 1)
    layers_0/bias -1 (0, 1)
    layers_2/kernel -2 (0, 1)
    """
    if not isinstance(module, nn.Module):
        raise ValueError(
            f"`module` (={type(module).__name__}) must be a module of flax.linen; modules of "
            "flax.nnx and others are not supported."
        )

    def apply(*xs: Array) -> PyTree:
        return module.apply(variables, *xs, **options)

    return groups_of_function(apply, variables, inputs)


def groups_of_function(
    apply: Callable[..., Any],
    variables: Mapping[str, PyTree],
    inputs: Sequence[Any],
    *,
    any_layer: bool = False,
) -> dict[str, Slices]:
    """Find the parameters of each channel of a function that applies Linen modules.

    Args:
        apply: inputs → outputs, with a batch axis in front of each.
        variables: the collections "params" and "batch_stats"; concrete.
        inputs: an example of each input, with a batch axis.
        any_layer: whether layers are allowed whose channels are known but that cannot be compacted,
            such as one with spectral normalisation.

    Raises:
        ValueError: as `channel_groups` does.
    """
    shapes = [jax.ShapeDtypeStruct(x.shape[1:], x.dtype) for x in inputs]
    graph = trace(apply, variables, shapes, any_layer=any_layer)
    labelled = label_graph(graph)
    leaves = jax.tree_util.tree_leaves_with_path(variables["params"])
    stored = {path_name(path): np.asarray(leaf) for path, leaf in leaves}
    slots = _stored_slots(graph, labelled, stored)
    unstored = _unstored_channels(labelled, slots)
    found: dict[str, tuple[int, np.ndarray]] = {}
    for is_written in (True, False):
        for path, slot in slots:
            channels = labelled.of(slot)
            channels = np.where(np.isin(channels, unstored), FIXED, channels)
            if slot.is_written == is_written and path not in found and channels.any():
                found[path] = (slot.axis, channels)
    if not found:
        raise ValueError(
            "`module` must have channels that can be removed: every one of them is an input, an "
            "output, or mixed with all others by a norm."
        )
    return _numbered({path: found[path] for path in stored if path in found})


def _stored_slots(
    graph: Graph, labelled: LabelledGraph, stored: Mapping[str, np.ndarray]
) -> list[tuple[str, Slot]]:
    """Return the slots whose parameter is one of the variables, with its path and its axis there.

    Under a wrapper, or where a kernel is stored with its channels exchanged, a layer computes with
    other numbers than those that are stored.
    """
    slots = []
    for slot in labelled.slots:
        path = f"{slot.layer}/{slot.param}"
        if path not in stored and slot.layer == "layer":
            path = slot.param
        if path not in stored:
            continue
        used = np.asarray(graph.params[slot.layer][slot.param])
        axis = _stored_axis(stored[path], used, slot.axis)
        if axis is not None:
            slots.append((path, slot._replace(axis=axis)))
    return slots


def _stored_axis(stored: np.ndarray, used: np.ndarray, axis: int) -> int | None:
    """Return the axis of a stored parameter that is this one of the parameter in use, if any."""
    if stored.shape == used.shape and np.array_equal(stored, used):
        return axis
    if stored.ndim >= 2:
        spatial = tuple(range(stored.ndim - 2))
        exchanged = np.flip(stored, spatial).swapaxes(-1, -2)
        if exchanged.shape == used.shape and np.array_equal(exchanged, used):
            return {-1: -2, -2: -1}[axis]
    if stored.shape != used.shape:
        return None
    # A norm of the weights scales the whole kernel, or each of its columns.
    columns = tuple(range(stored.ndim - 1))
    a = stored.astype(np.float64)
    b = used.astype(np.float64)
    scale = np.sum(a * b, columns) / np.maximum(np.sum(a * a, columns), 1e-300)
    error = np.abs(a * scale - b).max(initial=0)
    return axis if error <= ROUNDING * np.abs(b).max(initial=1e-300) else None


def _unstored_channels(labelled: LabelledGraph, slots: list[tuple[str, Slot]]) -> np.ndarray:
    """Return the channels that something writes that is not among the variables."""
    kept = {(slot.layer, slot.param) for _, slot in slots if slot.is_written}
    missing = [np.zeros(0, int)]
    for slot in labelled.slots:
        if slot.is_written and (slot.layer, slot.param) not in kept:
            missing.append(labelled.of(slot))
    return np.unique(np.concatenate(missing))


def _numbered(found: Mapping[str, tuple[int, np.ndarray]]) -> dict[str, Slices]:
    """Give the channels numbers from 0 on, as they come, and −1 to what is in none."""
    numbers: dict[int, int] = {FIXED: -1}
    groups = {}
    for path, (axis, channels) in found.items():
        for channel in channels.tolist():
            numbers.setdefault(channel, len(numbers) - 1)
        groups[path] = Slices(axis, tuple(numbers[channel] for channel in channels.tolist()))
    return groups

"""What the zeros of a network amount to: dead channels, parameters, FLOPs and bytes that are left."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from l1jax.models.summary import Layer
from l1jax.penalties.sparsity import path_name


class LayerZeros(NamedTuple):
    """A kernel's zeros."""

    path: str
    entries: int
    zeros: int
    outputs: int  # output channels
    dead_outputs: int  # whose entries are all zero
    flops: int  # of one example, forward, of the dense kernel; 0 where the layer is not known
    effective_flops: int  # those whose kernel entry is not zero


class NetworkZeros(NamedTuple):
    """A network's zeros, its parameters being float32."""

    layers: tuple[LayerZeros, ...]  # those with kernels
    parameters: int  # all, norms and biases included
    effective_parameters: int  # those that are not zero
    bytes: int  # dense
    compressed_bytes: (
        int  # one bit per entry and the values that are not zero, or dense where that is smaller
    )

    @property
    def sparsity(self) -> float:
        """Share of the kernels' entries that are zero."""
        return sum(layer.zeros for layer in self.layers) / max(
            sum(layer.entries for layer in self.layers), 1
        )

    @property
    def dead_outputs(self) -> float:
        """Share of the output channels that are dead."""
        return sum(layer.dead_outputs for layer in self.layers) / max(
            sum(layer.outputs for layer in self.layers), 1
        )

    @property
    def flops(self) -> int:
        """Of one example, forward, dense."""
        return sum(layer.flops for layer in self.layers)

    @property
    def effective_flops(self) -> int:
        """Of one example, forward, with the kernels' entries that are not zero."""
        return sum(layer.effective_flops for layer in self.layers)

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {
            "kernels": self.sparsity,
            "dead_outputs": self.dead_outputs,
            "parameters": self.parameters,
            "effective_parameters": self.effective_parameters,
            "flops": self.flops,
            "effective_flops": self.effective_flops,
            "bytes": self.bytes,
            "compressed_bytes": self.compressed_bytes,
            "layers": [layer._asdict() for layer in self.layers],
        }


def count_zeros(params: PyTree, layers: Sequence[Layer] = ()) -> NetworkZeros:
    """Count the exact zeros of a network's parameters, layer by layer.

    Args:
        params: a tree of concrete arrays; those named `kernel` have their output channels last.
        layers: what `l1jax.models.summary.layers` gives for the network, for the FLOPs.
    """
    flops = {layer.name: layer.flops for layer in layers}
    rows, parameters, left, compressed = [], 0, 0, 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        values, name = np.asarray(leaf), path_name(path)
        kept = int(np.count_nonzero(values))
        parameters, left = parameters + values.size, left + kept
        compressed += min(4 * values.size, 4 * kept + -(-values.size // 8))
        if name.split("/")[-1] == "kernel":
            dead = int(np.sum(~np.any(values.reshape(-1, values.shape[-1]), axis=0)))
            dense = flops.get(name.removesuffix("/kernel"), 0)
            share = kept / max(values.size, 1)
            zeros = values.size - kept
            rows.append(
                LayerZeros(
                    name, values.size, zeros, values.shape[-1], dead, dense, round(dense * share)
                )
            )
    return NetworkZeros(tuple(rows), parameters, left, 4 * parameters, compressed)

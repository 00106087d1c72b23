"""Count the zeros of a network, and the channels, parameters, FLOPs and bytes that are left."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from l1jax.models.summary import Layer
from l1jax.penalties.sparsity import path_name


class LayerZeros(NamedTuple):
    """The zeros of a kernel."""

    path: str
    entries: int
    zeros: int
    outputs: int  # output channels
    dead_outputs: int  # output channels whose entries are all zero
    flops: int  # of the forward pass of one example, if no entry were zero; 0 if unknown
    effective_flops: int  # those whose kernel entry is not zero


class NetworkZeros(NamedTuple):
    """The zeros of a network with float32 parameters."""

    layers: tuple[LayerZeros, ...]  # those with kernels
    parameters: int  # all, norms and biases included
    effective_parameters: int  # those that are not zero
    bytes: int  # of all parameters
    compressed_bytes: int
    """One bit per entry and the values that are not zero; or all values where that is smaller."""

    @property
    def sparsity(self) -> float:
        """Share of the kernels' entries that are zero."""
        zeros = sum(layer.zeros for layer in self.layers)
        return zeros / max(sum(layer.entries for layer in self.layers), 1)

    @property
    def dead_outputs(self) -> float:
        """Share of the output channels that are dead."""
        dead = sum(layer.dead_outputs for layer in self.layers)
        return dead / max(sum(layer.outputs for layer in self.layers), 1)

    @property
    def flops(self) -> int:
        """FLOPs of the forward pass of one example, if no entry were zero."""
        return sum(layer.flops for layer in self.layers)

    @property
    def effective_flops(self) -> int:
        """FLOPs of the forward pass of one example, for the entries that are not zero."""
        return sum(layer.effective_flops for layer in self.layers)

    def to_json(self) -> dict[str, object]:
        """Return all numbers as plain values."""
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
        params: a tree of concrete arrays. Those named `kernel` have their output channels last.
        layers: result of `l1jax.models.summary.layers` for the network, which the FLOPs need.
    """
    flops = {layer.name: layer.flops for layer in layers}
    rows = []
    num_parameters = 0
    num_nonzeros = 0
    compressed_bytes = 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        values = np.asarray(leaf)
        name = path_name(path)
        nonzeros = int(np.count_nonzero(values))
        num_parameters += values.size
        num_nonzeros += nonzeros
        bitmask_bytes = math.ceil(values.size / 8)
        compressed_bytes += min(4 * values.size, 4 * nonzeros + bitmask_bytes)
        if name.split("/")[-1] == "kernel":
            is_alive = np.any(values.reshape(-1, values.shape[-1]), axis=0)
            layer_flops = flops.get(name.removesuffix("/kernel"), 0)
            share = nonzeros / max(values.size, 1)
            row = LayerZeros(
                path=name,
                entries=values.size,
                zeros=values.size - nonzeros,
                outputs=values.shape[-1],
                dead_outputs=int(np.sum(~is_alive)),
                flops=layer_flops,
                effective_flops=round(layer_flops * share),
            )
            rows.append(row)
    return NetworkZeros(
        tuple(rows), num_parameters, num_nonzeros, 4 * num_parameters, compressed_bytes
    )

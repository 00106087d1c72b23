"""How the penalised weights of each network are distributed, without those that are zero."""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int, PyTree, Shaped

from l1jax.penalties.sparsity import path_name, select_leaves
from l1jax.training.state import NetworkState, State, Task
from l1jax.transforms import solution

NUM_BINS = 64


class Histogram(NamedTuple):
    """The entries of a parameter that are not zero.

    Exact zeros are left out, as they would dwarf all other bins. Their share in each parameter is
    a metric of its own, `generator/sparsity/…`.

    Attributes:
        counts: number of entries in each bin; their sum is the number of entries in all.
        edges: of the bins, which are equally wide, from the smallest entry to the largest.
        total: sum of the entries.
        total_squares: sum of their squares.
    """

    counts: Int[np.ndarray, " bins"]
    edges: Float[np.ndarray, " bins+1"]
    total: float
    total_squares: float


def weight_histograms(state: State, task: Task) -> dict[str, Histogram]:
    """Count the penalised entries of each network that are not zero, on the host.

    Args:
        state: whose networks are taken; of an optimiser that keeps a sparse iterate beside the
            parameters, that iterate.
        task: for the paths that are penalised.

    Returns:
        Names such as `generator/nonzero/hidden_0/kernel` → histogram. Parameters without such an
        entry are left out.
    """
    histograms = {}
    for network_name, network in state._asdict().items():
        if not isinstance(network, NetworkState):
            continue
        params = solution(network.opt_state, network.params)
        for path, leaf in _penalised(params, task.penalised[network_name]).items():
            histogram = nonzero_histogram(leaf)
            if histogram is not None:
                histograms[f"{network_name}/nonzero/{path}"] = histogram
    return histograms


def nonzero_histogram(values: Shaped[np.ndarray, "..."]) -> Histogram | None:
    """Count the finite entries that are not exactly zero; None if there are none."""
    entries = np.asarray(values)
    if entries.dtype not in (np.float32, np.float64):  # NumPy has no histogram of bfloat16
        entries = entries.astype(np.float32)
    entries = entries[(entries != 0) & np.isfinite(entries)]
    if not entries.size:
        return None
    counts, edges = np.histogram(entries, NUM_BINS)
    total = np.sum(entries, dtype=np.float64)
    total_squares = np.sum(np.square(entries, dtype=np.float64))
    return Histogram(counts, edges.astype(np.float64), float(total), float(total_squares))


def _penalised(params: PyTree, pattern: str) -> dict[str, np.ndarray]:
    """Copy the leaves that the pattern selects to the host, by path."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    selected = jax.tree.leaves(select_leaves(params, pattern))
    chosen = {
        path_name(path): leaf
        for (path, leaf), counts in zip(leaves, selected, strict=True)
        if counts
    }
    return jax.device_get(chosen)

"""The weights that a run begins from, kept in its work directory.

The run is then complete in itself: it can begin anew or go back to step 0 when the place that the
weights come from is gone, and every process reads them from the storage that all share.
"""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from l1jax.config import Config, InputError
from l1jax.evaluation.tensors import Tensors, hash_tensors, load_tensors, save_tensors
from l1jax.models.flow_inputs import LENGTH
from l1jax.penalties.sparsity import path_name, show_paths
from l1jax.training.state import NetworkState, NetworkWeights, Weights

ORIGIN_FILE = "origin.safetensors"
MAX_SHAPES_SHOWN = 4  # in an error
HAS_ENTRIES = "must have the parameters of this experiment's networks"
REMEDY = "give the --model flags of the experiment that it comes from"


def named_weights(weights: Weights) -> Tensors:
    """Return all arrays by network and path, such as `generator/params/image/kernel`."""
    return {
        name: np.asarray(leaf)
        for network, pair in weights.items()
        for name, leaf in _named_leaves(network, pair)
    }


def fit_weights(
    tensors: Tensors,
    template: PyTree,
    networks: Sequence[str],
    source: str,
    added: Collection[str] = (),
) -> Weights:
    """Arrange arrays by path as the weights of a state's networks.

    Args:
        tensors: as `named_weights` returns them.
        template: a state, or its shapes.
        networks: names of the networks that the arrays belong to.
        source: where they come from, for errors.
        added: names of arrays that start at zero where `tensors` lacks them.

    Returns:
        The weights, with the dtypes of the template.

    Raises:
        InputError: naming the paths and both shapes if something is missing, left over, or of
            another shape.
    """
    wanted = {network: _weights_of(getattr(template, network)) for network in networks}
    leaves = {
        name: leaf
        for network, pair in wanted.items()
        for name, leaf in _named_leaves(network, pair)
    }
    missing = leaves.keys() - tensors.keys()
    zeros = {name: np.zeros(leaves[name].shape, np.float32) for name in missing & set(added)}
    tensors = tensors | zeros
    lacking = sorted(missing - zeros.keys())
    surplus = sorted(tensors.keys() - leaves.keys())
    if lacking or surplus:
        differences = []
        if lacking:
            differences.append(f"it lacks {show_paths(lacking)}")
        if surplus:
            differences.append(f"it has {show_paths(surplus)} besides")
        raise InputError(f"`--from` (={source}) {HAS_ENTRIES}: {' and '.join(differences)}.")
    others = [
        f"{name} has the shape {tensors[name].shape} there, and {leaf.shape} in this experiment"
        for name, leaf in leaves.items()
        if tensors[name].shape != leaf.shape
    ]
    if others:
        more = ""
        if len(others) > MAX_SHAPES_SHOWN:
            more = f"; and {len(others) - MAX_SHAPES_SHOWN} more"
        shown = "; ".join(others[:MAX_SHAPES_SHOWN])
        raise InputError(f"`--from` (={source}) does not fit: {shown}{more}; {REMEDY}.")
    return {network: _arrange(network, pair, tensors) for network, pair in wanted.items()}


def check_origin(experiment: Config, template: PyTree, weights: Tensors | None) -> None:
    """Refuse weights that do not fit the networks, before anything is written.

    Args:
        experiment: for where they come from.
        template: the shapes of the state.
        weights: those that the run begins from, if they were read now.

    Raises:
        InputError: naming the paths and both shapes.
    """
    origin = experiment.origin
    if weights is not None and origin is not None:
        fit_weights(weights, template, origin.networks, origin.source, added_weights(experiment))


def write_origin(workdir: Path, weights: Tensors | None) -> None:
    """Keep the weights that a run begins from, if they were read now.

    Raises:
        InputError: if they cannot be written.
    """
    if weights is None:
        return
    try:
        save_tensors(workdir / ORIGIN_FILE, weights, {})
    except OSError as error:
        raise InputError(
            f"`--workdir` (={workdir}) must be writable: {error.strerror or error}."
        ) from error


def has_origin(workdir: Path) -> bool:
    """Return whether a work directory holds the weights that its run began from."""
    return (workdir / ORIGIN_FILE).is_file()


def read_origin(workdir: Path, experiment: Config, template: PyTree) -> Weights:
    """Read the weights that a run begins from.

    Args:
        workdir: of the run.
        experiment: of the run, whose `origin` says what they are.
        template: the shapes of the state.

    Raises:
        InputError: if they are missing, damaged or others.
    """
    origin = experiment.origin
    assert origin is not None
    path = workdir / ORIGIN_FILE
    again = f"give --from {origin.source} again, or --overwrite to start over"
    if not has_origin(workdir):
        raise InputError(f"{path} is missing, which holds what the run begins from: {again}.")
    tensors, _ = load_tensors(path)
    if hash_tensors(tensors) != origin.fingerprint:
        raise InputError(f"{path} does not hold the weights that config.json names: {again}.")
    return fit_weights(tensors, template, origin.networks, origin.source, added_weights(experiment))


def added_weights(experiment: Config) -> tuple[str, ...]:
    """Name the arrays that start at zero if what an experiment begins from lacks them."""
    if getattr(experiment.model, "average_velocity", False):
        return (f"generator/params/{LENGTH}/kernel",)
    return ()


def _weights_of(network: NetworkState) -> NetworkWeights:
    return NetworkWeights(network.params, network.batch_stats)


def _named_leaves(network: str, weights: NetworkWeights) -> Iterator[tuple[str, Any]]:
    """Give each leaf of a network's two trees with its name."""
    for part, tree in {"params": weights.params, "statistics": weights.batch_stats}.items():
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            yield f"{network}/{part}/{path_name(path)}", leaf


def _arrange(network: str, like: NetworkWeights, tensors: Tensors) -> NetworkWeights:
    """Put arrays into trees like these."""
    leaves = [jnp.asarray(tensors[name], leaf.dtype) for name, leaf in _named_leaves(network, like)]
    num_params = len(jax.tree.leaves(like.params))
    return NetworkWeights(
        jax.tree.structure(like.params).unflatten(leaves[:num_params]),
        jax.tree.structure(like.batch_stats).unflatten(leaves[num_params:]),
    )

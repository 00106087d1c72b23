"""What the steps share: gradients over all devices, updates, finiteness."""

from typing import TypeVar

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PyTree

from l1jax.models.gan import AXIS
from l1jax.training.state import Average, NetworkState
from l1jax.transforms import sparse_average

Tree = TypeVar("Tree")


def varying(tree: Tree) -> Tree:
    """Parameters as this device's own, so that their gradient is this device's too.

    Without it the gradient with respect to replicated parameters comes summed over devices.
    """
    return jax.tree.map(lambda leaf: jax.lax.pcast(leaf, AXIS, to="varying"), tree)


def mean_over_devices(tree: Tree) -> Tree:
    """Mean over the mapped axis."""
    return jax.lax.pmean(tree, AXIS)


def update(network: NetworkState, grads: PyTree, statistics: PyTree, tx: optax.GradientTransformation) -> NetworkState:
    """One optimiser step."""
    updates, opt_state = tx.update(grads, network.opt_state, network.params)
    return NetworkState(optax.apply_updates(network.params, updates), statistics, opt_state)


def move_average(average: Average, network: NetworkState, step: Int[Array, ""], decay: ArrayLike) -> Average:
    """Follow the generator; the decay ramps up as (1 + t)/(10 + t), so that early samples are not the start's."""
    decay = jnp.minimum(decay, (1 + step) / (10 + step))
    params = sparse_average(average.params, network.params, decay)
    statistics = optax.tree.cast_like(
        optax.incremental_update(network.statistics, average.statistics, 1 - decay), average.statistics
    )
    return Average(params, statistics)


def all_finite(*scalars: Float[Array, ""]) -> Bool[Array, ""]:
    """Whether none of these is infinite or NaN."""
    return jnp.all(jnp.isfinite(jnp.stack(scalars)))


def keep_if(finite: Bool[Array, ""], new: Tree, old: Tree) -> Tree:
    """The new state where the step was finite, else the old one."""
    return jax.tree.map(lambda n, o: jnp.where(finite, n, o), new, old)

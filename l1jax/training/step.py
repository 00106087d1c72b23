"""What the training steps share: gradients, their means over devices, updates, averages."""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Key, PyTree

from l1jax.models.network import AXIS
from l1jax.penalties.sparsity import path_name
from l1jax.training.state import Average, Metrics, NetworkState, State
from l1jax.transforms import solution, sparse_average

Tree = TypeVar("Tree")
Inputs = TypeVar("Inputs")
AnyState = TypeVar("AnyState", bound=State)


class Gradients(NamedTuple):
    """What one backward pass gives."""

    grads: PyTree
    batch_stats: PyTree  # after the pass
    metrics: Metrics


def varying(tree: Tree) -> Tree:
    """Mark replicated parameters as each device's own, so that their gradient is the device's own.

    Without this, the gradient with respect to replicated parameters is summed over the devices.
    """
    return jax.tree.map(lambda leaf: jax.lax.pcast(leaf, AXIS, to="varying"), tree)


def pmean(tree: Tree) -> Tree:
    """Average over the mapped axis."""
    return jax.lax.pmean(tree, AXIS)


def gradient_norms(name: str, grads: PyTree) -> Metrics:
    """Compute the norm of a network's gradient, as a whole and for each parameter."""
    squares = {
        path_name(path): jnp.sum(jnp.square(leaf))
        for path, leaf in jax.tree_util.tree_leaves_with_path(grads)
    }
    norms = {f"{name}/gradient_norm/{path}": jnp.sqrt(square) for path, square in squares.items()}
    return {f"{name}/gradient_norm": jnp.sqrt(sum(squares.values())), **norms}


def pmean_gradients(gradients: Gradients, num_parts: int) -> Gradients:
    """Average gradients and metrics over the devices.

    Batch norm synchronises its statistics within a pass, so they are averaged only when they are
    the mean of several passes.
    """
    grads, metrics = pmean((gradients.grads, gradients.metrics))
    batch_stats = gradients.batch_stats
    if num_parts > 1:
        batch_stats = pmean(batch_stats)
    return Gradients(grads, batch_stats, metrics)


def accumulate_gradients(
    function: Callable[[Inputs, Key[Array, ""]], Tree],
    inputs: Inputs,
    key: Key[Array, ""],
    num_parts: int,
) -> Tree:
    """Average a function over equal parts of a batch, computed one after the other in a scan.

    The memory needed is that of one part. Example i of the whole batch belongs to part
    i mod `num_parts`, whatever the number of devices.

    Args:
        function: (part of the inputs, key of the part) → a tree of arrays, such as `Gradients`.
        inputs: a tree of arrays whose first axis is the batch, which `num_parts` must divide.
        key: split into one key for each part; used as it is when there is one part.
        num_parts: with 1, the result is `function(inputs, key)`.
    """
    if num_parts == 1:
        return function(inputs, key)

    def as_varying(tree: Tree) -> Tree:
        # The carry of a scan must have one type: values that are equal on all devices become
        # each device's own, as the others are. Adding a varying zero does that.
        zero = varying(jnp.zeros(()))
        return jax.tree.map(lambda leaf: leaf + zero.astype(leaf.dtype), tree)

    def add(total: Tree, part: tuple[Inputs, Key[Array, ""]]) -> tuple[Tree, None]:
        return jax.tree.map(jnp.add, total, as_varying(function(*part))), None

    split = jax.tree.map(
        lambda leaf: leaf.reshape(-1, num_parts, *leaf.shape[1:]).swapaxes(0, 1), inputs
    )
    parts = (split, jax.random.split(key, num_parts))
    shapes = jax.eval_shape(lambda: function(*jax.tree.map(lambda leaf: leaf[0], parts)))
    zeros = as_varying(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes))
    total, _ = jax.lax.scan(add, zeros, parts)
    return jax.tree.map(lambda leaf: leaf / num_parts, total)


def update_network(
    network: NetworkState, grads: PyTree, batch_stats: PyTree, tx: optax.GradientTransformation
) -> NetworkState:
    """Take one optimiser step.

    Args:
        network: before the step.
        grads: gradient with respect to its parameters.
        batch_stats: that it has after the step.
        tx: its optimiser.
    """
    updates, opt_state = tx.update(grads, network.opt_state, network.params)
    return NetworkState(optax.apply_updates(network.params, updates), batch_stats, opt_state)


def update_average(
    average: Average, network: NetworkState, step: Int[Array, ""], decay: ArrayLike
) -> Average:
    """Move the average towards the generator.

    The decay rises as (1 + t)/(10 + t) up to `decay`, so that early samples do not show the
    initial parameters. If the optimiser keeps a sparse iterate beside the parameters, as dual
    averaging does, the average follows that iterate.

    Args:
        average: before the step.
        network: the generator after the step.
        step: number of steps before this one, t.
        decay: upper limit of the decay, in [0, 1).
    """
    decay = jnp.minimum(decay, (1 + step) / (10 + step))
    params = sparse_average(average.params, solution(network.opt_state, network.params), decay)
    batch_stats = optax.tree.cast_like(
        optax.incremental_update(network.batch_stats, average.batch_stats, 1 - decay),
        average.batch_stats,
    )
    return Average(params, batch_stats)


def all_finite(*scalars: Float[Array, ""]) -> Bool[Array, ""]:
    """Return whether none of these scalars is infinite or NaN."""
    return jnp.all(jnp.isfinite(jnp.stack(scalars)))


def commit_or_skip(
    new: AnyState, old: AnyState, metrics: Metrics, decay: optax.ScalarOrSchedule
) -> tuple[AnyState, Metrics]:
    """Return the new state if all metrics are finite, otherwise the old one; count the step.

    Args:
        new: the state after the updates; its average and count are ignored.
        old: the state before them.
        metrics: losses and gradient norms of the step.
        decay: of the generator's average; or a function of the number of steps so far.

    Returns:
        The state with its average and count updated, and the metrics with `step_taken`: 1 for
        the new state, 0 for the old one.
    """
    finite = all_finite(*metrics.values())
    state = select(finite, new._replace(step=old.step, average=old.average), old)
    # Without the barrier, compilers repeat the whole update for the average and keep two copies
    # of the parameters for it.
    params = jax.lax.optimization_barrier(state.generator.params)
    generator = state.generator._replace(params=params)
    decay_of_step = decay(old.step) if callable(decay) else decay
    average = update_average(old.average, generator, old.step, decay_of_step)
    average = select(finite, average, old.average)
    state = state._replace(step=old.step + 1, generator=generator, average=average)
    return state, {**metrics, "step_taken": finite.astype(jnp.float32)}


def select(condition: Bool[Array, ""], if_true: Tree, if_false: Tree) -> Tree:
    """Choose between two trees of the same structure.

    Args:
        condition: which of them.
        if_true: the tree for True.
        if_false: the tree for False.
    """
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), if_true, if_false)

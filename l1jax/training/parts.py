"""What the steps share: keys, gradients over all devices and in parts, updates, finiteness."""

import zlib
from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Key, PyTree

from l1jax.models.network import AXIS
from l1jax.penalties.sparsity import path_name
from l1jax.training.state import Average, NetworkState, State
from l1jax.transforms import solution, sparse_average

Tree = TypeVar("Tree")
Tree2 = TypeVar("Tree2")
Inputs = TypeVar("Inputs")
AnyState = TypeVar("AnyState", bound=State)


def named_key(key: Key[Array, ""], name: str) -> Key[Array, ""]:
    """A key of its own for each use that a step makes of its key."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


def varying(tree: Tree) -> Tree:
    """Parameters as this device's own, so that their gradient is this device's too.

    Without it the gradient with respect to replicated parameters comes summed over devices.
    """
    return jax.tree.map(lambda leaf: jax.lax.pcast(leaf, AXIS, to="varying"), tree)


def mean_over_devices(tree: Tree) -> Tree:
    """Mean over the mapped axis."""
    return jax.lax.pmean(tree, AXIS)


def gradient_norms(name: str, grads: PyTree) -> dict[str, Float[Array, ""]]:
    """Norm of a network's gradient, in all and for each parameter."""
    squares = {
        path_name(path): jnp.sum(jnp.square(leaf))
        for path, leaf in jax.tree_util.tree_leaves_with_path(grads)
    }
    norms = {f"{name}/gradient_norm/{path}": jnp.sqrt(square) for path, square in squares.items()}
    return {f"{name}/gradient_norm": jnp.sqrt(sum(squares.values())), **norms}


def agree(
    grads: Tree, statistics: PyTree, metrics: Tree2, parts: int
) -> tuple[Tree, PyTree, Tree2]:
    """Means over the devices; batch statistics are such already, but for the means of several parts."""
    grads, metrics = mean_over_devices((grads, metrics))
    return grads, statistics if parts == 1 else mean_over_devices(statistics), metrics


def in_parts(
    function: Callable[[Inputs, Key[Array, ""]], Tree],
    inputs: Inputs,
    key: Key[Array, ""],
    parts: int,
) -> Tree:
    """Mean of function(part, its key) over equal parts of a batch, one after the other in a scan.

    Memory is that of one part. Every leaf of `inputs` leads with the batch, which `parts` must divide;
    example i of the whole batch is in part i mod `parts`. With one part, function(inputs, key).
    """
    if parts == 1:
        return function(inputs, key)

    def own(
        tree: Tree,
    ) -> Tree:  # what is the same on all devices becomes each one's own, as the rest is
        zero = varying(jnp.zeros(()))
        return jax.tree.map(lambda leaf: leaf + zero.astype(leaf.dtype), tree)

    def add(total: Tree, item: tuple[Inputs, Key[Array, ""]]) -> tuple[Tree, None]:
        return jax.tree.map(jnp.add, total, own(function(*item))), None

    # Every so many examples belong together: the same ones, whatever the number of devices.
    split = jax.tree.map(
        lambda leaf: leaf.reshape(-1, parts, *leaf.shape[1:]).swapaxes(0, 1), inputs
    )
    items = (split, jax.random.split(key, parts))
    shapes = jax.eval_shape(lambda: function(*jax.tree.map(lambda leaf: leaf[0], items)))
    zeros = own(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes))
    total, _ = jax.lax.scan(add, zeros, items)
    return jax.tree.map(lambda leaf: leaf / parts, total)


def update(
    network: NetworkState, grads: PyTree, statistics: PyTree, tx: optax.GradientTransformation
) -> NetworkState:
    """One optimiser step."""
    updates, opt_state = tx.update(grads, network.opt_state, network.params)
    return NetworkState(optax.apply_updates(network.params, updates), statistics, opt_state)


def move_average(
    average: Average, network: NetworkState, step: Int[Array, ""], decay: ArrayLike
) -> Average:
    """Follow the generator; the decay ramps up as (1 + t)/(10 + t), so that early samples are not the start's.

    Where the optimiser has a sparse iterate beside the parameters (dual averaging), it follows that.
    """
    decay = jnp.minimum(decay, (1 + step) / (10 + step))
    params = sparse_average(average.params, solution(network.opt_state, network.params), decay)
    statistics = optax.tree.cast_like(
        optax.incremental_update(network.statistics, average.statistics, 1 - decay),
        average.statistics,
    )
    return Average(params, statistics)


def all_finite(*scalars: Float[Array, ""]) -> Bool[Array, ""]:
    """Whether none of these is infinite or NaN."""
    return jnp.all(jnp.isfinite(jnp.stack(scalars)))


def settle(finite: Bool[Array, ""], new: AnyState, old: AnyState, decay: ArrayLike) -> AnyState:
    """The new state, its average moved, where the step was finite; else the old one. The count goes on.

    Args:
        finite: whether losses and gradients were.
        new: what the step led to; its average and count are not looked at.
        old: what it began with.
        decay: of the generator's average.
    """
    new = keep_if(finite, new._replace(step=old.step, average=old.average), old)
    # Else compilers compute the whole update once more for the average, and keep two copies of the parameters for it.
    generator = new.generator._replace(params=jax.lax.optimization_barrier(new.generator.params))
    average = keep_if(finite, move_average(old.average, generator, old.step, decay), old.average)
    return new._replace(step=old.step + 1, generator=generator, average=average)


def keep_if(finite: Bool[Array, ""], new: Tree, old: Tree) -> Tree:
    """The new values where the step was finite, else the old ones."""
    return jax.tree.map(lambda n, o: jnp.where(finite, n, o), new, old)

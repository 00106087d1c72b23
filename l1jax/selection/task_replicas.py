"""Train one experiment at several strengths and on several folds, as one compiled program."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int, Key, PyTree, Shaped

from l1jax.data.batches import Batch, batch_indices
from l1jax.models.network import AXIS
from l1jax.penalties import sparsity
from l1jax.selection.replicas import (
    DIVIDED,
    REPLICATED,
    STRENGTH_AXIS,
    set_strengths,
    vectorize,
)
from l1jax.training.parallel import mean_metrics, place
from l1jax.training.state import (
    NO_WEIGHTS,
    Metrics,
    NetworkState,
    State,
    Task,
    Weights,
)
from l1jax.transforms import set_scale, solution


class ImageExamples(NamedTuple):
    """All images of a selection, in memory.

    Attributes:
        images: as the source holds them.
        labels: their classes; 0 where there are none.
    """

    images: Shaped[Array | np.ndarray, "n height width channels"]
    labels: Int[Array | np.ndarray, " n"]


class FoldFeed(NamedTuple):
    """Where the folds of a selection get their batches.

    Attributes:
        num_folds: how many.
        resident: arrays that stay on the device, which all folds share.
        make_batch: (resident, one step's indices of a fold) → the batch.
        chunk: (first step, steps) → the indices that each fold trains on.
    """

    num_folds: int
    resident: PyTree
    make_batch: Callable[[PyTree, Int[Array, "draws batch"]], Batch]
    chunk: Callable[[int, int], Int[np.ndarray, "folds steps draws batch"]]


def image_fold_feed(
    examples: ImageExamples,
    training: Sequence[Int[np.ndarray, " _examples"]],
    *,
    seed: int,
    batches_per_step: int,
    batch_size: int,
) -> FoldFeed:
    """Feed each fold with the batches that `l1jax.train` makes of its images.

    Args:
        examples: all images.
        training: of each fold, the indices of the examples that it is trained on.
        seed: of the order of the examples.
        batches_per_step: of the task.
        batch_size: images per step of a replica.
    """

    def make_batch(examples: ImageExamples, index: Int[Array, "draws batch"]) -> Batch:
        return Batch(
            jnp.asarray(examples.images)[index], index, jnp.asarray(examples.labels)[index]
        )

    def chunk(first: int, steps: int) -> Int[np.ndarray, "folds steps draws batch"]:
        draw = partial(batch_indices, seed, first, steps, batches_per_step, batch_size)
        return np.stack([indices[draw(len(indices))] for indices in training])

    return FoldFeed(len(training), examples, make_batch, chunk)


ReplicaMetrics: TypeAlias = dict[str, Float[Array, "folds strengths"]]


class TaskReplicas(NamedTuple):
    """A task at several strengths and on several folds, all in one compiled program.

    Every leaf of the states leads with (folds, strengths) except `step`, which all replicas share.

    Attributes:
        init: strengths → the states that training starts from, each as `l1jax.train` draws it.
        template: their shapes, dtypes and shardings.
        run: (states, the feed's resident data, chunk, key) → (states, metrics); it donates the
            states.
        put: a chunk → the same chunk on its devices.
        replicate: tree → the same tree on every device.
    """

    init: Callable[[Float[Array | np.ndarray, " strengths"]], State]
    template: State
    run: Callable[[State, PyTree, PyTree, Key[Array, ""]], tuple[State, ReplicaMetrics]]
    put: Callable[[PyTree], PyTree]
    replicate: Callable[[PyTree], PyTree]


def vectorize_task(
    task: Task,
    count: int,
    feed: FoldFeed,
    *,
    network: str | None,
    start: Key[Array, ""],
    devices: Sequence[Any],
    weights: Weights = NO_WEIGHTS,
) -> TaskReplicas:
    """Map a task's step over strengths and folds, and over devices.

    A replica whose fold holds all examples sees the very batches, random numbers and keys that
    `l1jax.train` gives an experiment with that strength. The mesh has as many devices on its
    `path` axis as divide the number of strengths, and the others share each batch.

    Args:
        task: what to train. Its own strength must be 1, because `set_scale` multiplies it.
        count: how many strengths.
        feed: where the folds get their batches.
        network: the network of the state whose strength it is, such as "generator"; None leaves
            the task's own strengths.
        start: the key that all replicas' parameters are drawn from.
        devices: one or more.
        weights: of the networks that all replicas begin from, instead of drawing them.
    """
    strength_devices = math.gcd(count, len(devices))
    mesh = Mesh(np.asarray(devices).reshape(strength_devices, -1), (STRENGTH_AXIS, AXIS))
    given_weights = dict(weights)
    state_shape = jax.eval_shape(task.init, start, given_weights)
    state_axes = like_state(state_shape, step=None, other=0)
    state_spec = like_state(state_shape, step=REPLICATED, other=DIVIDED)
    chunk_spec = P(None, None, None, AXIS)

    def init(strengths: Float[Array, " strengths"], weights: Weights) -> State:
        fresh = task.init(start, weights)
        states = jax.tree.map(
            lambda leaf: jnp.broadcast_to(leaf, (feed.num_folds, count, *leaf.shape)), fresh
        )
        states = states._replace(step=fresh.step)
        if network is None:
            return states
        set_strength = partial(set_network_strength, network)
        return set_strengths(states, strengths, set_strength, state_axes)

    def train_one(state: State, chunk: PyTree, shared: PyTree) -> tuple[State, Metrics]:
        # Without this, a gradient with respect to images, as in R1, would come summed over the
        # devices of the strengths.
        varying = partial(jax.lax.pcast, axis_name=STRENGTH_AXIS, to="varying")
        chunk, (resident, key) = jax.tree.map(varying, (chunk, shared))

        def body(state: State, index: Int[Array, "draws batch"]) -> tuple[State, Metrics]:
            batch = feed.make_batch(resident, index)
            return task.step(state, batch, jax.random.fold_in(key, state.step))

        state, metrics = jax.lax.scan(body, state, chunk)
        return state, {**mean_metrics(metrics), **network_sparsity(task, state)}

    # `step` is the same in all replicas and stays one number, so that what depends on it alone is
    # decided once for all.
    train_all = vectorize(
        train_one,
        state_axes=state_axes,
        mesh=mesh,
        state_spec=state_spec,
        fold_spec=chunk_spec,
    )

    def run(
        states: State, resident: PyTree, chunk: PyTree, key: Key[Array, ""]
    ) -> tuple[State, ReplicaMetrics]:
        return train_all(states, chunk, (resident, key))

    shardings = jax.tree.map(
        partial(NamedSharding, mesh), state_spec, is_leaf=lambda leaf: isinstance(leaf, P)
    )
    template = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        jax.eval_shape(init, jnp.zeros(count, float), given_weights),
        shardings,
    )
    init_program = jax.jit(init, out_shardings=shardings)

    return TaskReplicas(
        init=lambda strengths: init_program(
            np.asarray(strengths, jnp.result_type(float)), given_weights
        ),
        template=template,
        run=jax.jit(run, donate_argnums=0),
        put=partial(place, sharding=NamedSharding(mesh, chunk_spec)),
        replicate=partial(place, sharding=NamedSharding(mesh, P())),
    )


def like_state(state: State, *, step: object, other: object) -> PyTree:
    """Return a tree like a state, with one value for `step` and another for every other leaf.

    Args:
        state: the state.
        step: the value for `step`.
        other: the value for every other leaf.
    """
    return jax.tree.map(lambda _: other, state)._replace(step=step)


def set_network_strength(network: str, state: State, strength: Float[Array, ""]) -> State:
    """Set the strength of one network's penalty.

    Args:
        network: such as "generator".
        state: of one replica.
        strength: the new strength; the penalty's own must be 1.
    """
    network_state = getattr(state, network)
    opt_state = set_scale(network_state.opt_state, strength)
    return state._replace(**{network: network_state._replace(opt_state=opt_state)})


def network_sparsity(task: Task, state: State) -> Metrics:
    """Return the share of the penalised entries that are zero, of each network."""
    metrics = {}
    for name, network in state._asdict().items():
        if isinstance(network, NetworkState):
            params = solution(network.opt_state, network.params)
            metrics[f"{name}/sparsity"] = sparsity(params, task.penalised[name]).total
    return metrics


def select_replica(states: State, fold: int, strength: int) -> State:
    """Return one replica's state, as training alone would have it.

    Args:
        states: of all replicas.
        fold: index of its fold.
        strength: index of its strength.
    """
    state = jax.tree.map(lambda leaf: leaf[fold, strength], states._replace(step=None))
    return state._replace(step=states.step)


def select_strengths(states: State, strengths: Sequence[int]) -> State:
    """Return the states of these strengths alone, given by their indices."""
    index = np.asarray(strengths)
    selected = jax.tree.map(lambda leaf: leaf[:, index], states._replace(step=None))
    return selected._replace(step=states.step)


def set_task_strengths(states: State, network: str, strengths: Float[Array, " strengths"]) -> State:
    """Set the strengths of all replicas of a task, in one network's penalty.

    Args:
        states: of all replicas.
        network: such as "generator".
        strengths: one for each column of the replicas.
    """
    state_axes = like_state(states, step=None, other=0)
    return set_strengths(states, strengths, partial(set_network_strength, network), state_axes)

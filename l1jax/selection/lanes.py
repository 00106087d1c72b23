"""Many runs of one experiment as one program: a lane for each strength and each fold of the data."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int, Key, PyTree, Shaped

from l1jax.data.batches import Batch, batch_indices
from l1jax.models.network import AXIS
from l1jax.penalties import sparsity
from l1jax.training.parallel import summarise
from l1jax.training.state import Metrics, NetworkState, State, Task
from l1jax.transforms import set_scale, solution

PATH = "path"  # the mesh axis over which the strengths are shared

Examples = tuple[
    Shaped[np.ndarray, "n height width channels"], Int[np.ndarray, " n"]
]  # images and labels
Members = Sequence[Int[np.ndarray, " _members"]]  # of each fold, the examples that it is trained on


class Lanes(NamedTuple):
    """A task at several strengths and on several folds, all in one compiled program.

    Every leaf of the states leads with (folds, strengths) but `step`, which all lanes share.

    init: strengths → the states that training starts from, each as `l1jax.train` draws it.
    template: their shapes, dtypes and shardings.
    run: (states, resident, chunk, key) → (states, metrics of shape (folds, strengths)); donates the states.
    put: a chunk to its devices.
    chunk: (first step, steps) → indices of the examples that each fold sees.
    """

    init: Callable[[Float[Array | np.ndarray, " strengths"]], State]
    template: State
    run: Callable[[State, PyTree, PyTree, Key[Array, ""]], tuple[State, Metrics]]
    put: Callable[[PyTree], PyTree]
    chunk: Callable[[int, int], Int[np.ndarray, "steps folds draws batch"]]


def make_lanes(
    task: Task,
    count: int,
    members: Members,
    *,
    network: str,
    seed: int,
    batch_size: int,
    start: Key[Array, ""],
    devices: Sequence[Any],
) -> Lanes:
    """Map a task's step over strengths and folds, and over devices.

    A lane whose fold holds all examples sees the very batches, latents and keys that `l1jax.train` gives an
    experiment with that strength. The strength is `set_scale`'s: the task's own must be 1. The mesh has as many
    devices on its `path` axis as divide the number of strengths, and the others share each batch.

    Args:
        task: what to train.
        count: how many strengths.
        members: of each fold, the examples that it is trained on.
        network: that of the state whose strength it is, such as "generator".
        seed: of the order of the examples.
        batch_size: images per step of a lane.
        start: the key that all lanes' parameters are drawn from.
        devices: one or more.
    """
    along = math.gcd(count, len(devices))
    mesh = Mesh(np.asarray(devices).reshape(along, -1), (PATH, AXIS))
    single = jax.eval_shape(task.init, start)
    spec, axis = stacked(P(), P(None, PATH), single), stacked(None, 0, single)
    batches = P(None, None, None, AXIS)

    def init(strengths: Float[Array, " strengths"]) -> State:
        fresh = task.init(start)
        lanes = jax.tree.map(
            lambda leaf: jnp.broadcast_to(leaf, (len(members), count, *leaf.shape)), fresh
        )
        return with_scales(lanes._replace(step=fresh.step), network, strengths)

    def steps(
        state: State, resident: PyTree, chunk: PyTree, key: Key[Array, ""]
    ) -> tuple[State, Metrics]:
        # Else a gradient with respect to images, as in R1, would come summed over the strengths' devices.
        own = partial(jax.lax.pcast, axis_name=PATH, to="varying")
        resident, chunk, key = jax.tree.map(own, (resident, chunk, key))

        def body(state: State, index: Int[Array, "draws batch"]) -> tuple[State, Metrics]:
            images, labels = resident
            batch = Batch(images[index], index, labels[index])
            return task.step(state, batch, jax.random.fold_in(key, state.step))

        state, metrics = jax.lax.scan(body, state, chunk)
        return state, {**summarise(metrics), **zeros(task, state)}

    # `step` is the same in all lanes and stays one number: what depends on it alone is decided once for all.
    over_strengths = jax.vmap(steps, in_axes=(axis, None, None, None), out_axes=(axis, 0))
    over_folds = jax.vmap(over_strengths, in_axes=(axis, None, 1, None), out_axes=(axis, 0))
    mapped = jax.shard_map(
        over_folds, mesh=mesh, in_specs=(spec, P(), batches, P()), out_specs=(spec, P(None, PATH))
    )
    shardings = jax.tree.map(
        partial(NamedSharding, mesh), spec, is_leaf=lambda leaf: isinstance(leaf, P)
    )
    template = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        jax.eval_shape(init, jnp.zeros(count, float)),
        shardings,
    )

    make = jax.jit(init, out_shardings=shardings)

    def chunk(first: int, steps: int) -> Int[np.ndarray, "steps folds draws batch"]:
        draw = partial(batch_indices, seed, first, steps, task.draws, batch_size)
        return np.stack([own[draw(len(own))] for own in members], axis=1)

    def put(chunk: PyTree) -> PyTree:
        return jax.device_put(chunk, NamedSharding(mesh, batches))

    def start_at(strengths: Float[Array | np.ndarray, " strengths"]) -> State:
        return make(jnp.asarray(strengths, float))

    return Lanes(start_at, template, jax.jit(mapped, donate_argnums=0), put, chunk)


def stacked(step: Any, rest: Any, template: State) -> Any:
    """A tree like a state's, with one value for `step` and another for everything else."""
    return jax.tree.map(lambda _: rest, template)._replace(step=step)


def with_scales(states: State, network: str, scales: Float[Array, " strengths"]) -> State:
    """Lanes' states with the scale of each strength in this network's penalty."""

    def with_scale(state: State, scale: Float[Array, ""]) -> State:
        own = getattr(state, network)
        return state._replace(**{network: own._replace(opt_state=set_scale(own.opt_state, scale))})

    axis = stacked(None, 0, states)
    each = jax.vmap(with_scale, in_axes=(axis, 0), out_axes=axis)
    return jax.vmap(each, in_axes=(axis, None), out_axes=axis)(states, scales)


def zeros(task: Task, state: State) -> Metrics:
    """Share of the penalised entries that are zero, of each network."""
    networks = {name: own for name, own in state._asdict().items() if isinstance(own, NetworkState)}
    return {
        f"{name}/sparsity": sparsity(
            solution(own.opt_state, own.params), task.penalised[name]
        ).total
        for name, own in networks.items()
    }


def lane(states: State, fold: int, strength: int) -> State:
    """One lane's state, as training alone would have it."""
    own = jax.tree.map(lambda leaf: leaf[fold, strength], states._replace(step=None))
    return own._replace(step=states.step)


def keep_lanes(states: State, strengths: Sequence[int]) -> State:
    """The states of these strengths alone."""
    index = np.asarray(strengths)
    return jax.tree.map(lambda leaf: leaf[:, index], states._replace(step=None))._replace(
        step=states.step
    )

"""Training all seeds of an experiment in one compiled program, each with batches of its own."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Key, PyTree, Shaped

from l1jax.data.batches import Batch
from l1jax.models.network import AXIS
from l1jax.training.keys import named_seed_key
from l1jax.training.state import GanState, Task

CHUNK = 1_000  # steps of one compiled call


def keys(seeds: int, name: str) -> Key[Array, " seeds"]:
    """A key for this use of each seed, the one that training alone has."""
    return jnp.stack([named_seed_key(seed, name) for seed in range(seeds)])


def trainer(task: Task, images: Shaped[Array, "n h w c"], batch_size: int, length: int) -> Any:
    """(states, keys) → states, `length` steps of every seed; the states are donated.

    On a CPU one seed after the other, for wider arrays gain nothing there and masks renewed now and
    then would be renewed at every step; elsewhere side by side.
    """

    def steps(state: GanState, key: Key[Array, ""]) -> GanState:
        def body(state: GanState, _: None) -> tuple[GanState, None]:
            own = jax.random.fold_in(key, state.step)
            index = jax.random.randint(
                jax.random.fold_in(own, 0), (task.batches_per_step, batch_size), 0, len(images)
            )
            return task.step(state, Batch(images[index], index, jnp.zeros_like(index)), own)[
                0
            ], None

        return jax.lax.scan(body, state, length=length)[0]

    def in_turn(*own: PyTree) -> PyTree:
        return jax.lax.map(lambda one: steps(*one), own)

    every = in_turn if jax.default_backend() == "cpu" else jax.vmap(steps)
    mapped = jax.shard_map(every, mesh=_mesh(), in_specs=(P(), P()), out_specs=P())
    return jax.jit(mapped, donate_argnums=0)


def start(task: Task, seeds: int) -> PyTree:
    """The states that training starts from, placed as it leaves them."""
    return jax.device_put(
        jax.jit(jax.vmap(task.init))(keys(seeds, "parameters")), NamedSharding(_mesh(), P())
    )


def _mesh() -> Mesh:
    """One device, with the axis that the step's collectives need."""
    return Mesh(np.asarray(jax.devices()[:1]), (AXIS,))

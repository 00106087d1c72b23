"""Many steps in one compiled call, mapped over devices by `jit(shard_map)` or by `pmap`."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Key, PyTree

from l1jax.compilation import release_freed_memory
from l1jax.data.batches import Batch, Feed
from l1jax.evaluation.health import spread
from l1jax.models import Generator
from l1jax.models.network import AXIS
from l1jax.penalties import sparsity
from l1jax.training.state import Metrics, NetworkState, State, Task
from l1jax.transforms import solution, strength
from l1jax.transforms.learning_rate import learning_rate

FEW = 8  # images that tell whether the generator's output is constant
BATCH_AXIS = 2  # a chunk leads with steps, draws, batch

# Some kernels of GPUs add in an order that differs from run to run, and a resumed run would too.
REPRODUCIBLE = {"xla_gpu_exclude_nondeterministic_ops": True}

Run = Callable[[State, PyTree, PyTree, Key[Array, ""]], tuple[State, Metrics]]


class Runner(NamedTuple):
    """A task on some devices.

    replicate: puts a tree on every device.
    put: puts a chunk on its devices ahead of `run`, each its part of every batch; this host's part of it is given.
    run: (state, resident data, chunk, key) → (state, metrics), all the chunk's steps in one call;
        the state is donated. Step t draws from fold_in(key, t).
    """

    replicate: Callable[[PyTree], PyTree]
    put: Callable[[PyTree], PyTree]
    run: Run


def make_runner(
    task: Task,
    feed: Feed,
    devices: Sequence[Any],
    parallel: Literal["shard_map", "pmap"] = "shard_map",
) -> Runner:
    """Map a task's step over devices, each with its part of every batch.

    The state is replicated, and has the same shapes either way; both ways train the same model.

    Args:
        task: what to train.
        feed: where the batches come from; its chunks are split along their batch.
        devices: one or more; their number must divide the batch size.
        parallel: `jit(shard_map)`, or `pmap` as older code bases know it.
    """
    mesh = Mesh(np.asarray(devices), (AXIS,))
    replicated = NamedSharding(mesh, P())
    split = NamedSharding(mesh, P(*[None] * BATCH_AXIS, AXIS))
    mapped = mapped_steps(task, feed.make_batch, devices, parallel)

    if parallel == "pmap":

        def run(
            state: State, resident: PyTree, chunk: PyTree, key: Key[Array, ""]
        ) -> tuple[State, Metrics]:
            return mapped(
                state,
                resident,
                jax.tree.map(lambda leaf: _by_device(leaf, len(devices)), chunk),
                key,
            )

        def put(chunk: PyTree) -> PyTree:
            return chunk  # `pmap` does it in its call

    else:
        compiled = set()

        def run(
            state: State, resident: PyTree, chunk: PyTree, key: Key[Array, ""]
        ) -> tuple[State, Metrics]:
            arguments = (state, resident, jax.device_put(chunk, split), key)
            steps = jax.tree.leaves(chunk)[0].shape[0]
            if (
                steps not in compiled
            ):  # before it runs, so that its memory comes not on top of the compiler's
                release_freed_memory()
                mapped.lower(*arguments).compile()  # the call below finds it
                release_freed_memory()
                compiled.add(steps)
            return mapped(*arguments)

        def put(chunk: PyTree) -> PyTree:
            return jax.tree.map(
                lambda leaf: jax.make_array_from_process_local_data(split, np.asarray(leaf)), chunk
            )

    return Runner(lambda tree: jax.device_put(tree, replicated), put, run)


def mapped_steps(
    task: Task,
    take: Callable[[PyTree, PyTree], Batch],
    devices: Sequence[Any],
    parallel: Literal["shard_map", "pmap"] = "shard_map",
) -> Any:
    """The function of `Runner.run` as JAX compiles it, with `trace` and `lower`.

    With `pmap` a chunk's batch is split into devices × local batch. `pmap` takes no options for the
    compiler: on GPUs give it XLA_FLAGS=--xla_gpu_exclude_nondeterministic_ops=true instead.

    Args:
        task: what to train.
        take: (resident data, one step's slice of a chunk) → its batch.
        devices: one or more; their number must divide the batch size.
        parallel: `jit(shard_map)` or `pmap`.
    """

    def steps(
        state: State, resident: PyTree, chunk: PyTree, key: Key[Array, ""]
    ) -> tuple[State, Metrics]:
        def body(state: State, item: PyTree) -> tuple[State, Metrics]:
            return task.step(state, take(resident, item), jax.random.fold_in(key, state.step))

        state, metrics = jax.lax.scan(body, state, chunk)
        return state, {**mean_metrics(metrics), **network_metrics(task, state)}

    if parallel == "pmap":
        return jax.pmap(
            steps,
            axis_name=AXIS,
            in_axes=(None, None, BATCH_AXIS, None),
            out_axes=(None, None),
            devices=list(devices),
            donate_argnums=0,
        )
    mesh = Mesh(np.asarray(devices), (AXIS,))
    in_specs = (P(), P(), P(*[None] * BATCH_AXIS, AXIS), P())
    return jax.jit(
        jax.shard_map(steps, mesh=mesh, in_specs=in_specs, out_specs=(P(), P())),
        donate_argnums=0,
        compiler_options=REPRODUCIBLE if devices[0].platform == "gpu" else None,
    )


def mean_metrics(metrics: dict[str, Float[Array, " steps"]]) -> Metrics:
    """Mean of each metric over the steps that were taken; `skipped` counts the others."""
    taken = metrics["step_taken"] > 0
    count = jnp.maximum(jnp.sum(taken), 1)
    means = {
        name: jnp.sum(jnp.where(taken, m, 0)) / count
        for name, m in metrics.items()
        if name != "step_taken"
    }
    return {**means, "skipped": jnp.sum(~taken).astype(jnp.float32)}


def network_metrics(task: Task, state: State) -> Metrics:
    """Zeros per layer and in all, strength and learning rate in force, of each network; the generator's spread."""
    metrics: Metrics = {"generator/spread": output_spread(task.generator, state.generator)}
    for name, network in state._asdict().items():
        if isinstance(network, NetworkState):
            zeros = sparsity(solution(network.opt_state, network.params), task.penalised[name])
            metrics[f"{name}/sparsity"] = zeros.total
            metrics |= {
                f"{name}/sparsity/{path}": fraction for path, fraction in zeros.by_path.items()
            }
            strengths = jax.tree.leaves(
                strength(network.opt_state)
            )  # one, or several of one penalty
            metrics |= {
                f"{name}/strength" + (f"/{i}" if i else ""): value
                for i, value in enumerate(strengths)
            }
            metrics[f"{name}/learning_rate"] = learning_rate(network.opt_state)
    return metrics


def output_spread(generator: Generator, network: NetworkState) -> Float[Array, ""]:
    """How far a few images of one class are apart, as `l1jax.evaluation.health.spread` tells it; 0 for a constant."""
    latents = generator.latents(jax.random.key(0), FEW)
    params, label = solution(network.opt_state, network.params), jnp.zeros(FEW, jnp.int32)
    images, _ = generator.network.apply(params, network.batch_stats, latents, False, label)
    return spread(images, generator.image_range)


def _by_device(leaf: np.ndarray, devices: int) -> np.ndarray:
    """Split the batch axis into device and local batch, the device where `pmap` looks for it."""
    shape = leaf.shape
    return leaf.reshape(
        *shape[:BATCH_AXIS], devices, shape[BATCH_AXIS] // devices, *shape[BATCH_AXIS + 1 :]
    )

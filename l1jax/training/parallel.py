"""Many steps in one compiled call, mapped over devices by `jit(shard_map)` or by `pmap`."""

from collections.abc import Callable, Sequence
from functools import partial
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
from l1jax.models.flow import with_few_steps
from l1jax.models.network import AXIS
from l1jax.penalties import sparsity
from l1jax.processes.agreement import gather
from l1jax.training.state import Metrics, NetworkState, State, Task
from l1jax.transforms import solution, strength
from l1jax.transforms.learning_rate import learning_rate
from l1jax.transforms.strengths import has_strength

NUM_SPREAD_IMAGES = 8  # that show whether the generator's output is constant
BATCH_AXIS = 2  # a chunk leads with steps, draws, batch

# Some GPU kernels add in an order that differs from run to run, and so would a resumed run.
REPRODUCIBLE = {"xla_gpu_exclude_nondeterministic_ops": True}

# (state, resident data, chunk, key) → (state, metrics), all the chunk's steps in one call. The
# state is donated. Step t draws its random numbers from fold_in(key, t).
RunSteps = Callable[[State, PyTree, PyTree, Key[Array, ""]], tuple[State, Metrics]]


class Runner(NamedTuple):
    """A task on some devices.

    Attributes:
        replicate: tree → the same tree on every device, of every host.
        keep: the feed's resident data, of which this host may have its part → on the devices.
        put: a chunk, of which this host has its part → the same on its devices, each with its
            part of every batch; called ahead of `run`.
        run: the compiled steps, see `RunSteps`.
    """

    replicate: Callable[[PyTree], PyTree]
    keep: Callable[[PyTree], PyTree]
    put: Callable[[PyTree], PyTree]
    run: RunSteps


def make_runner(
    task: Task,
    feed: Feed,
    devices: Sequence[Any],
    parallel: Literal["shard_map", "pmap"] = "shard_map",
) -> Runner:
    """Map a task's step over devices, each with its part of every batch.

    The state is replicated, and has the same shapes either way. Both ways train the same model.

    Args:
        task: what to train.
        feed: where the batches come from; its chunks are split along their batch.
        devices: one or more, of all hosts; their number must divide the batch size.
        parallel: `jit(shard_map)`, or `pmap` as in older code bases, on one host.
    """
    mesh = Mesh(np.asarray(devices), (AXIS,))
    mapped = mapped_steps(task, feed.make_batch, devices, parallel, is_split=feed.is_split)
    replicate = partial(place, sharding=NamedSharding(mesh, P()))

    if parallel == "pmap":
        # `pmap` puts the chunk on the devices in its call.
        run = _pmapped_run(mapped, len(devices))
        return Runner(replicate, keep=replicate, put=lambda chunk: chunk, run=run)

    def put_parts(tree: PyTree, axis: int) -> PyTree:
        split = NamedSharding(mesh, P(*[None] * axis, AXIS))
        return jax.tree.map(
            lambda leaf: jax.make_array_from_process_local_data(split, np.asarray(leaf)), tree
        )

    keep = replicate
    if feed.is_split:
        keep = partial(put_parts, axis=0)
    put = partial(put_parts, axis=BATCH_AXIS)
    return Runner(replicate, keep, put, _jitted_run(mapped, put))


def place(tree: PyTree, sharding: NamedSharding) -> PyTree:
    """Put a tree, which all processes have whole, on the devices of a sharding.

    Args:
        tree: of arrays and keys.
        sharding: of every leaf; it may split axes, but not those of keys.
    """

    def put(leaf: Any) -> Array:
        if sharding.is_fully_addressable or not getattr(leaf, "is_fully_addressable", True):
            return jax.device_put(leaf, sharding)
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            data = put(jax.random.key_data(leaf))
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
        values = np.asarray(leaf)
        return jax.make_array_from_callback(values.shape, sharding, lambda index: values[index])

    return jax.tree.map(put, tree)


def _pmapped_run(mapped: Any, num_devices: int) -> RunSteps:
    def run(
        state: State, resident: PyTree, chunk: PyTree, key: Key[Array, ""]
    ) -> tuple[State, Metrics]:
        chunk = jax.tree.map(lambda leaf: _by_device(leaf, num_devices), chunk)
        return mapped(state, resident, chunk, key)

    return run


def _jitted_run(mapped: Any, put: Callable[[PyTree], PyTree]) -> RunSteps:
    compiled_lengths = set[int]()

    def run(
        state: State, resident: PyTree, chunk: PyTree, key: Key[Array, ""]
    ) -> tuple[State, Metrics]:
        if not all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(chunk)):
            chunk = put(chunk)
        arguments = (state, resident, chunk, key)
        num_steps = jax.tree.leaves(chunk)[0].shape[0]
        if num_steps not in compiled_lengths:
            # Compile before the program runs, so that their memories do not add up.
            release_freed_memory()
            mapped.lower(*arguments).compile()  # the call below finds it
            release_freed_memory()
            compiled_lengths.add(num_steps)
            # Processes connect in the program's first call, and wait half a minute for each other.
            gather(None)
        return mapped(*arguments)

    return run


def mapped_steps(
    task: Task,
    make_batch: Callable[[PyTree, PyTree], Batch],
    devices: Sequence[Any],
    parallel: Literal["shard_map", "pmap"] = "shard_map",
    *,
    is_split: bool = False,
) -> Any:
    """Return the function of `Runner.run` as JAX compiles it, with `trace` and `lower`.

    With `pmap` a chunk's batch is split into devices × local batch. `pmap` takes no compiler
    options: on GPUs give it XLA_FLAGS=--xla_gpu_exclude_nondeterministic_ops=true instead.

    Args:
        task: what to train.
        make_batch: (resident data, one step's slice of a chunk) → its batch.
        devices: one or more; their number must divide the batch size.
        parallel: `jit(shard_map)` or `pmap`.
        is_split: whether each device has its part of the resident data only; with `shard_map`.
    """

    def steps(
        state: State, resident: PyTree, chunk: PyTree, key: Key[Array, ""]
    ) -> tuple[State, Metrics]:
        def body(state: State, slice_of_chunk: PyTree) -> tuple[State, Metrics]:
            batch = make_batch(resident, slice_of_chunk)
            return task.step(state, batch, jax.random.fold_in(key, state.step))

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
    resident_spec = P(AXIS) if is_split else P()
    in_specs = (P(), resident_spec, P(*[None] * BATCH_AXIS, AXIS), P())
    options = None
    if devices[0].platform == "gpu":
        options = REPRODUCIBLE
    return jax.jit(
        jax.shard_map(steps, mesh=mesh, in_specs=in_specs, out_specs=(P(), P())),
        donate_argnums=0,
        compiler_options=options,
    )


def mean_metrics(metrics: dict[str, Float[Array, " steps"]]) -> Metrics:
    """Average each metric over the steps that were taken; `skipped` is the number of the others."""
    is_taken = metrics["step_taken"] > 0
    num_taken = jnp.maximum(jnp.sum(is_taken), 1)
    means = {
        name: jnp.sum(jnp.where(is_taken, values, 0)) / num_taken
        for name, values in metrics.items()
        if name != "step_taken"
    }
    return {**means, "skipped": jnp.sum(~is_taken).astype(jnp.float32)}


def network_metrics(task: Task, state: State) -> Metrics:
    """Measure each network's zeros, strengths and learning rate, and the spread of images."""
    metrics: Metrics = {}
    if isinstance(task.generator, Generator):
        metrics["generator/spread"] = output_spread(task.generator, state.generator)
    for name, network in state._asdict().items():
        if not isinstance(network, NetworkState):
            continue
        zeros = sparsity(solution(network.opt_state, network.params), task.penalised[name])
        metrics[f"{name}/sparsity"] = zeros.total
        for path, fraction in zeros.by_path.items():
            metrics[f"{name}/sparsity/{path}"] = fraction
        strengths = []
        if has_strength(network.opt_state):
            strengths = jax.tree.leaves(strength(network.opt_state))
        for i, value in enumerate(strengths):  # most penalties have one
            suffix = f"/{i}" if i else ""
            metrics[f"{name}/strength{suffix}"] = value
        metrics[f"{name}/learning_rate"] = learning_rate(network.opt_state)
    return metrics


def output_spread(generator: Generator, network: NetworkState) -> Float[Array, ""]:
    """Measure how far a few images of one class are apart; 0 for a constant output.

    The measure is `l1jax.evaluation.health.spread`. A flow model draws them in few steps.
    """
    generator = with_few_steps(generator)
    latents = generator.latents(jax.random.key(0), NUM_SPREAD_IMAGES)
    params = solution(network.opt_state, network.params)
    label = jnp.zeros(NUM_SPREAD_IMAGES, jnp.int32)
    images, _ = generator.network.apply(params, network.batch_stats, latents, False, label)
    return spread(images, generator.image_range)


def _by_device(leaf: np.ndarray, num_devices: int) -> np.ndarray:
    """Split the batch axis into (device, local batch), as `pmap` expects."""
    num_local = leaf.shape[BATCH_AXIS] // num_devices
    before = leaf.shape[:BATCH_AXIS]
    after = leaf.shape[BATCH_AXIS + 1 :]
    return leaf.reshape(*before, num_devices, num_local, *after)

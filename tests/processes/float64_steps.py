"""Train some tasks for 20 steps in float64, as one of several processes; keep the last states.

python float64_steps.py OUTPUT DEVICES CHECKPOINTS [--restart TASK…]
    [--address PORT PROCESSES PROCESS]

After half of the steps it saves a checkpoint of each task, from which another number of processes
restarts.
"""

import argparse
import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from l1jax.build import example_shape
from l1jax.compilation import jit_once
from l1jax.config import (
    L1,
    Adversarial,
    Config,
    Dcgan,
    DigitsData,
    MlpGan,
    NextToken,
    Optimizer,
    TonesData,
    TopicsData,
    Transformer,
    Vae,
    Variational,
)
from l1jax.data.batches import Host, load_all, resident_feed
from l1jax.data.opening import open_source
from l1jax.data.source import source_from_arrays
from l1jax.data.split_data import split_feed
from l1jax.data.streaming import streaming_feed
from l1jax.data.text_batches import text_feed
from l1jax.data.text_source import open_corpus
from l1jax.models.network import AXIS
from l1jax.training.checkpoint import open_checkpoints
from l1jax.training.keys import named_seed_key
from l1jax.training.parallel import make_runner
from l1jax.training.task import make_task

STEPS = 20
HALF = STEPS // 2
SPARSE = Optimizer(learning_rate=2e-4, b2=0.99, penalty=L1(1e-2))
COMMON = {"data": DigitsData(image_size=16), "batch_size": 16, "generator": SPARSE}
EXPERIMENTS = {
    # Batch norm in both networks, under a gradient penalty.
    "dcgan": Config(
        **COMMON,
        model=Dcgan(latent_size=8, channels=4, generator_dropout=0.2),
        objective=Adversarial("non_saturating", r1=0.1),
        discriminator=SPARSE,
    ),
    # Spectrograms, which are not square, with classes, several updates and another loss.
    "sound": Config(
        **(COMMON | {"data": TonesData(count=45, mels=8, frames=12)}),
        model=MlpGan(latent_size=4, generator_hidden=(8,), discriminator_hidden=(8,), classes=8),
        objective=Adversarial("relativistic_pairing", r1=0.3, n_critic=2),
        discriminator=SPARSE,
    ),
    "vae": Config(
        **COMMON,
        model=Vae(latent_size=2, hidden=(16,), encoder_dropout=0.1, decoder_dropout=0.2),
        objective=Variational(),
        discriminator=None,
        encoder=dataclasses.replace(SPARSE, penalty=L1(1.0)),
    ),
    "transformer": Config(
        data=TopicsData(window=6),
        batch_size=16,
        generator=SPARSE,
        model=Transformer(width=8, layers=1, heads=2, context=5, dropout=0.2, drop_path=0.2),
        objective=NextToken(),
        discriminator=None,
    ),
}
# What several processes do: the data lie on their devices in parts, or are streamed.
FEEDS = {
    "dcgan": "split",
    "vae": "split",
    "sound": "streamed",
    "transformer": "streamed",
}


def make_source(experiment):
    """45 examples, which 8 devices cannot share evenly."""
    if isinstance(experiment.data, TonesData):
        return open_source(experiment.data)
    shape = example_shape(experiment.data)
    images = np.random.default_rng(0).integers(0, 256, (45, *shape), np.uint8)
    labels = np.arange(45, dtype=np.int32) % 10
    return source_from_arrays(images, labels, 16, 1, "test")


def make_feed(name, task, experiment, host):
    if isinstance(experiment.data, TopicsData):
        resident_bytes = 2**30 if host.count == 1 else 0
        corpus = open_corpus(experiment.data)
        return text_feed(
            corpus, experiment.data.window, 0, experiment.batch_size, resident_bytes, host
        )
    source = make_source(experiment)
    order = (experiment.seed, task.batches_per_step, experiment.batch_size)
    if host.count == 1:
        return resident_feed(load_all(source), *order, source.labels)
    if FEEDS[name] == "split":
        return split_feed(source, *order, jax.device_count(), AXIS, host)
    return streaming_feed(source, *order, host=host)


def last_state(name, folder, *, restarts):
    """Train a task, and return its last state and metrics by name.

    Args:
        name: of the experiment.
        folder: of its checkpoint, which is written after half of the steps or restored there.
        restarts: whether it is restored.
    """
    experiment = EXPERIMENTS[name]
    task = make_task(experiment, example_shape(experiment.data))
    host = Host(jax.process_index(), jax.process_count())
    feed = make_feed(name, task, experiment, host)
    runner = make_runner(task, feed, jax.devices())
    with jax.enable_x64(False):
        start = jax.tree.map(np.asarray, jit_once(task.init)(jax.random.key(3)))

    def cast(leaf):
        is_float = jnp.issubdtype(leaf.dtype, jnp.floating)
        return np.asarray(leaf, float if is_float else leaf.dtype)

    state = runner.replicate(jax.tree.map(cast, start))
    resident = runner.keep(feed.resident)
    key = runner.replicate(named_seed_key(experiment.seed, "training"))

    def run_half(state, first_step):
        chunk = runner.put(feed.chunk(first_step, HALF))
        return runner.run(state, resident, chunk, key)

    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    checkpoints = open_checkpoints(folder, experiment, "test", print)
    if restarts:
        template = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), state
        )
        step, state = checkpoints.restore(template)
        assert step == HALF
    else:
        state, _ = run_half(state, 0)
        checkpoints.save(HALF, state, 0.0)
    checkpoints.close()
    state, metrics = run_half(state, HALF)
    feed.close()
    leaves = {f"{name}/{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(state))}
    means = {f"{name}/metric/{key}": np.asarray(value) for key, value in metrics.items()}
    return leaves | means


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("output", type=Path)
    parser.add_argument("devices", type=int)
    parser.add_argument("checkpoints", type=Path)
    parser.add_argument("--restart", nargs="+", default=[])
    parser.add_argument("--address", nargs=3, type=int)
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_num_cpu_devices", options.devices)
    jax.config.update("jax_disable_most_optimizations", True)
    if options.address:
        port, num_processes, process = options.address
        jax.distributed.initialize(f"127.0.0.1:{port}", num_processes, process)
    states = {}
    restarts = bool(options.restart)
    for name in options.restart or EXPERIMENTS:
        states |= last_state(name, options.checkpoints / name, restarts=restarts)
    if jax.process_index() == 0:
        np.savez(options.output, **states)


if __name__ == "__main__":
    main()

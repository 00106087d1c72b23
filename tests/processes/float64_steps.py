"""Train some tasks for 20 steps in float64, as one of several processes; keep the last states.

python float64_steps.py OUTPUT DEVICES [PORT PROCESSES PROCESS]
"""

import dataclasses
import sys

import jax
import jax.numpy as jnp
import numpy as np

from l1jax.build import example_shape
from l1jax.config import (
    L1,
    Adversarial,
    Config,
    Dcgan,
    DigitsData,
    MlpGan,
    NextToken,
    Optimizer,
    TopicsData,
    Transformer,
    Vae,
    Variational,
)
from l1jax.data.batches import Host, load_all, resident_feed
from l1jax.data.source import source_from_arrays
from l1jax.data.split_data import split_feed
from l1jax.data.streaming import streaming_feed
from l1jax.data.text_batches import text_feed
from l1jax.data.text_source import open_corpus
from l1jax.models.network import AXIS
from l1jax.training.keys import named_seed_key
from l1jax.training.parallel import make_runner
from l1jax.training.task import make_task

STEPS = 20
SHAPE = (16, 16, 1)
SPARSE = Optimizer(learning_rate=2e-4, b2=0.99, penalty=L1(1e-2))
COMMON = {"data": DigitsData(image_size=16), "batch_size": 16, "generator": SPARSE}
EXPERIMENTS = {
    # Batch norm in both networks, under a gradient penalty.
    "dcgan": Config(
        **COMMON,
        model=Dcgan(latent_size=8, channels=4),
        objective=Adversarial("non_saturating", r1=0.1),
        discriminator=SPARSE,
    ),
    "mlp": Config(
        **COMMON,
        model=MlpGan(latent_size=8, generator_hidden=(16,), discriminator_hidden=(16,)),
        objective=Adversarial("relativistic_pairing", r1=0.3, n_critic=2),
        discriminator=SPARSE,
    ),
    "vae": Config(
        **COMMON,
        model=Vae(latent_size=2, hidden=(16,)),
        objective=Variational(),
        discriminator=None,
        encoder=dataclasses.replace(SPARSE, penalty=L1(1.0)),
    ),
    "transformer": Config(
        data=TopicsData(window=6),
        batch_size=16,
        generator=SPARSE,
        model=Transformer(width=8, layers=1, heads=2, context=5, dropout=0.2),
        objective=NextToken(),
        discriminator=None,
    ),
}
# What several processes do: the data lie on their devices in parts, or are streamed.
FEEDS = {"dcgan": "split", "mlp": "streamed", "vae": "split", "transformer": "streamed"}


def make_source():
    """45 images, which 8 devices cannot share evenly."""
    images = np.random.default_rng(0).integers(0, 256, (45, *SHAPE), np.uint8)
    labels = np.arange(45, dtype=np.int32) % 10
    return source_from_arrays(images, labels, 16, 1, "test")


def make_feed(name, task, experiment, host):
    if isinstance(experiment.data, TopicsData):
        resident_bytes = 2**30 if host.count == 1 else 0
        corpus = open_corpus(experiment.data)
        return text_feed(
            corpus, experiment.data.window, 0, experiment.batch_size, resident_bytes, host
        )
    source = make_source()
    order = (experiment.seed, task.batches_per_step, experiment.batch_size)
    if host.count == 1:
        return resident_feed(load_all(source), *order, source.labels)
    if FEEDS[name] == "split":
        return split_feed(source, *order, jax.device_count(), AXIS, host)
    return streaming_feed(source, *order, host=host)


def last_state(name):
    experiment = EXPERIMENTS[name]
    task = make_task(experiment, example_shape(experiment.data))
    host = Host(jax.process_index(), jax.process_count())
    feed = make_feed(name, task, experiment, host)
    runner = make_runner(task, feed, jax.devices())
    with jax.enable_x64(False):
        start = jax.tree.map(np.asarray, task.init(jax.random.key(3)))

    def cast(leaf):
        is_float = jnp.issubdtype(leaf.dtype, jnp.floating)
        return np.asarray(leaf, float if is_float else leaf.dtype)

    state = runner.replicate(jax.tree.map(cast, start))
    resident = runner.keep(feed.resident)
    key = runner.replicate(named_seed_key(experiment.seed, "training"))
    state, metrics = runner.run(state, resident, runner.put(feed.chunk(0, STEPS)), key)
    feed.close()
    leaves = {f"{name}/{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(state))}
    means = {f"{name}/metric/{key}": np.asarray(value) for key, value in metrics.items()}
    return leaves | means


def main(output, devices, port="", processes="1", process="0"):
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_num_cpu_devices", int(devices))
    jax.config.update("jax_disable_most_optimizations", True)
    if port:
        jax.distributed.initialize(f"127.0.0.1:{port}", int(processes), int(process))
    states = {}
    for name in EXPERIMENTS:
        states |= last_state(name)
    if process == "0":
        np.savez(output, **states)


if __name__ == "__main__":
    main(*sys.argv[1:])

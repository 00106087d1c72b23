"""Does L1 keep a generative model from overfitting, and does L2, dropout or stopping early?

    python benchmarks/overfitting.py                  # variational autoencoders of the digits
    python benchmarks/overfitting.py --dataset mnist --path FOLDER_OF_IDX_FILES
    python benchmarks/overfitting.py --page           # the tables of docs/overfitting.md
    python benchmarks/overfitting.py --smoke          # a few steps; keeps nothing

Autoencoders are trained on few images, without anything and with each of the ways against
overfitting, for long enough that the unregularised ones collapse. A seed draws the training images
and the parameters. While they train, the likelihood of images is bounded that none of them was
trained on: a validation part, by which strengths and steps are chosen, and a test part, which is
reported. All strengths and seeds of a way train in one compiled program. What was measured is kept
and not measured again.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from measure import write_result
from overfitting_methods import METHODS, Method, Subject, read_subject
from overfitting_report import result_file, write_page

from l1jax.build import build_model
from l1jax.compilation import use_compilation_cache
from l1jax.config import Config, InputError
from l1jax.evaluation.model_likelihood import ModelLikelihood, make_model_likelihood
from l1jax.models import Vae
from l1jax.penalties import sparsity
from l1jax.selection.task_replicas import (
    FoldFeed,
    ImageExamples,
    image_fold_feed,
    select_replica,
    set_task_strengths,
    vectorize_task,
)
from l1jax.training.keys import named_seed_key
from l1jax.training.state import State, Task
from l1jax.training.task import make_task

STEPS = 2_000
CHUNKS = 40  # of the steps
JUDGED_AFTER = (1, 2, 3, 4, 6, 8, 11, 15, 20, 28, 40)  # chunks
JUDGED = 500  # images of the training set, and at once
DRAWS = 8  # of latents for each image
PARTS = ("train", "validation", "test")
Judge = Callable[[Any, np.ndarray], float]
"""(State of one replica, indices of images) → nats per image."""


def training_sets(subject: Subject, size: int, seeds: int) -> list[np.ndarray]:
    """Draw the indices of each seed's training images."""
    return [np.random.default_rng(seed).permutation(subject.pool)[:size] for seed in range(seeds)]


def first_states(task: Task, strengths: int, seeds: int) -> State:
    """Draw the parameters of each seed, the same for all strengths."""
    fresh = [task.init(named_seed_key(seed, "parameters")) for seed in range(seeds)]

    def stack(*leaves: jax.Array) -> jax.Array:
        stacked = jnp.stack(leaves)
        return jnp.repeat(stacked[:, None], strengths, axis=1)

    return jax.tree.map(stack, *fresh)._replace(step=fresh[0].step)


def make_judge(likelihood: ModelLikelihood, images: np.ndarray) -> Judge:
    """Build (state of one replica, indices) → nats per image, a bound."""
    compute = jax.jit(likelihood.nats)
    key = named_seed_key(0, "likelihood")

    def judge(state: Any, indices: np.ndarray) -> float:
        size = min(JUDGED, len(indices))
        batches = np.resize(indices, (-(-len(indices) // size), size))  # the last is filled up
        nats = [
            compute(state.encoder.params, *state.average, jnp.asarray(images[batch]), key, None)
            for batch in batches
        ]
        return float(np.mean(np.concatenate(nats)[: len(indices)]))

    return judge


def train_replicas(
    experiment: Config,
    method: Method,
    strengths: Sequence[float],
    subject: Subject,
    sets: list[np.ndarray],
) -> dict[str, Any]:
    """Train all strengths on all training sets, and judge them on the way.

    Args:
        experiment: with strengths of 1.
        method: for the networks that have the strengths.
        strengths: of the method.
        subject: the images.
        sets: indices of each seed's training images.

    Returns:
        The nats per image of each part, seeds × strengths × times, and the zeros of each network's
        kernels at the end, seeds × strengths.
    """
    shape = subject.images.shape[1:]
    model = build_model(experiment.model, shape)
    assert isinstance(model, Vae)
    likelihood = make_model_likelihood(model, DRAWS)
    assert likelihood is not None
    judge = make_judge(likelihood, subject.images)
    task = make_task(experiment, shape)
    feed = image_fold_feed(
        ImageExamples(subject.images, subject.labels),
        sets,
        seed=0,
        batches_per_step=task.batches_per_step,
        batch_size=experiment.batch_size,
    )
    states = first_states(task, len(strengths), len(sets))
    for network in method.networks:
        states = set_task_strengths(states, network, jnp.asarray(strengths))
    parts: dict[str, list[np.ndarray]] = {name: [] for name in PARTS}
    for trained in train_in_chunks(task, feed, states, len(strengths), experiment.steps):
        states = trained
        found = judge_all(judge, states, sets, subject)
        for name in PARTS:
            parts[name].append(found[name])
    return {name: np.stack(values, -1) for name, values in parts.items()} | {
        "zeros": zeros_of(states, len(sets), len(strengths))
    }


def train_in_chunks(
    task: Task, feed: FoldFeed, states: State, count: int, steps: int
) -> Iterator[State]:
    """Train, and yield the states when they are to be judged.

    Args:
        task: what is trained.
        feed: the training sets.
        states: of all replicas, at the start.
        count: of strengths.
        steps: of training.
    """
    replicas = vectorize_task(
        task,
        count,
        feed,
        network=None,
        start=named_seed_key(0, "parameters"),
        devices=jax.devices()[:1],
    )
    length = steps // CHUNKS
    resident = replicas.replicate(feed.resident)
    key = replicas.replicate(named_seed_key(0, "training"))
    states = jax.tree.map(
        lambda leaf, like: jax.device_put(leaf, like.sharding), states, replicas.template
    )
    for chunk in range(CHUNKS):
        indices = replicas.put(feed.chunk(chunk * length, length))
        states, _ = replicas.run(states, resident, indices, key)
        if chunk + 1 in JUDGED_AFTER:
            yield states


def judge_all(
    judge: Judge, states: State, sets: list[np.ndarray], subject: Subject
) -> dict[str, np.ndarray]:
    """Judge every replica on the parts, seeds × strengths.

    Args:
        judge: what `make_judge` returns.
        states: of all replicas.
        sets: indices of each seed's training images.
        subject: for the other parts.
    """
    count = jax.tree.leaves(states.average)[0].shape[1]
    found = {name: np.zeros((len(sets), count)) for name in PARTS}
    for seed, training in enumerate(sets):
        indices = (training[:JUDGED], subject.validation, subject.test)
        for strength in range(count):
            state = select_replica(states, seed, strength)
            for name, own in zip(PARTS, indices, strict=True):
                found[name][seed, strength] = judge(state, own)
    return found


def zeros_of(states: State, seeds: int, strengths: int) -> np.ndarray:
    """Return the share of zeros of both networks' kernels together, seeds × strengths.

    Args:
        states: of all replicas.
        seeds: how many.
        strengths: how many.
    """
    found = np.zeros((seeds, strengths))
    for seed in range(seeds):
        for strength in range(strengths):
            state = select_replica(states, seed, strength)
            kernels = {name: getattr(state, name).params for name in ("generator", "encoder")}
            found[seed, strength] = float(sparsity(kernels, r"(^|/)kernel$").total)
    return found


def measure_method(
    subject: Subject, method: Method, size: int, seeds: int, steps: int
) -> dict[str, Any]:
    """Train everything of one way on training sets of one size.

    Args:
        subject: the images.
        method: the way.
        size: of the training sets.
        seeds: how many.
        steps: of training.
    """
    sets = training_sets(subject, size, seeds)
    begin = time.process_time()
    found = []
    settings = []
    for rate in method.rates:
        changed = replace(method.change(subject.experiment, rate), steps=steps)
        found.append(train_replicas(changed, method, method.strengths, subject, sets))
        settings += [[strength, rate] for strength in method.strengths]
    joined = {name: np.concatenate([one[name] for one in found], 1) for name in found[0]}
    length = steps // CHUNKS
    return {
        "settings": settings,  # [strength, dropout rate]
        "steps": [after * length for after in JUDGED_AFTER],
        **{name: values.round(4).tolist() for name, values in joined.items()},
        "processor_seconds": time.process_time() - begin,
    }


def measure(
    dataset: str,
    path: str,
    sizes: list[int],
    names: list[str],
    seeds: int,
    steps: int,
    output: Path | None,
) -> None:
    """Train and judge what is missing, and keep each way as it ends.

    Args:
        dataset: "digits" or "mnist".
        path: of MNIST's files.
        sizes: of the training sets; none for those of the dataset.
        names: of the ways.
        seeds: how many.
        steps: of training.
        output: file of the result; None keeps nothing.
    """
    subject = read_subject(dataset, path)
    setting = {"dataset": dataset, "seeds": seeds, "steps": steps}
    record: dict[str, Any] = {"setting": setting, "sizes": {}}
    if output and output.exists():
        kept = json.loads(output.read_text(encoding="utf-8"))
        if kept["setting"] == setting:
            record["sizes"] = kept["sizes"]
    command = f"python benchmarks/overfitting.py --dataset {dataset}"
    for size in sizes or subject.sizes:
        own = record["sizes"].setdefault(str(size), {})
        for name in names:
            if name in own:
                continue
            own[name] = measure_method(subject, METHODS[name], size, seeds, steps)
            last = np.asarray(own[name]["test"])[:, :, -1].mean(0)
            print(f"{size} images, {name}: {own[name]['processor_seconds']:.0f} s, {last.round(1)}")
            if output:
                write_result(output, command, record)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--dataset", choices=("digits", "mnist"), default="digits")
    parser.add_argument("--path", default="", help="folder of MNIST's IDX files")
    parser.add_argument("--sizes", type=int, nargs="+", default=[], help="of the training sets")
    parser.add_argument("--only", nargs="+", choices=METHODS, metavar="NAME", default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--output", type=Path, help="default: a file in the results' folder")
    parser.add_argument("--page", action="store_true", help="fill the page from the kept results")
    parser.add_argument("--smoke", action="store_true", help="a few steps; keeps nothing")
    options = parser.parse_args(arguments)
    use_compilation_cache()
    if options.smoke:
        measure("digits", "", [100], ["L1 and dropout"], 1, CHUNKS, None)
        return
    if not options.page:
        output = options.output or result_file(options.dataset)
        sizes, names = options.sizes, options.only
        try:
            measure(
                options.dataset, options.path, sizes, names, options.seeds, options.steps, output
            )
        except InputError as error:
            parser.error(str(error))
    if not options.output:
        write_page()


if __name__ == "__main__":
    main()

r"""What do zeros cost a generator of spoken digits, by the method that makes them?

    python benchmarks/sparse_sound.py --path RECORDINGS [--steps N] [--seeds N]
    python benchmarks/sparse_sound.py --page    # fills the page's table alone
    python benchmarks/sparse_sound.py --smoke   # a few steps on tones; keeps nothing

A conditional DCGAN draws spectrograms of 32×32 pixels. Penalties approach a share of zeros over the
first half of the steps, and pruning over three quarters, as its authors have it. In the last
quarter the zeros stay and nothing is shrunk. The result is written after every training, and a
command that was stopped goes on with those that are missing.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
from measure import RESULTS, write_result
from sparse_sound_methods import methods, penalties, switched
from sparse_sound_report import write_page

from l1jax.cli.experiment_file import load_experiment
from l1jax.config import AudioData, Config, Dcgan, InputError, Optimizer, Sound, TonesData
from l1jax.data.batches import Feed, resident_feed
from l1jax.data.cache import cache_folder
from l1jax.data.opening import open_source
from l1jax.data.source import take
from l1jax.evaluation.classifier import Classifier, classifier_features, predict
from l1jax.evaluation.classifier_training import ClassifierSettings, train_classifier
from l1jax.evaluation.features import Extracted, FeatureExtractor, extract_all, random_features
from l1jax.evaluation.frechet import frechet_distance
from l1jax.evaluation.zeros import count_zeros
from l1jax.models.summary import layers
from l1jax.reporting.sound import spectrograms_through_sound
from l1jax.training import task_parts
from l1jax.training.keys import named_seed_key
from l1jax.training.parallel import Runner, make_runner
from l1jax.training.sampling import Sampler, draw_latents, make_sampler
from l1jax.training.state import GanState, Task
from l1jax.training.task import make_task

SHARES = (0.5, 0.8, 0.95)
NUM_GENERATED = 1_000
NUM_HEARD = 400  # of them, whose sound is made
RESULT = RESULTS / "sparse_sound-cpu.json"


class Data(NamedTuple):
    """Real spectrograms, and what judges generated ones by them."""

    data: Sound
    images: np.ndarray
    labels: np.ndarray
    classifier: Classifier
    extractors: dict[str, FeatureExtractor]
    real: dict[str, Extracted]  # features of all images, by the extractor's name


class Program(NamedTuple):
    """The compiled training, which serves all methods, shares and seeds."""

    methods: tuple[str, ...]  # in the order of the optimiser's states
    task: Task
    runner: Runner
    sampler: Sampler


def build_program(experiment: Config, feed: Feed) -> Program:
    """Build the training of every method.

    Args:
        experiment: the dense one.
        feed: of any seed.
    """
    build = task_parts.build_optimizer
    makers = methods(experiment)

    def build_with_methods(
        optimizer: Optimizer, *rest: Any, **options: Any
    ) -> optax.GradientTransformation:
        if optimizer is not experiment.generator:
            return build(optimizer, *rest, **options)
        return switched(list(makers.values()))

    with mock.patch.object(task_parts, "build_optimizer", build_with_methods):
        task = make_task(experiment, feed.resident[0].shape[1:])
    runner = make_runner(task, feed, jax.devices()[:1])
    return Program(tuple(makers), task, runner, make_sampler(task.generator))


def train(
    experiment: Config, program: Program, data: Data, run: tuple[int, str, float]
) -> GanState:
    """Train one generator.

    Args:
        experiment: the dense one.
        program: the training.
        data: to train on.
        run: seed of parameters and batches, method and share of zeros.
    """
    seed, method, share = run
    task = program.task
    runner = program.runner
    batch_size = experiment.batch_size
    feed = resident_feed(data.images, seed, task.batches_per_step, batch_size, data.labels)
    state: GanState = jax.jit(task.init)(named_seed_key(seed, "parameters"))
    optimizer_state = state.generator.opt_state._replace(
        method=jnp.int32(program.methods.index(method)), share=jnp.float32(share)
    )
    generator = state.generator._replace(opt_state=optimizer_state)
    state = runner.replicate(state._replace(generator=generator))
    key = runner.replicate(named_seed_key(seed, "training"))
    chunk = runner.put(feed.chunk(0, experiment.steps))
    state, _ = runner.run(state, runner.keep(feed.resident), chunk, key)
    return state


def judge(program: Program, state: GanState, data: Data, seed: int) -> dict[str, float]:
    """Measure one generator.

    Args:
        program: the training.
        state: after the training.
        data: the real spectrograms.
        seed: of the latents.
    """
    generator = program.task.generator
    count = min(NUM_GENERATED, len(data.images))
    latents = draw_latents(generator, named_seed_key(seed, "evaluation"), count)
    asked = np.arange(count) % generator.classes
    images = program.sampler(state.average, latents)
    heard = spectrograms_through_sound(images[:NUM_HEARD], data.data)
    zeros = count_zeros(state.average.params, layers(generator.network.init))
    read_from_sound = predict(data.classifier, heard) == asked[:NUM_HEARD]
    distances = {
        f"frechet_{name}": float(
            frechet_distance(real.features, extract_all(data.extractors[name], images).features)
        )
        for name, real in data.real.items()
    }
    flops_left = sum(layer.effective_flops for layer in zeros.layers)
    return {
        "zeros": zeros.sparsity,
        "flops_left": flops_left / sum(layer.flops for layer in zeros.layers),
        "accuracy": float(np.mean(predict(data.classifier, images) == asked)),
        "accuracy_of_sound": float(np.mean(read_from_sound)),
        **distances,
    }


def read_data(data: Sound, settings: ClassifierSettings) -> Data:
    """Read all spectrograms, and train the classifier that judges.

    Args:
        data: the recordings, or tones.
        settings: of the classifier.
    """
    source = open_source(data)
    assert source.labels is not None
    images = take(source, np.arange(source.length))
    labels = np.asarray(source.labels)
    classifier = train_classifier(images, labels, settings, cache_folder())
    extractors = {"classifier": classifier_features(classifier), "random": random_features()}
    real = {name: extract_all(extractor, images) for name, extractor in extractors.items()}
    return Data(data, images, labels, classifier, extractors, real)


def between_halves(data: Data) -> dict[str, float]:
    """Return the Fréchet distances between two random halves of the real spectrograms."""
    order = np.random.default_rng(0).permutation(len(data.images))
    halves = np.array_split(order, 2)
    distances = {}
    for name, extracted in data.real.items():
        features = np.asarray(extracted.features)
        distances[f"frechet_{name}"] = float(frechet_distance(*(features[h] for h in halves)))
    return distances


def make_experiment(data: Sound, steps: int, classes: int) -> Config:
    """Return the dense experiment: `spoken_digits` on smaller spectrograms.

    Args:
        data: the recordings, or tones.
        steps: of the training.
        classes: of the data.
    """
    experiment = load_experiment("spoken_digits")
    model = Dcgan(latent_size=64, channels=16, classes=classes)
    return replace(experiment, data=data, model=model, steps=steps)


def runs(num_seeds: int) -> list[tuple[int, str, float]]:
    """Return seed, method and share of every training, seed by seed, the dense one first."""
    order: list[tuple[int, str, float]] = []
    for seed in range(num_seeds):
        order.append((seed, "magnitude pruning", 0.0))
        order += [
            (seed, name, share) for name in (*penalties(), "magnitude pruning") for share in SHARES
        ]
    return order


def title(method: str, share: float) -> str:
    """Name a row of the table."""
    return f"{method}, {100 * share:.0f} %" if share else "dense"


def measure(path: str, steps: int, num_seeds: int, output: Path) -> None:
    """Train and judge everything that the kept result lacks.

    Args:
        path: of the recordings.
        steps: of each training.
        num_seeds: trainings of each row.
        output: the kept result.
    """
    data = read_data(AudioData(path, mels=32, frames=32, hop=160), ClassifierSettings(steps=600))
    experiment = make_experiment(data.data, steps, data.classifier.classes)
    feed = resident_feed(data.images, 0, 1, experiment.batch_size, data.labels)
    program = build_program(experiment, feed)
    kept = json.loads(output.read_text()) if output.exists() else {}
    rows = kept["rows"] if kept.get("steps") == steps else {}
    head = {
        "steps": steps,
        "classifier": data.extractors["classifier"].protocol,
        "classifier_accuracy": data.classifier.accuracy,
        "between_real_halves": between_halves(data),
    }
    for run in runs(num_seeds):
        seed, method, share = run
        row = rows.setdefault(title(method, share), {})
        if str(seed) in row:
            continue
        state = train(experiment, program, data, run)
        row[str(seed)] = judge(program, state, data, seed)
        print(seed, title(method, share), row[str(seed)], flush=True)
        command = f"python benchmarks/sparse_sound.py --path RECORDINGS --steps {steps}"
        write_result(output, command, {**head, "rows": rows})


def smoke() -> None:
    """Train by two methods for a few steps on tones, and judge the generators."""
    settings = ClassifierSettings(steps=4, batch_size=16)
    data = read_data(TonesData(count=64, mels=16, frames=16), settings)
    experiment = make_experiment(data.data, steps=8, classes=8)
    experiment = replace(experiment, model=replace(experiment.model, channels=4), batch_size=8)
    feed = resident_feed(data.images, 0, 1, experiment.batch_size, data.labels)
    program = build_program(experiment, feed)
    for method, share in (("group L1", 0.5), ("magnitude pruning", 0.8)):
        state = train(experiment, program, data, (0, method, share))
        print(title(method, share), judge(program, state, data, seed=0))


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--path", default="", help="folder or archive of the recordings")
    parser.add_argument("--steps", type=int, default=1_500)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=RESULT)
    parser.add_argument("--page", action="store_true", help="fill the page from the kept result")
    parser.add_argument("--smoke", action="store_true", help="a few steps; keeps nothing")
    options = parser.parse_args()
    if options.smoke:
        smoke()
    elif options.page:
        write_page(options.output)
    elif not options.path:
        parser.error("--path must name the recordings of spoken digits, a folder or an archive.")
    else:
        try:
            measure(options.path, options.steps, options.seeds, options.output)
        except InputError as error:
            parser.error(str(error))


if __name__ == "__main__":
    main()

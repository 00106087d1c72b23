"""What does sparsity cost a flow, by the method that makes the zeros?

    python benchmarks/flow_sparsity.py [--steps N …] [--seeds N] [--only NAME …]
    python benchmarks/flow_sparsity.py --dataset mnist --path FOLDER_OF_IDX_FILES
    python benchmarks/flow_sparsity.py --page    # fills the page's tables alone
    python benchmarks/flow_sparsity.py --smoke   # a few steps; keeps nothing

The flows of `flow_digits` and `flow_mnist` are trained dense, with L0, L1 and a penalty of whole
channels, and pruned by magnitude, to the same shares of zeros. The share rises until two fifths of
the steps, at half of them the zeros are frozen, and from there on the learning rate falls. Some are
trained with a rate that falls from the start, too, and some GANs with as many entries that are not
zero. Zeros are counted of the kernels' entries, and those count that `l1jax.compact` removes. Each
run is kept as it ends, and a benchmark that was stopped goes on with those missing.
"""

import argparse
import json
import time
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flow_sparsity_methods import Variant, experiment_of, variants
from flow_sparsity_report import result_file, write_page
from measure import write_result

from l1jax.build import build_model
from l1jax.compaction import compact
from l1jax.compilation import use_compilation_cache
from l1jax.config import Config, FlowMlp, InputError, Unet
from l1jax.data.batches import resident_feed, shuffled_indices
from l1jax.data.cache import cache_folder
from l1jax.data.opening import open_source
from l1jax.data.source import take
from l1jax.evaluation.classifier import Classifier, classifier_features, predict
from l1jax.evaluation.classifier_training import ClassifierSettings, train_classifier
from l1jax.evaluation.coverage import class_coverage
from l1jax.evaluation.features import Extracted, FeatureExtractor, extract_all
from l1jax.evaluation.scores import feature_scores
from l1jax.evaluation.zeros import count_zeros
from l1jax.models import Flow
from l1jax.training.keys import named_seed_key
from l1jax.training.parallel import Runner, make_runner
from l1jax.training.sampling import Sampler, draw_latents, make_sampler
from l1jax.training.state import Average, Task, require_images
from l1jax.training.task import make_task

STEPS = {"digits": (6_000, 12_000, 24_000), "mnist": (3_000,)}
JUDGED = 2_000  # images, where there are so many
FEW_STEPS = 5  # of a sampler that has about the FLOPs of a GAN at 95 % zeros
SCORES = ("frechet_distance", "precision", "recall", "coverage")


class Data(NamedTuple):
    """Real images, and what judges generated ones by them."""

    images: np.ndarray
    labels: np.ndarray
    classifier: Classifier
    features: FeatureExtractor
    seen: Extracted  # features of the images that generated ones are compared with


class Trial(NamedTuple):
    """A variant that is compiled once and trained from any seed."""

    experiment: Config
    task: Task
    runner: Runner
    sampler: Sampler
    quick_sampler: Sampler | None  # of few steps; None for a GAN


def read_data(dataset: str, path: str, settings: ClassifierSettings | None) -> Data:
    """Read all images, and train the classifier that judges.

    Args:
        dataset: "digits" or "mnist".
        path: of MNIST's files.
        settings: of the classifier; None for the usual ones.
    """
    experiment = experiment_of(Variant("dense"), dataset, path, steps=10)
    source = open_source(experiment.data)
    assert source.labels is not None
    images = take(source, np.arange(source.length))
    labels = np.asarray(source.labels)
    classifier = train_classifier(images, labels, settings, cache_folder())
    features = classifier_features(classifier)
    chosen = shuffled_indices(0, 0, min(JUDGED, len(images)), len(images))
    return Data(images, labels, classifier, features, extract_all(features, images[chosen]))


def between_halves(data: Data) -> dict[str, float]:
    """Return the scores of one half of the judged real images against the other."""
    one, other = np.array_split(np.asarray(data.seen.features), 2)
    found = feature_scores(Extracted(one, None), Extracted(other, None))
    return {name: found[name] for name in SCORES}


def open_trial(variant: Variant, experiment: Config, data: Data) -> Trial:
    """Build the task of a variant and what draws from it."""
    shape = data.images.shape[1:]
    task = make_task(experiment, shape)
    feed = resident_feed(data.images, 0, task.batches_per_step, experiment.batch_size, data.labels)
    runner = make_runner(task, feed, jax.devices()[:1])
    quick_sampler = None
    if not variant.is_gan:
        assert isinstance(experiment.model, FlowMlp | Unet)
        quick = build_model(replace(experiment.model, sampling_steps=FEW_STEPS), shape)
        assert isinstance(quick, Flow)
        quick_sampler = make_sampler(quick.generator)
    sampler = make_sampler(require_images(task))
    return Trial(experiment, task, runner, sampler, quick_sampler)


def train(trial: Trial, data: Data, seed: int) -> Average:
    """Train from one seed, and return the average of the weights."""
    experiment = trial.experiment
    task = trial.task
    runner = trial.runner
    feed = resident_feed(
        data.images, seed, task.batches_per_step, experiment.batch_size, data.labels
    )
    state = runner.replicate(task.init(named_seed_key(seed, "parameters")))
    key = runner.replicate(named_seed_key(seed, "training"))
    chunk = feed.chunk(0, experiment.steps)
    state, _ = runner.run(state, runner.keep(feed.resident), chunk, key)
    return state.average


def judge(trial: Trial, average: Average, data: Data, seed: int) -> dict[str, float]:
    """Measure a trained generator by as many images as there are real ones to compare with."""
    generator = require_images(trial.task)
    count = len(data.seen.features)
    latents = draw_latents(generator, named_seed_key(seed, "evaluation"), count)
    images = trial.sampler(average, latents)
    found = feature_scores(data.seen, extract_all(data.features, images), seed)
    classes = class_coverage(predict(data.classifier, images), np.bincount(data.labels))
    smaller = compact(generator, average.params, average.batch_stats)
    entries = sum(layer.entries for layer in count_zeros(average.params).layers)
    entries_left = sum(layer.entries - layer.zeros for layer in count_zeros(smaller.params).layers)
    scores = {name: found[name] for name in SCORES} | {
        "modes": float(classes.modes),
        "zeros": 1 - entries_left / entries,
        "entries_left": float(entries_left),
    }
    if trial.quick_sampler:
        quick = extract_all(data.features, trial.quick_sampler(average, latents))
        few = feature_scores(data.seen, quick, seed)
        scores |= {f"{name}_of_few_steps": few[name] for name in SCORES}
    return scores


def measure(
    dataset: str,
    path: str,
    lengths: list[int],
    seeds: int,
    names: list[str],
    output: Path | None,
    settings: ClassifierSettings | None = None,
) -> None:
    """Train and judge what is missing, seed by seed, and keep each run as it ends.

    Args:
        dataset: "digits" or "mnist".
        path: of MNIST's files.
        lengths: steps of the trainings.
        seeds: how many.
        names: of the variants.
        output: file of the result; None keeps nothing.
        settings: of the classifier that judges; None for the usual ones.
    """
    data = read_data(dataset, path, settings)
    known = variants(dataset)
    record: dict[str, Any] = {
        "dataset": dataset,
        "judge": f"{len(data.seen.features):,} images, {data.features.protocol}",
        "between_real_halves": between_halves(data),
        "runs": {},
    }
    if output and output.exists():
        record["runs"] = json.loads(output.read_text())["runs"]
    command = f"python benchmarks/flow_sparsity.py --dataset {dataset}"

    @cache
    def trial_of(name: str, steps: int) -> Trial:
        experiment = experiment_of(known[name], dataset, path, steps)
        return open_trial(known[name], experiment, data)

    for steps in lengths:
        of_length = record["runs"].setdefault(str(steps), {})
        for seed in range(seeds):
            for name in names:
                own = of_length.setdefault(name, {})
                if str(seed) in own:
                    continue
                begin = time.process_time()
                trial = trial_of(name, steps)
                average = train(trial, data, seed)
                jax.block_until_ready(average)
                seconds = time.process_time() - begin
                own[str(seed)] = judge(trial, average, data, seed)
                own[str(seed)]["processor_seconds"] = seconds
                print(steps, name, seed, own[str(seed)], flush=True)
                if output:
                    write_result(output, command, record)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--dataset", choices=STEPS, default="digits")
    parser.add_argument("--path", default="", help="folder of MNIST's IDX files")
    parser.add_argument("--steps", type=int, nargs="+", help="of each training, one or several")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these variants alone")
    parser.add_argument("--output", type=Path, help="default: a file in the results' folder")
    parser.add_argument("--page", action="store_true", help="fill the page from the kept results")
    parser.add_argument("--smoke", action="store_true", help="a few steps; keeps nothing")
    options = parser.parse_args(arguments)
    use_compilation_cache()
    if options.smoke:
        names = ["channels, 80%", "magnitude pruning, 80%"]
        measure("digits", "", [20], 1, names, None, ClassifierSettings(steps=4))
        return
    if options.page:
        write_page()
        return
    known = list(variants(options.dataset))
    unknown = sorted(set(options.only or []) - set(known))
    if unknown:
        parser.error(f"--only (={unknown[0]}) must be of: {'; '.join(known)}.")
    lengths = options.steps or list(STEPS[options.dataset])
    output = options.output or result_file(options.dataset)
    try:
        measure(
            options.dataset, options.path, lengths, options.seeds, options.only or known, output
        )
    except InputError as error:
        parser.error(str(error))
    if not options.output:
        write_page()


if __name__ == "__main__":
    main()

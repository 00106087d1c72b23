"""How should a trained GAN become sparse: by L0 or by pruning from it, or sparse from the start?

A dense GAN of the digits, or of MNIST, is trained; from it `--from` goes on with L0, with L1, with
magnitude pruning, and with a penalty of whole channels. L0 and RigL from drawn weights have the
steps of both trainings together. A share of zeros is one of the generator's kernel entries; for
channels, those that `l1jax.compact` removes count.

    python benchmarks/sparsify.py [--steps N] [--more N] [--seeds N] [--only NAME …]
    python benchmarks/sparsify.py --dataset mnist --path FOLDER_OF_IDX_FILES --steps 4000
    python benchmarks/sparsify.py --smoke     # a few steps of one method; keeps nothing

Every run is an ordinary one of `l1jax.train`, in a folder of `--runs`: one that was stopped
resumes, and what was measured is not measured again.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from measure import write_result
from sparsify_methods import METHODS, SUBJECTS
from sparsify_report import result_file, write_page

from l1jax import train
from l1jax.cli.experiment_file import load_experiment
from l1jax.compaction import compact
from l1jax.compilation import use_compilation_cache
from l1jax.data.batches import shuffled_indices
from l1jax.data.cache import cache_folder
from l1jax.data.opening import open_source
from l1jax.data.source import take
from l1jax.evaluation import class_coverage
from l1jax.evaluation.classifier import classifier_features, predict
from l1jax.evaluation.classifier_training import ClassifierSettings, train_classifier
from l1jax.evaluation.features import extract_all
from l1jax.evaluation.frechet import frechet_distance
from l1jax.evaluation.zeros import count_zeros
from l1jax.training.keys import named_seed_key
from l1jax.training.sampling import draw_latents, make_sampler
from l1jax.training.saved_run import load_run
from l1jax.training.state import require_images

JUDGED = 10_000  # images, where there are so many
SHARES = (0.9, 0.8, 0.95)
NO_PENALTY = ["--generator.penalty.strength", "0"]


class Setting(NamedTuple):
    """What is trained, where, and for how long."""

    dataset: str
    path: str  # of MNIST's files
    folder: Path  # of all runs
    steps: int  # of the dense run
    more: int  # from it


def workdir_of(setting: Setting, name: str, seed: int) -> Path:
    """Return the folder of a run."""
    return setting.folder / f"{name.replace(' ', '-')}-{seed}"


def train_run(setting: Setting, name: str, steps: int, seed: int, flags: list[str]) -> Path:
    """Train a run, or find it.

    Args:
        setting: what is trained, and where.
        name: of its folder, beside the seed.
        steps: of training.
        seed: of everything random.
        flags: beside those that all runs have.

    Raises:
        RuntimeError: with the flags, if training does not come to its end.
    """
    subject = SUBJECTS[setting.dataset]
    workdir = workdir_of(setting, name, seed)
    every = max(1, min(250, steps // 4))
    common = (
        f"--config {subject.config} --steps {steps} --seed {seed} "
        f"--log-every {every} --sample-every {steps} --checkpoint-every {max(1, steps // 2)}"
    ).split()
    data = ["--data.path", setting.path] if setting.path else []
    arguments = ["--workdir", str(workdir), *common, *data, *subject.flags, *flags]
    if train.main(arguments):
        raise RuntimeError(f"l1jax.train did not end well with {' '.join(arguments)}")
    return workdir


def train_dense(setting: Setting, seed: int) -> Path:
    """Train the dense run of a seed, or find it."""
    return train_run(setting, "dense", setting.steps, seed, NO_PENALTY)


def train_on(setting: Setting, seed: int) -> Path:
    """Train the dense run of a seed on without zeros, or find that run."""
    flags = [*NO_PENALTY, "--from", str(workdir_of(setting, "dense", seed))]
    return train_run(setting, "dense-on", setting.more, seed, flags)


def train_sparse(setting: Setting, name: str, share: float, seed: int) -> Path:
    """Train a run of a method to a share of zeros, or find it.

    Args:
        setting: what is trained, and where.
        name: of the method.
        share: of zeros.
        seed: of everything random.
    """
    method = METHODS[name]
    steps = setting.more if method.continues else setting.steps + setting.more
    flags = method.flags(SUBJECTS[setting.dataset], steps, share)
    if method.continues:
        flags += ["--from", str(workdir_of(setting, "dense", seed))]
    return train_run(setting, f"{name}-{share:g}", steps, seed, flags)


def make_score(
    setting: Setting, settings: ClassifierSettings | None
) -> Callable[[Path, int], dict[str, float]]:
    """Build (work directory, seed) → scores of as many images as real ones are judged by."""
    data = load_experiment(SUBJECTS[setting.dataset].config).data
    source = open_source(replace(data, path=setting.path) if setting.path else data)
    examples = take(source, np.arange(source.length))
    labels = np.asarray(source.labels)
    classifier = train_classifier(examples, labels, settings, cache_folder())
    features = classifier_features(classifier)
    chosen = shuffled_indices(0, 0, min(JUDGED, len(examples)), len(examples))
    real = extract_all(features, examples[chosen]).features

    def score(workdir: Path, seed: int) -> dict[str, float]:
        trained = load_run(workdir, None, print)
        generator = require_images(trained.task)
        key = named_seed_key(seed, "evaluation")
        latents = draw_latents(generator, key, len(chosen))
        average = trained.state.average
        images = make_sampler(generator)(average, latents)
        smaller = compact(generator, average.params, average.batch_stats)
        zeros = count_zeros(average.params)
        left = count_zeros(smaller.params)
        classes = class_coverage(predict(classifier, images), np.bincount(labels))
        return {
            "frechet_distance": float(
                frechet_distance(real, extract_all(features, images).features)
            ),
            "reverse_kl": float(classes.reverse_kl),
            "modes": float(classes.modes),
            "zeros": zeros.sparsity,
            "parameters_left": left.parameters / zeros.parameters,
        }

    return score


def measure(
    setting: Setting,
    names: list[str],
    shares: list[float],
    seeds: int,
    output: Path,
    judge: ClassifierSettings | None = None,
) -> dict[str, Any]:
    """Train and score what is missing, and keep each score as it is known.

    Args:
        setting: what is trained, and for how long.
        names: of the methods.
        shares: of zeros.
        seeds: how many.
        output: file of the result.
        judge: how the classifier that judges is trained; None for its defaults.
    """
    steps = {"steps": setting.steps, "more": setting.more}
    command = (
        f"python benchmarks/sparsify.py --dataset {setting.dataset} --steps {setting.steps} "
        f"--more {setting.more}"
    )
    record: dict[str, Any] = {"dataset": setting.dataset, "setting": steps, "runs": {}}
    if output.exists():
        kept = json.loads(output.read_text())
        if kept["setting"] == steps:
            record["runs"] = kept["runs"]
    score = make_score(setting, judge)

    def keep(name: str, seed: int, make: Callable[[], Path]) -> None:
        runs = record["runs"].setdefault(name, {})
        if str(seed) in runs:
            return
        if name != "dense":
            train_dense(setting, seed)  # if its folder is no longer there
        begin = time.process_time()
        workdir = make()
        seconds = time.process_time() - begin
        runs[str(seed)] = {**score(workdir, seed), "processor_seconds": seconds}
        print(name, seed, runs[str(seed)], flush=True)
        write_result(output, command, record)

    for seed in range(seeds):
        keep("dense", seed, lambda seed=seed: train_dense(setting, seed))
        keep("dense, trained on", seed, lambda seed=seed: train_on(setting, seed))
        for share in shares:
            for name in names:
                keep(
                    f"{name}, {share:.0%}",
                    seed,
                    lambda name=name, share=share, seed=seed: train_sparse(
                        setting, name, share, seed
                    ),
                )
    show(record)
    return record


def show(record: dict[str, Any]) -> None:
    """Print a row for each method: means over the seeds, and the ratio to the dense run."""
    dense = record["runs"]["dense"]
    for name, runs in record["runs"].items():
        distances = [run["frechet_distance"] for run in runs.values()]
        ratios = [
            run["frechet_distance"] / dense[seed]["frechet_distance"] for seed, run in runs.items()
        ]
        zeros = [run["zeros"] for run in runs.values()]
        print(
            f"{name:45} Fréchet {np.mean(distances):7.2f}  {np.mean(ratios):5.2f} × dense "
            f"(worst {max(ratios):.2f})  zeros {np.mean(zeros):.1%}  seeds {len(runs)}"
        )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--dataset", choices=SUBJECTS, default="digits")
    parser.add_argument("--path", default="", help="folder of MNIST's IDX files")
    parser.add_argument("--steps", type=int, default=6_000, help="of the dense run")
    parser.add_argument("--more", type=int, default=4_000, help="steps from it")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--shares", type=float, nargs="+", default=list(SHARES))
    parser.add_argument("--only", nargs="+", choices=METHODS, metavar="NAME", default=list(METHODS))
    parser.add_argument("--runs", type=Path, default=Path("build/sparsify"), help="folder of runs")
    parser.add_argument("--output", type=Path, help="default: a file in the results' folder")
    parser.add_argument("--page", action="store_true", help="fill the page from the kept results")
    parser.add_argument("--smoke", action="store_true", help="a few steps; keeps nothing")
    options = parser.parse_args(arguments)
    use_compilation_cache()
    if options.smoke:
        with tempfile.TemporaryDirectory() as folder:
            setting = Setting("digits", "", Path(folder), 20, 20)
            output = Path(folder) / "result.json"
            names = ["RigL from the start"]
            measure(setting, names, [0.9], 1, output, ClassifierSettings(steps=4))
        return
    if not options.page:
        folder = options.runs / f"{options.dataset}-{options.steps}-{options.more}"
        setting = Setting(options.dataset, options.path, folder, options.steps, options.more)
        output = options.output or result_file(options.dataset, options.steps, options.more)
        measure(setting, options.only, options.shares, options.seeds, output)
    if not options.output:
        write_page()


if __name__ == "__main__":
    main()

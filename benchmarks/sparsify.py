"""How should a trained GAN become sparse: by L0 or by pruning from it, or sparse from the start?

A dense GAN of the digits is trained; from it `--from` goes on with L0, with L1, with magnitude
pruning, and with a penalty of whole channels. L0 and RigL from drawn weights have the steps of both
trainings together. A share of zeros is one of the generator's kernel entries; for channels, those
that `l1jax.compact` removes count.

    python benchmarks/sparsify.py [--steps N] [--more N] [--seeds N] [--only NAME …]
    python benchmarks/sparsify.py --smoke     # a few steps of each method; keeps nothing

Every run is an ordinary one of `l1jax.train`, in a folder of `--runs`: one that was stopped
resumes, and what was measured is not measured again.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from measure import RESULTS, write_result
from sparsify_report import write_page

from l1jax import train
from l1jax.compaction import compact
from l1jax.compilation import use_compilation_cache
from l1jax.config import DigitsData
from l1jax.data.digits_source import open_digits
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

RESULT = RESULTS / "sparsify-cpu.json"
SHARES = (0.9, 0.8, 0.95)
LATENTS, UNITS, PIXELS = 64, 256, 64  # of the generator in experiments/digits.py
RAMP = 0.5  # of the steps, after which the share of zeros is reached
FREEZE = 0.6  # of the steps, after which zeros stay
RIGL_STOP = 0.75  # of the steps, after which RigL's mask stays
PRUNINGS = 30  # choices of the zeros while they become more


class Setting(NamedTuple):
    """How long is trained."""

    steps: int  # of the dense run
    more: int  # from it


def penalised(steps: int, penalty: str, share: float) -> list[str]:
    """Return the flags of a penalty that reaches a share slowly, and is then removed."""
    return (
        f"--generator.penalty {penalty} --generator.penalty.strength 1e-5 "
        f"--generator.sparsity-target {share} "
        f"--generator.strength-schedule.warmup {round(RAMP * steps)} "
        f"--generator.debias-after {round(FREEZE * steps)}"
    ).split()


def channels(steps: int, penalty: str, share: float) -> list[str]:
    """Return the flags of a penalty of what the next layer reads from each hidden unit."""
    flags = (
        "--generator.penalty.groups input_channels --generator.penalised (hidden_1|image)/kernel$ "
        "--generator.sparsity-scope leaf --generator.per-group"
    )
    return [*penalised(steps, penalty, share_of_units(share)), *flags.split()]


def share_of_units(share: float) -> float:
    """Return the share of hidden units without which that share of the kernels' entries is gone.

    With u units left in both layers, (latents + pixels)·u + u² entries are left.
    """
    ends = LATENTS + PIXELS
    entries = (1 - share) * UNITS * (ends + UNITS)
    units = np.sqrt(ends**2 / 4 + entries) - ends / 2
    return round(1 - units / UNITS, 4)


def pruned(steps: int, method: str, ramp: float, share: float) -> list[str]:
    """Return the flags of a method that prunes."""
    end = round(ramp * steps)
    return (
        f"--generator.method {method} --generator.penalty.strength 0 "
        f"--generator.sparsity-target {share} --generator.pruning.steps {end} "
        f"--generator.pruning.every {max(1, end // PRUNINGS)}"
    ).split()


class Method(NamedTuple):
    """One way to zeros."""

    continues: bool  # from the dense run
    flags: Callable[[int, float], list[str]]  # (steps, share of zeros) → flags


METHODS = {
    "L0 from the dense run": Method(True, lambda steps, share: penalised(steps, "l0", share)),
    "magnitude pruning from the dense run": Method(
        True, lambda steps, share: pruned(steps, "magnitude", RAMP, share)
    ),
    "L0 from the start": Method(False, lambda steps, share: penalised(steps, "l0", share)),
    "RigL from the start": Method(
        False, lambda steps, share: pruned(steps, "rigl", RIGL_STOP, share)
    ),
    "L1 from the dense run": Method(True, lambda steps, share: penalised(steps, "l1", share)),
    "channels from the dense run": Method(
        True, lambda steps, share: channels(steps, "group-mcp", share)
    ),
}


def common(workdir: Path, steps: int, seed: int) -> list[str]:
    """Return the flags that every run has."""
    every = max(1, min(250, steps // 4))
    return (
        f"--workdir {workdir} --steps {steps} --seed {seed} --log-every {every} "
        f"--sample-every {steps} --checkpoint-every {max(1, steps // 2)} --ema-half-life 10000"
    ).split()


def train_dense(folder: Path, setting: Setting, seed: int) -> Path:
    """Train the dense run of a seed, or find it."""
    workdir = folder / f"dense-{seed}"
    flags = common(workdir, setting.steps, seed)
    run(["--config", "digits", "--generator.penalty.strength", "0", *flags])
    return workdir


def train_sparse(folder: Path, setting: Setting, name: str, share: float, seed: int) -> Path:
    """Train a run of a method, or find it.

    Args:
        folder: of all runs.
        setting: how long.
        name: of the method.
        share: of zeros.
        seed: of everything random.
    """
    method = METHODS[name]
    workdir = folder / f"{name.replace(' ', '-')}-{share:g}-{seed}"
    steps = setting.more if method.continues else setting.steps + setting.more
    flags = [*common(workdir, steps, seed), *method.flags(steps, share)]
    if method.continues:
        flags += ["--from", str(folder / f"dense-{seed}")]
    run(["--config", "digits", *flags])
    return workdir


def train_on(folder: Path, setting: Setting, seed: int) -> Path:
    """Train the dense run of a seed on without zeros, or find that run."""
    workdir = folder / f"dense-on-{seed}"
    source = ["--from", str(folder / f"dense-{seed}")]
    flags = common(workdir, setting.more, seed)
    run(["--config", "digits", "--generator.penalty.strength", "0", *source, *flags])
    return workdir


def run(flags: list[str]) -> None:
    """Train, and raise if that does not come to its end.

    Raises:
        RuntimeError: with the flags.
    """
    if train.main(flags):
        raise RuntimeError(f"l1jax.train did not end well with {' '.join(flags)}")


def make_score(settings: ClassifierSettings | None) -> Callable[[Path, int], dict[str, float]]:
    """Build (work directory, seed) → scores of as many images as there are real ones."""
    source = open_digits(DigitsData())
    examples = take(source, np.arange(source.length))
    labels = np.asarray(source.labels)
    classifier = train_classifier(examples, labels, settings)
    features = classifier_features(classifier)
    real = extract_all(features, examples).features

    def score(workdir: Path, seed: int) -> dict[str, float]:
        trained = load_run(workdir, None, print)
        generator = require_images(trained.task)
        key = named_seed_key(seed, "evaluation")
        latents = draw_latents(generator, key, len(examples))
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
    folder: Path,
    setting: Setting,
    names: list[str],
    shares: list[float],
    seeds: int,
    output: Path,
    judge: ClassifierSettings | None = None,
) -> dict[str, Any]:
    """Train and score what is missing, and keep each score as it is known.

    Args:
        folder: of the runs.
        setting: how long.
        names: of the methods.
        shares: of zeros.
        seeds: how many.
        output: file of the result.
        judge: how the classifier that judges is trained; None for its defaults.
    """
    command = f"python benchmarks/sparsify.py --steps {setting.steps} --more {setting.more}"
    if names != list(METHODS):
        command += " --only " + " ".join(f"'{name}'" for name in names)
    if shares != list(SHARES):
        command += " --shares " + " ".join(f"{share:g}" for share in shares)
    record: dict[str, Any] = {"setting": setting._asdict(), "runs": {}}
    if output.exists():
        kept = json.loads(output.read_text())
        if kept["setting"] == record["setting"]:
            record["runs"] = kept["runs"]
    score = make_score(judge)

    def keep(name: str, seed: int, make: Callable[[], Path]) -> None:
        runs = record["runs"].setdefault(name, {})
        if str(seed) in runs:
            return
        begin = time.process_time()
        workdir = make()
        seconds = time.process_time() - begin
        runs[str(seed)] = {**score(workdir, seed), "processor_seconds": seconds}
        print(name, seed, runs[str(seed)], flush=True)
        write_result(output, command, record)

    for seed in range(seeds):
        keep("dense", seed, lambda seed=seed: train_dense(folder, setting, seed))
        keep("dense, trained on", seed, lambda seed=seed: train_on(folder, setting, seed))
        for share in shares:
            for name in names:
                keep(
                    f"{name}, {share:.0%}",
                    seed,
                    lambda name=name, share=share, seed=seed: train_sparse(
                        folder, setting, name, share, seed
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
    parser.add_argument("--steps", type=int, default=12_000, help="of the dense run")
    parser.add_argument("--more", type=int, default=6_000, help="steps from it")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--shares", type=float, nargs="+", default=list(SHARES))
    parser.add_argument("--only", nargs="+", choices=METHODS, metavar="NAME", default=list(METHODS))
    parser.add_argument("--runs", type=Path, default=Path("build/sparsify"), help="folder of runs")
    parser.add_argument("--output", type=Path, default=RESULT, help="where scores are kept")
    parser.add_argument("--smoke", action="store_true", help="a few steps; keeps nothing")
    options = parser.parse_args(arguments)
    use_compilation_cache()
    if options.smoke:
        with tempfile.TemporaryDirectory() as folder:
            names = ["L0 from the dense run", "RigL from the start"]
            output = Path(folder) / "result.json"
            judge = ClassifierSettings(steps=4)
            measure(Path(folder), Setting(20, 20), names, [0.9], 1, output, judge)
        return
    setting = Setting(options.steps, options.more)
    measure(options.runs, setting, options.only, options.shares, options.seeds, options.output)
    if options.output == RESULT:
        write_page(RESULT)


if __name__ == "__main__":
    main()

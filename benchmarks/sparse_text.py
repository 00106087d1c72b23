"""What do zeros cost a language model, and which method finds them best?

A small transformer on the English documentation in every Python is trained dense, with L1, L0 and
block penalties, and pruned by magnitude, to the same shares of zeros.

    python benchmarks/sparse_text.py [--steps N] [--seeds N] [--only NAME …]
    python benchmarks/sparse_text.py --page      # fills the page's tables and plot alone
    python benchmarks/sparse_text.py --smoke     # a few steps of each method; keeps nothing

Every method has the same time: the target rises over the first half of the training, the zeros are
fixed from 60 % on, and the rest trains without a penalty. The score is bits per byte of held-out
documents. Each run is kept as it ends, and a benchmark that was stopped goes on with the runs that
are missing.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
from measure import RESULTS, write_result
from sparse_text_report import write_page

from l1jax import sparsity
from l1jax.config import (
    L0,
    L1,
    Config,
    GroupL1,
    NextToken,
    Optimizer,
    Penalty,
    Pruning,
    Schedule,
    TopicsData,
    Transformer,
)
from l1jax.data.batches import Feed
from l1jax.data.corpus import Corpus, document_windows
from l1jax.data.text_batches import text_feed
from l1jax.data.text_source import open_text
from l1jax.evaluation.text_likelihood import bits_per_byte, make_window_bits
from l1jax.models import LanguageModel
from l1jax.training.keys import named_seed_key
from l1jax.training.parallel import Runner, make_runner
from l1jax.training.state import Task
from l1jax.training.task import make_task

RESULT = RESULTS / "sparse_text-cpu.json"
SHARES = (0.5, 0.8, 0.95)
KERNELS = r"^block_.*kernel$"  # all but the embedding and the logits
WINDOW = 128
DATA = TopicsData(window=WINDOW)
HOLDOUT = 0.1
BEGIN = 0.2  # of the training, before which nothing is pruned: pruned entries never come back
RAMP = 0.5  # of the training, after which the target is reached
FREEZE = 0.6  # of the training, after which zeros stay
PRUNE_EVERY = 5  # updates
PENALTIES: dict[str, Penalty] = {
    "L1": L1(1e-5),
    "L0": L0(1e-8),
    "L1 of 4 × 4 blocks": GroupL1(1e-5, groups="blocks", block=(4, 4)),
}


class Variant(NamedTuple):
    """One way to get zeros."""

    method: str  # "dense", "magnitude pruning" or one of the penalties
    share: float
    scope: Literal["global", "group", "leaf"]


def variants() -> dict[str, Variant]:
    """Name every variant: the table first, then the allocations."""
    found = {"dense": Variant("dense", 0.0, "group")}
    methods = (*PENALTIES, "magnitude pruning")
    for share in (0.8, 0.95, 0.5):
        for method in methods:
            found[f"{method}, {share:.0%}"] = Variant(method, share, "group")
    for scope in ("global", "leaf"):
        for method in ("L1", "L0", "magnitude pruning"):
            found[f"{method}, 95%, {scope}"] = Variant(method, 0.95, scope)
    return found


def experiment_of(variant: Variant, steps: int) -> Config:
    """Return the experiment; pruning follows Zhu and Gupta's schedule."""
    optimizer = {
        "learning_rate": 4e-3,
        "b1": 0.9,
        "b2": 0.99,
        "learning_rate_schedule": Schedule("cosine", warmup=steps // 20, steps=steps, end=0.05),
        "penalised": KERNELS,
    }
    if variant.method in PENALTIES:
        optimizer |= {
            "penalty": PENALTIES[variant.method],
            "per_group": isinstance(PENALTIES[variant.method], GroupL1),
            "strength_schedule": Schedule(warmup=round(RAMP * steps)),
            "sparsity_target": variant.share,
            "sparsity_scope": variant.scope,
            "debias_after": round(FREEZE * steps),
        }
    if variant.method == "magnitude pruning":
        begin = round(BEGIN * steps)
        optimizer |= {
            "method": "magnitude",
            "sparsity_target": variant.share,
            "sparsity_scope": variant.scope,
            "pruning": Pruning(every=PRUNE_EVERY, begin=begin, steps=round(RAMP * steps) - begin),
        }
    return Config(
        data=DATA,
        model=Transformer(width=64, layers=2, heads=4, context=WINDOW),
        objective=NextToken(),
        generator=Optimizer(**optimizer),
        discriminator=None,
        steps=steps,
        batch_size=8,
        ema_half_life=200,
        holdout=HOLDOUT,
    )


class Trial(NamedTuple):
    """A variant that is compiled once and trained from any seed."""

    task: Task
    runner: Runner
    feed: Callable[[int], Feed]
    score: Callable[[Any, Any], Any]
    held_out: Any


def open_trial(
    variant: Variant, steps: int, corpora: tuple[Corpus, Corpus], judged: int | None
) -> Trial:
    """Build the task of a variant, and what scores it on so many held-out tokens."""
    training, held_out = corpora
    experiment = experiment_of(variant, steps)
    task = make_task(experiment, (WINDOW,))
    model = task.generator
    assert isinstance(model, LanguageModel)

    def feed(seed: int) -> Feed:
        return text_feed(training, WINDOW, seed, experiment.batch_size, 2**30)

    runner = make_runner(task, feed(0), jax.devices()[:1])
    windows = document_windows(held_out, WINDOW, judged)
    return Trial(task, runner, feed, make_window_bits(model, windows), windows)


def fit(trial: Trial, steps: int, seed: int) -> dict[str, Any]:
    """Train from one seed, and measure the average of its weights."""
    begin = time.process_time()
    runner = trial.runner
    feed = trial.feed(seed)
    state = runner.replicate(trial.task.init(named_seed_key(seed, "parameters")))
    key = runner.replicate(named_seed_key(seed, "training"))
    resident = runner.keep(feed.resident)
    state, _ = runner.run(state, resident, feed.chunk(0, steps), key)
    average = state.average
    found = trial.score(average.params, average.batch_stats)
    zeros = sparsity(average.params, KERNELS)
    return {
        "bits_per_byte": bits_per_byte(found, trial.held_out).mean,
        "zeros": float(zeros.total),
        "zeros_by_kernel": {path: float(share) for path, share in zeros.by_path.items()},
        "processor_seconds": time.process_time() - begin,
    }


def measure(
    names: list[str], steps: int, seeds: int, output: Path | None, judged: int | None = None
) -> dict[str, Any]:
    """Train what is missing, and keep each run as it ends.

    Args:
        names: of the variants.
        steps: of each training.
        seeds: how many.
        output: file of the result; None keeps nothing.
        judged: the most held-out tokens that are scored; None for all.
    """
    setting = {"steps": steps}
    kept = json.loads(output.read_text()) if output and output.exists() else {}
    runs: dict[str, dict[str, Any]] = {}
    if {name: kept.get(name) for name in setting} == setting:
        runs = kept["runs"]
    training, held_out = open_text(DATA, HOLDOUT)
    assert held_out is not None
    for name in names:
        own = runs.setdefault(name, {})
        missing = [seed for seed in range(seeds) if str(seed) not in own]
        if not missing:
            continue
        trial = open_trial(variants()[name], steps, (training, held_out), judged)
        for seed in missing:
            own[str(seed)] = fit(trial, steps, seed)
            print(name, seed, own[str(seed)] | {"zeros_by_kernel": "…"}, flush=True)
            if output:
                command = f"python benchmarks/sparse_text.py --steps {steps} --seeds {seeds}"
                write_result(output, command, setting | {"runs": runs})
    return runs


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--only", nargs="+", choices=variants(), metavar="NAME", help="these variants alone"
    )
    parser.add_argument("--output", type=Path, default=RESULT, help="where runs are kept")
    parser.add_argument("--page", action="store_true", help="fill the page from the kept result")
    parser.add_argument("--smoke", action="store_true", help="a few steps; keeps nothing")
    options = parser.parse_args(arguments)
    if options.smoke:
        names = ["L1 of 4 × 4 blocks, 80%", "magnitude pruning, 80%"]
        measure(names, steps=20, seeds=1, output=None, judged=2_000)
        return
    if not options.page:
        measure(options.only or list(variants()), options.steps, options.seeds, options.output)
    if options.page or options.output == RESULT:
        write_page(options.output)


if __name__ == "__main__":
    main()

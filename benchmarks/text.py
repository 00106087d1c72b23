"""A transformer over bytes against PyTorch: bits per byte, training and generation.

    python benchmarks/text.py --output benchmarks/results
    taskset -c 0 python benchmarks/text.py --processor-time --output benchmarks/results
    python benchmarks/text.py --smoke

`quality` trains the default text experiment, and the same network in PyTorch from the same weights
on the same windows (dropout differs), and compares the bits per byte of held-out documents.
`training` measures tokens per second of l1jax (with Adam, and with the L1 penalty's proximal Adam)
and of PyTorch (`text_peer.py`), eager and compiled. `generation` measures the bytes per second of
samples with a cache of keys and values. What is timed takes turns in one process, so that all see
the same machine; the load average before and after is kept with the result. Where other programs
take most of the cores, PyTorch's threads wait for each other and lose more than l1jax's, so that
wall-clock ratios mean little: `--processor-time` on one core (`taskset`) compares what both
compute. `--smoke` runs all of this on a tiny network, whose graphs PyTorch traces and does not
translate, and keeps nothing. Without PyTorch l1jax is measured alone.
"""

import argparse
import importlib.util
import os
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import measure
import numpy as np

from l1jax import config
from l1jax.build import build_model, example_shape
from l1jax.cli.experiment_file import load_experiment
from l1jax.compilation import jit_once
from l1jax.data.byte_tokens import BOUNDARY, VOCABULARY
from l1jax.data.corpus import Corpus, Windows, document_windows, token_windows
from l1jax.data.text_batches import text_feed, window_starts
from l1jax.data.text_source import open_text
from l1jax.evaluation.text_likelihood import bits_per_byte, make_window_bits
from l1jax.models import LanguageModel, Sampling
from l1jax.text_runs.samples import make_text_sampler
from l1jax.training.keys import named_seed_key
from l1jax.training.parallel import make_runner
from l1jax.training.state import Average
from l1jax.training.task import make_task
from l1jax.training.task_parts import ema_decay

Clock = Callable[[], float]
PARTS = ("quality", "training", "generation")
STRENGTH = 1e-5
MIB = 2**20


class Case(NamedTuple):
    """An experiment, and how much of it is timed."""

    experiment: config.Config
    steps: int  # of training, per turn
    batch: int  # sequences that are generated together
    length: int  # bytes of each
    backend: str = "inductor"  # of PyTorch's compiler


def text_topics() -> config.Config:
    """The default text experiment."""
    return load_experiment("text_topics")


def wide() -> config.Config:
    """A network of 3.4 million parameters, without dropout."""
    return replace(
        text_topics(),
        data=config.TopicsData(window=256),
        model=config.Transformer(width=256, layers=4, heads=8, context=256),
        batch_size=8,
    )


def tiny() -> config.Config:
    """For `--smoke`."""
    default = text_topics()
    schedule = replace(default.generator.learning_rate_schedule, warmup=1)
    return replace(
        default,
        generator=replace(default.generator, learning_rate_schedule=schedule),
        data=config.TopicsData(window=16),
        model=config.Transformer(width=16, layers=1, heads=2, context=16),
        batch_size=4,
    )


CASES = {
    "text_topics": lambda: Case(text_topics(), steps=10, batch=64, length=512),
    "wide": lambda: Case(wide(), steps=4, batch=64, length=256),
}
SMOKE = {"tiny": lambda: Case(tiny(), steps=2, batch=2, length=20, backend="aot_eager")}


class Ours:
    """l1jax's training, step by step, as a run does it."""

    def __init__(self, experiment: config.Config, training: Corpus, steps: int):
        data = experiment.data
        task = make_task(experiment, example_shape(data))
        self.feed = text_feed(
            training,
            data.window,
            experiment.seed,
            experiment.batch_size,
            experiment.resident_mib * MIB,
        )
        self.runner = make_runner(task, self.feed, jax.devices()[:1])
        self.key = named_seed_key(experiment.seed, "training")
        initial = jit_once(task.init)(named_seed_key(experiment.seed, "parameters"))
        self.state = self.runner.replicate(initial)
        self.resident = self.runner.replicate(self.feed.resident)
        self.steps = steps
        self.done = 0

    def run(self) -> None:
        """Take some steps."""
        chunk = self.feed.chunk(self.done, self.steps)
        self.state, metrics = self.runner.run(self.state, self.resident, chunk, self.key)
        self.done += self.steps
        assert float(jax.device_get(metrics["skipped"])) == 0


class Theirs:
    """PyTorch's training from the same weights on the same windows."""

    def __init__(
        self, experiment: config.Config, training: Corpus, steps: int, backend: str | None
    ):
        import text_peer
        import torch

        torch.set_num_threads(measure.environment()["cores"])
        torch.manual_seed(experiment.seed)
        data = experiment.data
        optimizer = experiment.generator
        schedule = optimizer.learning_rate_schedule
        params = initial_params(experiment)
        model = text_peer.make_model(sizes_of(experiment, params), params, data.window)
        self.trainer = text_peer.Trainer(
            model,
            optimizer.learning_rate,
            (optimizer.b1, optimizer.b2),
            schedule.warmup,
            schedule.steps,
            schedule.end,
            ema_decay(experiment),
            backend,
        )
        self.experiment = experiment
        self.training = training
        self.steps = steps
        self.done = 0

    def run(self) -> None:
        """Take some steps."""
        import torch

        experiment = self.experiment
        window = experiment.data.window
        starts = window_starts(
            self.training, window, experiment.seed, self.done, self.steps, experiment.batch_size
        )
        loss = None
        for batch in token_windows(self.training, starts, window):
            loss = self.trainer.step(torch.from_numpy(batch.astype(np.int64)))
        self.done += self.steps
        assert np.isfinite(float(loss))


def sizes_of(experiment: config.Config, params: Any) -> Any:
    """The peer's sizes of an experiment's network."""
    import text_peer

    model = experiment.model
    return text_peer.Sizes(
        vocabulary=VOCABULARY,
        width=model.width,
        layers=model.layers,
        heads=model.heads,
        hidden=params["block_0"]["feed_forward"]["up"]["kernel"].shape[1],
        context=model.context,
        dropout=model.dropout,
    )


def initial_params(experiment: config.Config) -> Any:
    """What training of this experiment starts from."""
    task = make_task(experiment, example_shape(experiment.data))
    state = jit_once(task.init)(named_seed_key(experiment.seed, "parameters"))
    return jax.device_get(state.generator.params)


def has_torch() -> bool:
    """Whether the peer is installed."""
    return importlib.util.find_spec("torch") is not None


def penalised(experiment: config.Config) -> config.Config:
    """The experiment with an L1 penalty and its prox."""
    return replace(experiment, generator=replace(experiment.generator, penalty=config.L1(STRENGTH)))


def training_speed(case: Case, pairs: int, clock: Clock) -> dict[str, Any]:
    """Tokens per second of all, in turn."""
    experiment = case.experiment
    training, _ = open_text(experiment.data, experiment.holdout)
    runs: dict[str, Callable[[], None]] = {
        "l1jax": Ours(experiment, training, case.steps).run,
        "l1jax proximal": Ours(penalised(experiment), training, case.steps).run,
    }
    for backend in (None, case.backend) if has_torch() else ():
        name = f"torch {'compiled' if backend else 'eager'}"
        runs[name] = Theirs(experiment, training, case.steps, backend).run
    seconds = measure.alternate(runs, pairs, warmup=1, clock=clock)
    tokens = case.steps * experiment.batch_size * experiment.data.window
    found = compared(seconds, tokens, "tokens_per_second")
    plain = seconds["l1jax"]
    return found | {"proximal_over_plain": measure.ratio(seconds["l1jax proximal"], plain)}


def generation_speed(case: Case, pairs: int, clock: Clock) -> dict[str, Any]:
    """Bytes per second of samples with a cache, in turn; the weights are those of the start."""
    experiment = case.experiment
    params = initial_params(experiment)
    model = build_model(experiment.model, example_shape(experiment.data))
    assert isinstance(model, LanguageModel)
    sample = make_text_sampler(model, b"", case.batch, case.length, Sampling())
    runs: dict[str, Callable[[], Any]] = {"l1jax": lambda: sample(Average(params, {}), 0)}
    if has_torch():
        import text_peer
        import torch

        torch.set_num_threads(measure.environment()["cores"])
        peer = text_peer.make_model(sizes_of(experiment, params), params, case.length).eval()
        for backend in (None, case.backend):
            name = f"torch {'compiled' if backend else 'eager'}"
            runs[name] = text_peer.sampler(peer, BOUNDARY, case.batch, case.length, backend)
    seconds = measure.alternate(runs, pairs, warmup=1, clock=clock)
    return compared(seconds, case.batch * case.length, "bytes_per_second")


def compared(seconds: dict[str, np.ndarray], amount: int, rate: str) -> dict[str, Any]:
    """Rates, and ratios to the best peer of the same round."""
    peers = [name for name in seconds if name.startswith("torch")]
    best = min(peers, key=lambda name: np.median(seconds[name]), default="l1jax")
    return {"best_peer": best} | {
        name: {
            rate: measure.quartiles(amount / samples),
            "speed_against_best_peer": measure.quartiles(seconds[best] / samples),
        }
        for name, samples in seconds.items()
    }


def quality(experiment: config.Config, steps: int, seed: int) -> dict[str, float]:
    """Bits per byte of the held-out documents after training, of both.

    Args:
        experiment: what is trained; its schedule ends with the steps.
        steps: how many.
        seed: of windows, initial weights and dropout.
    """
    schedule = replace(experiment.generator.learning_rate_schedule, steps=steps)
    experiment = replace(
        experiment,
        seed=seed,
        steps=steps,
        generator=replace(experiment.generator, learning_rate_schedule=schedule),
    )
    training, held_out = open_text(experiment.data, experiment.holdout)
    assert held_out is not None
    windows = document_windows(held_out, experiment.data.window)
    per_turn = min(steps, 50)
    ours = Ours(experiment, training, per_turn)
    while ours.done < steps:
        ours.run()
    result = {"l1jax": held_out_bits(experiment, ours.state.average, windows)}
    if has_torch():
        import text_peer

        theirs = Theirs(experiment, training, per_turn, backend=None)
        while theirs.done < steps:
            theirs.run()
        found = text_peer.bits(theirs.trainer.averaged(), windows.tokens, windows.mask())
        result["torch"] = found / int(windows.counts.sum())
    return result


def held_out_bits(experiment: config.Config, average: Average, windows: Windows) -> float:
    """Bits per byte of windows by the averaged weights."""
    model = build_model(experiment.model, example_shape(experiment.data))
    assert isinstance(model, LanguageModel)
    found = make_window_bits(model, windows)(average.params, average.batch_stats)
    return bits_per_byte(found, windows).mean


def show_speed(title: str, result: dict[str, Any], rate: str) -> None:
    """Print a comparison."""
    print(f"{title}; best peer: {result['best_peer']}")
    for name, row in result.items():
        if isinstance(row, dict) and rate in row:
            against = row["speed_against_best_peer"]
            print(
                f"  {name:16s} {row[rate]['median']:9.0f} {rate.replace('_', ' ')}  "
                f"{against['median']:.2f} × ({against['low']:.2f}–{against['high']:.2f})",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--cases", nargs="+", choices=CASES, help="that are timed; all by default")
    parser.add_argument("--pairs", type=int, default=8, help="turns of each")
    parser.add_argument("--steps", type=int, default=300, help="of the comparison of quality")
    parser.add_argument("--seeds", type=int, default=3, help="of the comparison of quality")
    parser.add_argument("--processor-time", action="store_true", help="instead of the wall clock's")
    parser.add_argument("--output", type=Path, help="folder for the result")
    parser.add_argument(
        "--smoke", action="store_true", help="everything on a tiny network; keeps nothing"
    )
    options = parser.parse_args()
    if not has_torch():
        print("torch is not installed: l1jax is measured alone", flush=True)
    cases = SMOKE if options.smoke else CASES
    pairs = 1 if options.smoke else options.pairs
    clock = time.process_time if options.processor_time else time.perf_counter
    result: dict[str, Any] = {
        "clock": clock.__name__,
        "load_average_before": os.getloadavg()[0],
    }
    for name in options.cases or cases:
        case = cases[name]()
        result[name] = {}
        if "training" in options.parts:
            found = training_speed(case, pairs, clock)
            show_speed(f"{name}, training", found, "tokens_per_second")
            result[name]["training"] = found
        if "generation" in options.parts:
            found = generation_speed(case, pairs, clock)
            show_speed(f"{name}, generation", found, "bytes_per_second")
            result[name]["generation"] = found
    if "quality" in options.parts:
        experiment = tiny() if options.smoke else text_topics()
        steps = 4 if options.smoke else options.steps
        rows = []
        for seed in range(1 if options.smoke else options.seeds):
            rows.append(quality(experiment, steps, seed))
            print(f"bits per byte after {steps} steps, seed {seed}: {rows[-1]}", flush=True)
        result["quality"] = {"steps": steps, "held_out_bits_per_byte": rows}
    result["load_average_after"] = os.getloadavg()[0]
    if options.output and not options.smoke:
        command = shlex.join(["python", "benchmarks/text.py", *sys.argv[1:]])
        path = options.output / f"text-{jax.default_backend()}.json"
        print(f"written to {measure.write_result(path, command, result)}", flush=True)


if __name__ == "__main__":
    main()

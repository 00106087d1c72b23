"""Train an experiment: `python -m l1jax.train --config experiments/celeba.py --workdir runs/celeba`."""

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l1jax.build import build_model, image_shape
from l1jax.cli.experiment import ExperimentOptions, parse_experiment
from l1jax.cli.flags import parse_path
from l1jax.cli.process import run, shell_command
from l1jax.config import Config
from l1jax.terminal import make_console, make_say
from l1jax.training.callbacks import NonFiniteError
from l1jax.training.loop import Stopped
from l1jax.training.run import run_experiment


@dataclass(frozen=True)
class TrainOptions(ExperimentOptions):
    """Train an experiment."""

    resume: bool = True
    """Go on from the newest checkpoint; --no-resume wants an empty directory, or --overwrite."""
    overwrite: bool = False
    """Delete the run in the work directory and start over."""
    summary: bool = False
    """Print the networks' layers, shapes, parameters and FLOPs, and stop."""


def main(arguments: Sequence[str]) -> int:
    """Train as the flags say; returns the exit status."""
    options = parse_experiment(TrainOptions, arguments, "python -m l1jax.train")
    experiment, workdir = options.experiment, parse_path("--workdir", options.workdir)
    console = make_console()
    say = make_say(console)

    if options.summary:
        say(build_model(experiment.model, image_shape(experiment.data)).summary())
        return 0
    try:
        first, stopped = run_experiment(
            experiment, workdir, console, say, resume=options.resume, overwrite=options.overwrite
        )
    except NonFiniteError as error:
        say(
            f"error: {error}. Try a smaller --generator.learning-rate and --discriminator.learning-rate, in "
            "another --workdir."
        )
        return 1
    return report(stopped, first, experiment, workdir, arguments, say)


def report(
    stopped: Stopped,
    first: int,
    experiment: Config,
    workdir: Path,
    arguments: Sequence[str],
    say: Any,
) -> int:
    """Say where everything is and what to do next."""
    if stopped.signal is not None and stopped.step < experiment.steps:
        name = signal.Signals(stopped.signal).name
        say(f"stopped by {name}, saved at step {stopped.step:,}; go on with:")
        say(
            f"  {shell_command('l1jax.train', *(a for a in arguments if a not in ('--overwrite', '--no-resume')))}"
        )
        return 128 + stopped.signal
    if first >= experiment.steps:
        say(f"already trained to step {first:,}; a larger --steps goes on.")
    grid = workdir / "samples" / f"step_{stopped.step:06d}.png"
    say(f"samples     {grid if grid.exists() else grid.parent}")
    say(f"checkpoint  {workdir / 'checkpoints' / str(stopped.step)}")
    say(f"metrics     {workdir / 'metrics.jsonl'}")
    flags = ("--workdir", str(workdir), "--count", "64", "--output", "grid.png")
    say(f"more images: {shell_command('l1jax.sample', *flags)}")
    return 0


if __name__ == "__main__":
    run(main, "training goes on, and reports in its work directory")

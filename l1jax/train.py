"""Train an experiment: `python -m l1jax.train --config FILE --workdir DIRECTORY`."""

from l1jax.cli.early_answers import answer_early, check_experiment_flags
from l1jax.cli.experiment_options import TrainOptions

if __name__ == "__main__":
    answer_early(check_experiment_flags(TrainOptions, "python -m l1jax.train"))


import signal
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from l1jax.build import build_model, example_shape
from l1jax.cli.experiment import parse_experiment
from l1jax.cli.flags import parse_path
from l1jax.cli.origins import find_start
from l1jax.cli.process import run_command, shell_command, stop_status
from l1jax.cli.trying import scale_down
from l1jax.config import Config, InputError, Text
from l1jax.processes.agreement import is_leader, lead
from l1jax.terminal import Say, make_console, make_say
from l1jax.training.callbacks import NonFiniteError
from l1jax.training.loop import remember_signals
from l1jax.training.patience import GO_ON
from l1jax.training.run import Outcome, run_experiment
from l1jax.training.stopping import read_end
from l1jax.training.wandb_run import check_wandb, import_wandb
from l1jax.training.weights_and_biases import open_wandb

STARTING_OVER = ("--overwrite", "--no-resume")  # flags that the command for resuming must not have


class Samples(NamedTuple):
    """What samples of a run are called, the suffix of their files, and a file for more of them."""

    noun: str
    suffix: str
    output: str


IMAGE_SAMPLES = Samples("images", "png", "grid.png")
TEXT_SAMPLES = Samples("text", "txt", "samples.txt")


def main(arguments: Sequence[str]) -> int:
    """Train as the flags say, and return the exit status."""
    options = parse_experiment(TrainOptions, arguments, "python -m l1jax.train")
    experiment = options.experiment
    workdir = parse_path("--workdir", options.workdir)
    console = make_console(quiet=not is_leader())
    say = make_say(console)
    if options.try_small:
        source = options.from_source
        if source is None and experiment.origin is not None:
            source = experiment.origin.source
        if source is not None:
            raise InputError(
                f"`--from` (={source}) does not go with --try, whose networks are "
                "smaller than those that it names: leave one of them out."
            )
        experiment, changes = scale_down(experiment)
        workdir = workdir.with_name(f"{workdir.name}-try")
        say(f"a small version in {workdir}, to see that all works: {'; '.join(changes)}")
    if options.summary:
        say(build_model(experiment.model, example_shape(experiment.data)).summary())
        return 0
    start = find_start(options, experiment, workdir, say, overwrite=options.overwrite)
    experiment = start.experiment
    open_tracker = None
    if options.wandb is not None:
        import_wandb()  # in all processes, so that all end if it is missing
        lead(partial(check_wandb, options.wandb, workdir, overwrite=options.overwrite))
        open_tracker = partial(open_wandb, options.wandb, workdir, experiment)
    try:
        with remember_signals(say):
            outcome = run_experiment(
                experiment,
                workdir,
                console,
                say,
                resume=options.resume,
                overwrite=options.overwrite,
                open_tracker=open_tracker,
                origin_weights=start.weights,
            )
    except NonFiniteError as error:
        say(
            f"error: {error}. Try a smaller --generator.learning-rate and "
            "--discriminator.learning-rate, in another --workdir."
        )
        return 1
    step, signal_number = outcome.end
    if signal_number is not None and step < experiment.steps:
        name = signal.Signals(signal_number).name
        resume = shell_command("l1jax.train", *(a for a in arguments if a not in STARTING_OVER))
        say(f"stopped by {name}, saved at step {step:,}. To resume:")
        say(f"  {resume}")
        return stop_status(signal_number)
    report(outcome, experiment, workdir, say)
    return 0


def report(outcome: Outcome, experiment: Config, workdir: Path, say: Say) -> None:
    """Say where the results are and what to do next.

    Args:
        outcome: of a run that came to its last step, or was stopped by its patience.
        experiment: what was trained.
        workdir: of the run.
        say: prints one sentence on a line of its own.
    """
    step = outcome.end.step
    end = read_end(workdir)
    if end is not None and outcome.first_step == step < experiment.steps:
        say(f"already {end.reason}; {GO_ON}.")
    elif end is not None:
        say(f"{end.reason}.")
    if outcome.first_step >= experiment.steps:
        say(f"already trained to step {outcome.first_step:,}; a larger --steps goes on.")
    shown = TEXT_SAMPLES if isinstance(experiment.data, Text) else IMAGE_SAMPLES
    samples = workdir / "samples" / f"step_{step:06d}.{shown.suffix}"
    if not samples.exists():
        samples = samples.parent
    sample = shell_command(
        "l1jax.sample", "--workdir", str(workdir), "--count", "64", "--output", shown.output
    )
    say(f"samples     {samples}")
    used = step if end is None else end.step
    say(f"checkpoint  {workdir / 'checkpoints' / str(used)}")
    say(f"metrics     {workdir / 'metrics.jsonl'}")
    say(f"more {shown.noun}: {sample}")


if __name__ == "__main__":
    run_command(main, "training goes on, and reports in its work directory", is_shared=True)

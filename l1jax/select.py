"""Choose the strength of a penalty: `python -m l1jax.select --config digits --strengths 1e-5:1e-2:8`."""

import math
import re
import shutil
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from l1jax.build import build_model, image_shape
from l1jax.command_line import ExperimentOptions, command, parse_experiment, run, typed_path
from l1jax.config import Config, InputError, from_json, to_json
from l1jax.data.opening import open_examples
from l1jax.data.source import Source
from l1jax.files import write_json
from l1jax.reading import UnreadableFileError, read_json
from l1jax.reporting import save_image
from l1jax.reporting.path import path_samples, plot_path, point_title, show_path
from l1jax.selection.choosing import CRITERIA, Rule, check_criterion, check_worse
from l1jax.selection.describing import describe
from l1jax.selection.experiments import debiased, with_strength
from l1jax.selection.judging import FEATURES
from l1jax.selection.legs import Interrupted
from l1jax.selection.plan import Place, Plan, Walked, divide, read_data, walk
from l1jax.selection.search import INFORMATION
from l1jax.selection.strengths import parse_strengths
from l1jax.terminal import make_console, make_say
from l1jax.training.loop import NotFinite
from l1jax.training.run import check_batch, check_labels, check_shapes, find_devices, run_experiment
from l1jax.training.task import make_task
from l1jax.training.workdir import hold, refuse_other_experiment

OWN = ("selection.json", "path", "path.json", "path.png", "samples.png")


@dataclass(frozen=True)
class SelectOptions(ExperimentOptions):
    """Train an experiment at several strengths of its penalty, choose one, and train it on all data."""

    strengths: str = "auto:8"
    """low:high:count, or a list with commas; auto:count finds those between 10 % and 99 % zeros first."""
    criterion: Literal[("default", *CRITERIA)] = "default"  # type: ignore[valid-type]
    """What to choose by; by default a VAE's bound on held-out images, a GAN's kernel distance to them."""
    rule: Literal["one-standard-error", "minimum"] = "one-standard-error"
    """The strongest within one standard error of the best, or the best; one fold and information criteria take it."""
    zeros: float = 0.0
    """Instead of a rule: the weakest strength with this share of zeros, such as 0.9."""
    worse: float = 0.0
    """Instead of a rule: the strongest whose Fréchet distance, recall or coverage is this share worse than dense."""
    precision: float = 1.2
    """With --zeros or --worse: ratio of neighbouring strengths down to which more are trained around the target."""
    folds: int = 3
    """Parts of the data, each held out in turn; 1: judge by what --holdout holds out; information criteria use none."""
    path_steps: int = 0
    """Steps of each run on the path; 0 for the experiment's own."""
    how: Literal["together", "independent", "warm"] = "together"
    """All in one program; one after the other; or each going on from where the one before it ended."""
    order: Literal["dense-to-sparse", "sparse-to-dense"] = "dense-to-sparse"
    """Where a warm path starts."""
    halvings: int = 0
    """How often the worse half is left behind on the way, with --how together."""
    dense: bool = True
    """Train without the penalty too, to compare with."""
    network: Literal["generator", "discriminator", "encoder"] = "generator"
    """Whose strength; generator is also a VAE's decoder."""
    features: Literal[tuple(FEATURES)] = "pixels"  # type: ignore[valid-type]
    """What distances between images are taken on; random: fixed random convolutions."""
    refit: bool = True
    """Train with the chosen strength on all data, for the experiment's own steps, into the folder refit-STRENGTH."""
    debias_steps: int = 0
    """Further steps of the refitted run in which the penalty is off and zeros stay zero."""
    overwrite: bool = False
    """Delete the path in the work directory and start over."""


def main(arguments: Sequence[str]) -> int:
    """Select as the flags say; returns the exit status."""
    options = parse_experiment(SelectOptions, arguments, "python -m l1jax.select", "runs/{}-path")
    workdir = typed_path("--workdir", options.workdir)
    console = make_console()
    say = make_say(console)

    plan, place = make_plan(options), Place(workdir, console, say)
    experiment = options.experiment
    task = make_task(with_strength(experiment, options.network, 1.0), image_shape(experiment.data))
    make_task(
        refitted(options, 1.0), image_shape(experiment.data)
    )  # what it refuses is refused before the path
    check_shapes(task, experiment.seed)
    check_batch(experiment, len(find_devices()))
    source, held_out = open_examples(experiment.data, experiment.holdout, experiment.cache)
    check_labels(task.generator.classes, source)
    check_resident(source, experiment)
    parts = divide(plan, source, held_out)
    try:
        with hold(workdir):
            check_settings(workdir, plan, options.overwrite)
            with console.status("reading the images"):
                data = read_data(source, held_out)
            walked = walk(plan, data, parts, place)
            result = describe(plan, walked)
            write(workdir, result, walked)
    except Interrupted as stop:
        say(f"stopped by {signal.Signals(stop.signal).name}, all saved; go on with:")
        say(f"  {command('l1jax.select', *(a for a in arguments if a != '--overwrite'))}")
        return 128 + stop.signal
    except OSError as error:
        raise InputError(
            f"`--workdir` (={workdir}) could not be written ({error.strerror or error}): make room or permission there "
            "and run the same command again; what was trained is kept."
        ) from error
    show_path(result, console)
    say(f"plots       {workdir / 'path.png'}")
    say(f"samples     {workdir / 'samples.png'}")
    say(f"all numbers {workdir / 'path.json'}")
    return refit(options, walked.choices.chosen.strength, place) if options.refit else 0


def make_plan(options: SelectOptions) -> Plan:
    """The plan that the flags say.

    Raises:
        InputError: if they do not go together, or not with the model.
    """
    check_options(options)
    experiment = options.experiment
    dense = options.dense
    if options.strengths.startswith("auto"):
        if not re.fullmatch(r"auto:([2-9]|\d{2,})", options.strengths):
            raise InputError(
                f"`--strengths` (={options.strengths}) must be auto:count, such as auto:8, low:high:count, or a list."
            )
    else:
        dense |= parse_strengths(options.strengths)[0] == 0
    model = build_model(experiment.model, image_shape(experiment.data))
    criterion = check_criterion(options.criterion, model)
    if options.worse:
        named = (
            criterion
            if options.criterion == criterion
            else f"{criterion}, the default of this model"
        )
        check_worse(options.worse, criterion, named, dense=bool(dense), halvings=options.halvings)
    return Plan(
        experiment,
        options.network,
        options.strengths,
        Rule(criterion, options.rule, options.zeros, options.worse),
        options.precision,
        options.folds,
        options.path_steps or experiment.steps,
        options.how,
        options.order == "sparse-to-dense",
        options.halvings,
        options.dense,
        options.features,
    )


def write(workdir: Path, result: dict[str, Any], walked: Walked) -> None:
    """Write the numbers, the plots and the images."""
    write_json(workdir / "path.json", result)
    save_image(plot_path(result), workdir / "path.png")
    samples = np.stack([point.judged[0].samples for point in walked.points])
    titles = [point_title(row) for row in result["points"]]
    save_image(path_samples(samples, titles, walked.choices.chosen.index), workdir / "samples.png")


def refitted(options: SelectOptions, strength: float) -> Config:
    """The experiment at this strength, and the steps that debias it; without the penalty there is nothing to debias."""
    chosen = with_strength(options.experiment, options.network, strength)
    return debiased(chosen, options.network, options.debias_steps) if strength else chosen


def refit(options: SelectOptions, strength: float, place: Place) -> int:
    """Train on all data with the chosen strength, as an ordinary run; each strength ever chosen has its own."""
    workdir, say = place.workdir / f"refit-{strength:.4g}", place.say
    chosen = refitted(options, strength)
    try:
        _, stopped = run_experiment(
            chosen, workdir, place.console, say, resume=True, overwrite=False
        )
    except NotFinite as error:
        say(f"error: {error}. Try a smaller learning rate.")
        return 1
    if stopped.signal is not None and stopped.step < chosen.steps:
        say("stopped, and saved; the same command goes on.")
        return 128 + stopped.signal
    say(f"refitted    {workdir}")
    say(f"judge it:   {command('l1jax.evaluate', '--workdir', str(workdir))}")
    return 0


def check_options(options: SelectOptions) -> None:
    """Refuse numbers out of their ranges, and flags that do not go together.

    Raises:
        InputError: naming the flag.
    """

    def refuse(flag: str, value: Any, requirement: str) -> None:
        raise InputError(f"`--{flag}` (={value}) must be {requirement}.")

    if options.folds < 1:
        refuse(
            "folds",
            options.folds,
            "at least 1: each in turn is held out from training on the others",
        )
    if not 0 <= options.zeros < 1:
        refuse("zeros", options.zeros, "at least 0 and below 1: a share of the entries")
    if not 0 <= options.worse < math.inf:
        refuse("worse", options.worse, "at least 0 and finite: 0.05 is 5 % worse")
    if options.worse and options.zeros:
        refuse("worse", options.worse, "0 where --zeros is the target")
    if not 1 < options.precision < math.inf:
        refuse("precision", options.precision, "greater than 1 and finite: a ratio of strengths")
    if options.path_steps < 0:
        refuse("path-steps", options.path_steps, "at least 0; 0 stands for the experiment's own")
    if options.debias_steps < 0:
        refuse("debias-steps", options.debias_steps, "at least 0")
    if options.debias_steps and not options.refit:
        refuse(
            "debias-steps",
            options.debias_steps,
            "0 with --no-refit: they are steps of the refitted run",
        )
    if options.halvings and options.how != "together":
        refuse("halvings", options.halvings, "0 but with --how together")
    if options.halvings < 0:
        refuse("halvings", options.halvings, "at least 0")
    optimizer = getattr(options.experiment, options.network)
    if optimizer is not None and optimizer.sparsity_target:
        refuse(
            f"{options.network}.sparsity-target",
            optimizer.sparsity_target,
            "0: it moves the strength to be chosen",
        )
    scheduled = optimizer is not None and optimizer.learning_rate_schedule.shape != "constant"
    if options.how == "warm" and scheduled:
        refuse(
            "how",
            options.how,
            "together or independent with a learning rate that falls: later strengths have none",
        )


def check_resident(source: Source, experiment: Config) -> None:
    """Refuse images that do not fit on the device, where every fold takes its own from one copy.

    Raises:
        InputError: if they do not.
    """
    mib = source.length * np.prod(source.image_shape) * np.dtype(source.dtype).itemsize / 2**20
    if mib > experiment.resident_mib:
        raise InputError(
            f"`resident_mib` (={experiment.resident_mib}) must hold all images ({mib:,.0f} MiB) to select on them: "
            "raise it, or take smaller images or a part of them."
        )


def check_settings(workdir: Path, plan: Plan, overwrite: bool) -> None:
    """Record what is selected and how, and refuse to go on with another path.

    Raises:
        InputError: naming what differs.
    """
    settings = {
        name: value
        for name, value in plan._asdict().items()
        if name not in ("experiment", "rule", "precision")
    }
    settings["criterion"] = (
        plan.rule.criterion if plan.halvings else None
    )  # else it can be chosen afterwards
    settings["log_every"] = (
        plan.experiment.log_every if plan.halvings else None
    )  # in which halvings are rounded
    settings["information"] = plan.rule.criterion in INFORMATION
    wanted = {"experiment": to_json(plan.experiment), "selection": settings}
    path = workdir / "selection.json"
    if overwrite:
        for own in (*(workdir / name for name in OWN), *workdir.glob("refit-*")):
            shutil.rmtree(own) if own.is_dir() else own.unlink(missing_ok=True)
    if (workdir / "config.json").exists():
        raise InputError(f"`--workdir` (={workdir}) must not be a training run's: give another.")
    if path.exists():
        try:
            found = read_json(path, remedy="give another --workdir, or --overwrite")
            experiment, before = from_json(found["experiment"]), found["selection"]
        except UnreadableFileError:
            raise
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path} cannot be read ({error}): give another --workdir, or --overwrite."
            ) from error
        refuse_other_experiment(experiment, plan.experiment, workdir)
        changed = [
            f"{name} was {before.get(name)}"
            for name, value in settings.items()
            if before.get(name) != value
        ]
        if before.get("information") != settings["information"]:
            raise InputError(
                f"`--criterion` (={plan.rule.criterion}) needs runs that {workdir} does not have: information criteria "
                "judge runs on all data, and the other criteria runs on folds, by the images that each leaves out. "
                "Give another --workdir, or --overwrite to delete that path and start over."
            )
        if changed:
            raise InputError(
                f"{workdir} belongs to another path ({'; '.join(changed)}): give another --workdir, the same settings, "
                "or --overwrite to delete that path and start over."
            )
    write_json(path, wanted)


if __name__ == "__main__":
    run(main)

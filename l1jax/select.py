"""Choose the strength of a penalty: `python -m l1jax.select --config digits --strengths 1e-5:1e-2:8`."""

import json
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import jax
import numpy as np
import tyro
from rich.console import Console

from l1jax.build import build_model, image_shape
from l1jax.command_line import command, parse_experiment, run, typed_path
from l1jax.config import Config, InputError, kinds, to_json
from l1jax.data.batches import load
from l1jax.data.examples import open_examples
from l1jax.data.source import Source
from l1jax.data.splits import hashes
from l1jax.reporting import save_image
from l1jax.reporting.path import path_samples, plot_path, point_title, show_path
from l1jax.selection.choosing import CRITERIA, Choices, Rule, check_criterion, choose, dense_score
from l1jax.selection.experiments import debiased, tracking, with_strength
from l1jax.selection.folds import stratified_folds
from l1jax.selection.judging import FEATURES, SIGNS, make_judge
from l1jax.selection.legs import Course, Interrupted, Leg, make_course, run_leg
from l1jax.selection.rules import summarise
from l1jax.selection.search import INFORMATION, Point, Sizes, bisected, one_by_one, scores, together
from l1jax.selection.strengths import parse_strengths, strength_grid
from l1jax.training.loop import NotFinite
from l1jax.training.run import check_batch, check_labels, check_shapes, find_devices, run_experiment
from l1jax.training.task import make_task
from l1jax.training.workdir import hold

OWN = ("selection.json", "path", "path.json", "path.png", "samples.png", "refit")
DENSEST, SPARSEST = 0.1, 0.99  # shares of zeros between which the strengths lie unless they are given


@dataclass(frozen=True)
class SelectOptions:
    """Train an experiment at several strengths of its penalty, choose one, and train it on all data."""

    experiment: Annotated[Config, tyro.conf.arg(name="")]
    config: str
    """Experiment: a Python file with get_config(), or the name of one that comes with l1jax."""
    workdir: str
    """Where the path is kept; the same command goes on with it. The refitted run is in its folder refit."""
    data: Literal[tuple(kinds("data"))]  # type: ignore[valid-type]
    """Kind of data; changes which --data.… flags there are."""
    model: Literal[tuple(kinds("model"))]  # type: ignore[valid-type]
    """Kind of model; changes which --model.… flags there are."""
    objective: Literal[tuple(kinds("objective"))]  # type: ignore[valid-type]
    """Kind of objective; changes which --objective.… flags there are."""
    strengths: str = "auto:8"
    """low:high:count, or a list with commas; auto:count finds those between 10 % and 99 % zeros first."""
    criterion: Literal[("default", *CRITERIA)] = "default"  # type: ignore[valid-type]
    """What to choose by; by default a VAE's bound on held-out images, a GAN's kernel distance to them."""
    rule: Literal["one-standard-error", "minimum"] = "one-standard-error"
    """The strongest within one standard error of the best, or the best; information criteria take the best."""
    zeros: float = 0.0
    """Instead of a rule: the weakest strength with this share of zeros, such as 0.9."""
    worse: float = 0.0
    """Instead of a rule: the strongest whose score is at most this share worse than the dense model's."""
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
    """Train with the chosen strength on all data, for the experiment's own steps, into the folder refit."""
    debias_steps: int = 0
    """Further steps of the refitted run in which the penalty is off and zeros stay zero."""
    overwrite: bool = False
    """Delete the path in the work directory and start over."""


def main(arguments: Sequence[str]) -> int:
    """Select as the flags say; returns the exit status."""
    options = parse_experiment(SelectOptions, arguments, "python -m l1jax.select", "runs/{}-path")
    workdir = typed_path("--workdir", options.workdir)
    check_options(options)
    console = Console(soft_wrap=True, emoji=False)

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False)

    experiment = options.experiment
    model = build_model(experiment.model, image_shape(experiment.data))
    rule = Rule(check_criterion(options.criterion, model), options.rule, options.zeros, options.worse)
    given = None if options.strengths.startswith("auto") else parse_strengths(options.strengths)
    task = make_task(with_strength(experiment, options.network, 1.0), image_shape(experiment.data))
    check_shapes(task, experiment.seed)
    check_batch(experiment, len(find_devices()))
    source, held_out = open_examples(experiment.data, experiment.holdout, experiment.cache)
    check_labels(task.generator.classes, source)
    check_resident(source, experiment)
    parts = divide(options, rule, source, held_out)
    try:
        with hold(workdir):
            check_settings(workdir, options)
            with console.status("reading the images"):
                images = load(source) if held_out is None else np.concatenate([load(source), load(held_out)])
            labels = np.concatenate([labels_of(part) for part in (source, held_out) if part is not None])
            selection = Selection(options, rule, source, images, labels, workdir, console, say)
            strengths = find_range(selection) if given is None else given
            if options.dense and strengths[0] > 0:
                strengths = np.insert(strengths, 0, 0.0)
            path = selection.course(with_strength(experiment, options.network, 1.0), "", parts)
            points, choices, sizes = walk(selection, path, strengths)
            result = describe(selection, path, points, choices, sizes)
            write(workdir, result, points, choices)
    except Interrupted as stop:
        say(f"stopped by {signal.Signals(stop.signal).name}, all saved; go on with:")
        say(f"  {command('l1jax.select', *(a for a in arguments if a != '--overwrite'))}")
        return 128 + stop.signal
    show_path(result, console)
    say(f"plots       {workdir / 'path.png'}")
    say(f"samples     {workdir / 'samples.png'}")
    say(f"all numbers {workdir / 'path.json'}")
    return refit(selection, choices.chosen.strength) if options.refit else 0


class Selection(NamedTuple):
    """What is selected on."""

    options: SelectOptions
    rule: Rule
    source: Source
    images: np.ndarray  # those of the source, then those held out
    labels: np.ndarray
    workdir: Path
    console: Console
    say: Callable[[str], None]

    @property
    def steps(self) -> int:
        """Of a run on the path."""
        return self.options.path_steps or self.options.experiment.steps

    def course(self, experiment: Config, name: str, parts: "Parts") -> Course:
        """A path of this experiment on these parts, kept in a folder of this name."""
        shape, network = image_shape(experiment.data), self.options.network
        task, model = make_task(experiment, shape), build_model(experiment.model, shape)
        examples, features = (self.images, self.labels), self.options.features
        judge = make_judge(task, model, network, *examples, parts.held_out, features, experiment.seed)
        folder, fingerprint = self.workdir / "path" / name, self.source.fingerprint
        return make_course(
            experiment, task, (network,), parts.members, examples, fingerprint, judge, folder, self.console, self.say
        )


class Parts(NamedTuple):
    """Which examples each fold is trained on, and which it is judged by."""

    members: list[np.ndarray]
    held_out: list[np.ndarray]


def all_of(source: Source) -> Parts:
    """All examples, for both."""
    return Parts([np.arange(source.length)], [np.arange(source.length)])


def labels_of(source: Source) -> np.ndarray:
    """Labels, 0 where there are none."""
    return np.zeros(source.length, np.int32) if source.labels is None else source.labels


def divide(options: SelectOptions, rule: Rule, source: Source, held_out: Source | None) -> Parts:
    """The folds; information criteria, which judge by the training data, have but one of everything.

    Raises:
        InputError: if there are too few examples, or no held-out ones to judge by where there are no folds.
    """
    if rule.criterion in INFORMATION:
        return all_of(source)
    if options.folds == 1:
        if held_out is None:
            raise InputError("`--folds` (=1) must be at least 2, or --holdout a share of the images to judge by.")
        return Parts([np.arange(source.length)], [source.length + np.arange(held_out.length)])
    numbers = hashes(source, f"fold {options.experiment.seed}")
    fold = stratified_folds(source.labels, numbers, options.folds)
    each = range(options.folds)
    return Parts([np.flatnonzero(fold != i) for i in each], [np.flatnonzero(fold == i) for i in each])


def find_range(selection: Selection) -> np.ndarray:
    """Strengths between those at which training with a target of 10 % and of 99 % zeros ends."""
    options, found = selection.options, []
    try:
        count = int(options.strengths.split(":")[1])
    except (IndexError, ValueError):
        raise InputError(
            f"`--strengths` (={options.strengths}) must be auto:count, such as auto:8; or low:high:count, or a list."
        ) from None
    for target in (DENSEST, SPARSEST):
        wanted = tracking(options.experiment, options.network, target, selection.steps)
        course = selection.course(wanted, f"range-{target:g}", all_of(selection.source))
        leg = Leg("tracked", (1.0,), 0, selection.steps, said=f"which strength gives {target:.0%} zeros")
        found.append(run_leg(course, leg).judged[0][0].strength)
    low, high = found
    if not 0 < low < high:
        raise InputError(
            f"`--strengths` (={options.strengths}) must find a range, and 10 % zeros ended at strength {low:g}, 99 % "
            f"at {high:g}: give low:high:count, or more --path-steps."
        )
    return strength_grid(low, high, count)


def walk(selection: Selection, path: Course, strengths: np.ndarray) -> tuple[list[Point], Choices, Sizes]:
    """Train the path, and more strengths around a target; then choose."""
    options, rule, steps = selection.options, selection.rule, selection.steps
    shapes = jax.eval_shape(path.task.generator.network.init, jax.random.key(0))[0]
    sizes = Sizes(selection.source.length, sum(leaf.size for leaf in jax.tree.leaves(shapes)))

    def score(points: Sequence[Point]) -> np.ndarray:
        return summarise(scores(points, rule.criterion, sizes)).mean

    if options.how == "together":
        points = together(path, strengths.tolist(), steps, options.halvings, score)
    else:
        forth = options.how == "independent" or options.order == "dense-to-sparse"
        turns = strengths.tolist() if forth else strengths.tolist()[::-1]
        points = one_by_one(path, turns, steps, warm=options.how == "warm", name=options.how)
    points = sorted(points, key=lambda point: point.strength)
    if rule.zeros:
        points = bisected(path, points, lambda point: point.zeros >= rule.zeros, steps, options.precision)
    elif rule.worse:
        dense = dense_score(points, summarise(scores(points, rule.criterion, sizes)))
        bound = dense + rule.worse * abs(dense)
        points = bisected(path, points, lambda point: not score([point])[0] <= bound, steps, options.precision)
    return points, choose(points, rule, sizes, steps), sizes


def describe(
    selection: Selection, path: Course, points: Sequence[Point], choices: Choices, sizes: Sizes
) -> dict[str, Any]:
    """All numbers of a path, as they are shown, plotted and written."""
    rule = selection.rule
    names = [name for name in SIGNS if name in points[0].judged[0].scores]
    names += [rule.criterion] if rule.criterion in INFORMATION else []
    tables = {name: SIGNS.get(name, 1) * scores(points, name, sizes) for name in names}
    summaries = {name: summarise(table) for name, table in tables.items()}

    def number(value: float) -> float | None:
        return float(value) if np.isfinite(value) else None

    rows = []
    for i, point in enumerate(points):
        found = {
            name: {
                "mean": number(summaries[name].mean[i]),
                "standard_error": number(summaries[name].standard_error[i]),
                "each": [number(value) for value in tables[name][i]],
            }
            for name in names
        }
        layers = {
            name: [float(np.mean([own.channels[name][k] for own in point.judged])) for k in range(2)]
            for name in point.judged[0].channels
        }
        rows.append(
            {
                "strength": point.strength,
                "trained": point.trained,
                "zeros": point.zeros,
                "channels": layers,
                "nonzeros": float(np.mean([own.nonzeros for own in point.judged])),
                "scores": found,
            }
        )
    parts = len(path.members)
    alone = "training" if rule.criterion in INFORMATION else "held-out"
    held = f"{parts} folds, each held out in turn" if parts > 1 else f"judged by the {alone} images"
    freedom = (
        "; degrees of freedom: non-zeros of the generator, an upper bound" if rule.criterion in INFORMATION else ""
    )
    choice = {
        "chosen": choices.chosen._asdict(),
        "minimum": choices.minimum and choices.minimum._asdict(),
        "one_standard_error": choices.one_standard_error and choices.one_standard_error._asdict(),
    }
    return {
        "network": selection.options.network,
        "criterion": rule.criterion,
        "steps": selection.steps,
        **choice,
        "protocol": f"{held}; {path.judge.protocol}{freedom}",
        "examples": sizes.examples,
        "parameters": sizes.parameters,
        "versions": {"jax": jax.__version__, "numpy": np.__version__},
        "device": f"{len(jax.devices())} × {jax.devices()[0].device_kind}",
        "points": rows,
    }


def write(workdir: Path, result: dict[str, Any], points: Sequence[Point], choices: Choices) -> None:
    """Write the numbers, the plots and the images.

    Raises:
        InputError: if that cannot be done.
    """
    try:
        save_image(plot_path(result), workdir / "path.png")
        samples = np.stack([point.judged[0].samples for point in points])
        titles = [point_title(row) for row in result["points"]]
        save_image(path_samples(samples, titles, choices.chosen.index), workdir / "samples.png")
        write_json(workdir / "path.json", result)
    except OSError as error:
        raise InputError(f"`--workdir` (={workdir}) must be writable: {error.strerror or error}.") from error


def refit(selection: Selection, strength: float) -> int:
    """Train on all data with the chosen strength, as an ordinary run."""
    options, workdir, say = selection.options, selection.workdir / "refit", selection.say
    chosen = with_strength(options.experiment, options.network, strength)
    if strength:
        chosen = debiased(chosen, options.network, options.debias_steps)
    try:
        _, stopped = run_experiment(chosen, workdir, selection.console, say, resume=True, overwrite=False)
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
        refuse("folds", options.folds, "at least 1: each in turn is held out from training on the others")
    if not 0 <= options.zeros < 1:
        refuse("zeros", options.zeros, "at least 0 and below 1: a share of the entries")
    if options.worse < 0:
        refuse("worse", options.worse, "at least 0: 0.05 is 5 % worse")
    if options.worse and options.zeros:
        refuse("worse", options.worse, "0 where --zeros is the target")
    if options.worse and options.criterion in ("kernel_distance", "log_likelihood", "default"):
        refuse("worse", options.worse, "0 but with --criterion frechet_distance, recall or coverage: other scores have "
               "no zero that a share could be taken from")  # fmt: skip
    if options.precision <= 1:
        refuse("precision", options.precision, "greater than 1: a ratio of strengths")
    if options.path_steps < 0 or options.debias_steps < 0:
        refuse("path-steps", options.path_steps, "at least 0, and so must --debias-steps")
    if options.halvings and options.how != "together":
        refuse("halvings", options.halvings, "0 but with --how together")
    if options.halvings < 0:
        refuse("halvings", options.halvings, "at least 0")
    optimizer = getattr(options.experiment, options.network)
    if optimizer is not None and optimizer.sparsity_target:
        refuse(f"{options.network}.sparsity-target", optimizer.sparsity_target, "0: it moves the strength to be chosen")
    scheduled = optimizer is not None and optimizer.learning_rate_schedule.shape != "constant"
    if options.how == "warm" and scheduled:
        refuse("how", options.how, "together or independent with a learning rate that falls: later strengths have none")


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


def check_settings(workdir: Path, options: SelectOptions) -> None:
    """Record what is selected and how, and refuse to go on with another path.

    Raises:
        InputError: naming what differs.
    """
    names = ["strengths", "folds", "path_steps", "how", "order", "halvings", "dense", "network", "features"]
    names += ["criterion"] if options.halvings else []  # else it can be chosen afterwards
    settings = {name: getattr(options, name) for name in names}
    settings["information"] = options.criterion in INFORMATION
    wanted = {"experiment": to_json(options.experiment), "selection": settings}
    path = workdir / "selection.json"
    if options.overwrite:
        for name in OWN:
            own = workdir / name
            shutil.rmtree(own) if own.is_dir() else own.unlink(missing_ok=True)
    if (workdir / "config.json").exists():
        raise InputError(f"`--workdir` (={workdir}) must not be a training run's: give another.")
    if path.exists():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read ({error}): give another --workdir, or --overwrite.") from error
        if found != wanted:
            changed = sorted(_differing(found, wanted))
            raise InputError(
                f"{workdir} belongs to another path ({', '.join(changed)} differ): give another --workdir, the same "
                "settings, or --overwrite to delete that path and start over."
            )
    write_json(path, wanted)


def _differing(found: Any, wanted: Any, name: str = "") -> list[str]:
    if isinstance(found, dict) and isinstance(wanted, dict):
        keys = found.keys() | wanted.keys()
        return [d for key in keys for d in _differing(found.get(key), wanted.get(key), f"{name}.{key}".strip("."))]
    return [] if found == wanted else [name]


def write_json(path: Path, values: Any) -> None:
    """Write JSON whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, path)


if __name__ == "__main__":
    run(main)

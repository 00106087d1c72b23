"""Make one HTML page of a run: `python -m l1jax.report --workdir runs/digits`."""

from l1jax.cli.early_answers import answer_early, check_model_flags
from l1jax.cli.options import ReportOptions

if __name__ == "__main__":
    answer_early(check_model_flags(ReportOptions, "python -m l1jax.report"))


import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import jax

from l1jax.cli.flags import parse, parse_path
from l1jax.cli.process import run_command, shell_command
from l1jax.config import Config, InputError, from_json
from l1jax.files import atomic_write
from l1jax.outputs import check_output_file, write_error
from l1jax.reporting.run_files import (
    Metrics,
    MetricsLine,
    read_metrics,
    read_object,
    read_pages,
    read_picture,
    read_samples,
)
from l1jax.reporting.run_page import RunRecord, run_page
from l1jax.terminal import make_console, make_say
from l1jax.training.monitoring import make_alarm_monitor
from l1jax.training.rollback import read_rollback
from l1jax.training.stopping import read_end
from l1jax.training.workdir import read_config

PROG = "python -m l1jax.report"
PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint", "numpy")

SELECTION_FLAGS = {
    "network": "--network",
    "strengths": "--strengths",
    "folds": "--folds",
    "steps": "--path-steps",
    "how": "--how",
    "halvings": "--halvings",
    "features": "--features",
}
"""What `selection.json` records → the flag of `python -m l1jax.select` that sets it."""


def main(arguments: Sequence[str]) -> int:
    """Report as the flags say and return the exit status."""
    options = parse(ReportOptions, arguments, PROG)
    workdir = parse_path("--workdir", options.workdir)
    record = read_record(workdir)
    output = check_output_file(options.output or str(workdir / "report.html"))
    try:
        with atomic_write(output) as partial:
            partial.write_text(run_page(record), encoding="utf-8")
    except OSError as error:
        raise write_error(output, error) from error
    say = make_say(make_console())
    say(f"page: {output}")
    return 0


def read_record(workdir: Path) -> RunRecord:
    """Read everything that the page shows.

    Args:
        workdir: the folder of a run, or of a path of strengths.

    Raises:
        InputError: if the folder is neither, or its experiment cannot be read.
    """
    experiment = None
    is_path = False
    if os.path.isdir(workdir):
        experiment = read_config(workdir)
        if experiment is None:
            experiment = read_path_experiment(workdir)
            is_path = experiment is not None
    if experiment is None:
        raise InputError(
            f"`--workdir` (={workdir}) must hold a training run or a path of strengths: make one "
            "with python -m l1jax.train or python -m l1jax.select."
        )
    alarms: list[str] = []
    metrics = Metrics([], 0, 0)
    if not is_path:
        metrics = read_training_metrics(workdir, alarms)
    path = None
    path_plot = None
    path_samples = None
    if is_path:
        path = read_object(workdir / "path.json")
        path_plot = read_picture(workdir / "path.png")
        path_samples = read_picture(workdir / "samples.png")
    devices = jax.devices()
    return RunRecord(
        workdir=str(workdir),
        experiment=experiment,
        metrics=metrics,
        alarms=alarms,
        rollbacks=describe_rollbacks(workdir),
        ending="" if is_path else describe_ending(workdir),
        samples=read_samples(workdir / "samples"),
        pages=read_pages(workdir / "samples"),
        evaluation=read_object(workdir / "evaluation.json"),
        path=path,
        is_path=is_path,
        path_plot=path_plot,
        path_samples=path_samples,
        versions={"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        device=f"{len(devices)} × {devices[0].device_kind}",
        commands=describe_commands(workdir, experiment, is_path=is_path),
    )


def read_path_experiment(workdir: Path) -> Config | None:
    """Read the experiment of a path of strengths; None if the folder holds no readable one."""
    selection = read_object(workdir / "selection.json")
    if selection is None:
        return None
    return from_json(selection.get("experiment"))


def read_training_metrics(workdir: Path, alarms: list[str]) -> Metrics:
    """Read the metrics of a run, and append to `alarms` the sentences that training raised."""
    monitor = make_alarm_monitor(
        lambda step, _, sentence: alarms.append(f"step {step:,}: {sentence}")
    )

    def on_line(line: MetricsLine) -> None:
        monitor(line.step, line.values)

    return read_metrics(workdir / "metrics.jsonl", on_line)


def describe_rollbacks(workdir: Path) -> list[str]:
    """Describe how often the run returned to an earlier checkpoint; empty if it never did."""
    try:
        rollback = read_rollback(workdir)
    except InputError as error:
        return [str(error)]
    if rollback is None or rollback.count == 0:
        return []
    return [
        f"the run returned to an earlier checkpoint {rollback.count:,} times, the last time to "
        f"step {rollback.step:,}; learning rates have been multiplied by "
        f"{rollback.learning_rate_scale:g} in all."
    ]


def describe_ending(workdir: Path) -> str:
    """Say why a run with patience ended, and which checkpoint is its best; empty if it has not."""
    try:
        end = read_end(workdir)
    except InputError as error:
        return str(error)
    if end is None:
        return ""
    return f"{end.reason[0].upper()}{end.reason[1:]}."


def describe_commands(workdir: Path, experiment: Config, *, is_path: bool) -> str:
    """Write down the commands that reproduce the run.

    Args:
        workdir: the run's folder.
        experiment: of the run.
        is_path: whether it is a path of strengths.
    """
    begin = origin_flags(experiment)
    again = f"{workdir}-again"
    if is_path:
        file = workdir.absolute() / "selection.json"
        stored = 'json.load(file)["experiment"]'
        flags = selection_flags(workdir)
        commands = [
            shell_command(
                "l1jax.select", "--config", "again.py", "--workdir", again, *begin, *flags
            )
        ]
    else:
        file = workdir.absolute() / "config.json"
        stored = "json.load(file)"
        commands = [
            shell_command("l1jax.train", "--config", "again.py", "--workdir", again, *begin),
            shell_command("l1jax.evaluate", "--workdir", again),
        ]
    lines = [
        "# again.py, which reads the same experiment:",
        "import json",
        "from l1jax.config import from_json",
        "",
        "def get_config():",
        f"    with open({str(file)!r}) as file:",
        f"        return from_json({stored})",
        "",
        "# in a terminal:",
        *commands,
        shell_command("l1jax.report", "--workdir", again),
    ]
    return "\n".join(lines)


def origin_flags(experiment: Config) -> list[str]:
    """Return the flags that name the networks which a run began from."""
    origin = experiment.origin
    if origin is None:
        return []
    flags = ["--from", origin.source]
    if origin.revision:
        flags += ["--from-revision", origin.revision]
    elif os.path.isdir(Path(origin.source) / "checkpoints"):
        flags += ["--from-step", str(origin.step)]
    if origin.networks == ("generator",):
        flags += ["--from-networks", "generator"]
    return flags


def selection_flags(workdir: Path) -> list[str]:
    """Return the flags of a path of strengths, as far as its folder records them."""
    selection = read_object(workdir / "selection.json") or {}
    settings = selection.get("selection")
    if not isinstance(settings, dict):
        return []
    flags = []
    for name, flag in SELECTION_FLAGS.items():
        if settings.get(name) is not None:
            flags += [flag, str(settings[name])]
    if settings.get("dense") is False:
        flags.append("--no-dense")
    if settings.get("sparse_first"):
        flags += ["--order", "sparse-to-dense"]
    path = read_object(workdir / "path.json") or {}
    if isinstance(path.get("criterion"), str):
        flags += ["--criterion", path["criterion"]]
    return flags


if __name__ == "__main__":
    run_command(main)

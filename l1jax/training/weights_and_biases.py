"""A run in Weights & Biases, the same one whenever the run is resumed.

What wandb does, as of version 0.31, decides how it is used here:

- The steps of a wandb run only grow; what is logged for an earlier step is dropped. A resumed run
  repeats the steps since its checkpoint with the same result, so they are not logged again.
- A rollback changes these steps. It begins another wandb run, as rewinding one is in preview.
- A process that is killed takes along what it has not sent. On resuming, what wandb lacks is
  taken from `metrics.jsonl` and `samples/`.
- Offline, nothing is known of what was logged before. Several offline parts of one wandb run that
  were made with `resume` are uploaded one behind the other, with other steps where they overlap.
  Without it, each replaces what was uploaded before. So every part is complete, from step 0 on.
"""

import html
import json
import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from l1jax.config import Config, to_json
from l1jax.terminal import Say
from l1jax.training.tracker import Tracker
from l1jax.training.wandb_run import (
    WandbRun,
    choose_wandb_run,
    describe_error,
    import_wandb,
    read_wandb_run,
)
from l1jax.training.weight_histograms import Histogram

INIT_SECONDS = 30.0  # for a server to answer
FINISH_SECONDS = 30.0  # for the rest to be uploaded at the end
NEVER = -1  # the last step of a wandb run without any

Action = Callable[[], None]


class Attempts(NamedTuple):
    """Calls of wandb, none of which raises.

    Attributes:
        make: (step, action) → None; calls the action, unless one has failed before.
        have_failed: whether one has.
    """

    make: Callable[[int, Action], None]
    have_failed: Callable[[], bool]


@contextmanager
def open_wandb(
    project: str, workdir: Path, experiment: Config, first_step: int, say: Say
) -> Iterator[Tracker]:
    """Log a run to wandb, beginning with what wandb lacks of its past.

    Training never ends for wandb: what goes wrong is told in one sentence.

    Args:
        project: `project` or `entity/project`.
        workdir: of the run.
        experiment: kept as the wandb run's configuration.
        first_step: number of steps so far.
        say: called with one sentence at a time.

    Yields:
        What logs.

    Raises:
        InputError: if the work directory's run belongs to another project.
    """
    wandb = import_wandb()
    known = read_wandb_run(workdir, project)
    chosen = choose_wandb_run(workdir, project)
    run = _start(wandb, chosen, workdir, experiment, say, is_known=chosen == known)
    attempts = _make_attempts(say, has_failed=run is None)
    last_logged = NEVER
    if run is not None and run.resumed:
        last_logged = run.starting_step - 1
    attempts.make(first_step, lambda: _log_past(wandb, run, workdir, last_logged, first_step))
    exit_code = 1
    try:
        yield _make_tracker(wandb, run, last_logged, attempts.make)
        exit_code = 0
    finally:
        if run is not None:
            _finish(wandb, run, exit_code, attempts, say)


def _start(
    wandb: Any, chosen: WandbRun, workdir: Path, experiment: Config, say: Say, *, is_known: bool
) -> Any | None:
    """Begin or resume the wandb run, offline if its server does not answer; None if neither works.

    Args:
        wandb: the package.
        chosen: which run.
        workdir: wandb's files go into `wandb/` in it.
        experiment: the run's configuration.
        say: called with one sentence at a time.
        is_known: whether the run was logged before; then its user may have renamed it.
    """
    *entity, project = chosen.project.split("/")
    name = workdir.absolute().name
    if chosen.rollbacks:
        name += f" (rollback {chosen.rollbacks})"

    def init(mode: str) -> Any:
        return wandb.init(
            project=project,
            entity=entity[0] if entity else None,
            id=chosen.id,
            name=None if is_known and mode == "online" else os.environ.get("WANDB_NAME", name),
            dir=str(workdir),
            config=to_json(experiment),
            allow_val_change=True,
            mode=mode,
            resume="allow" if mode == "online" else None,
            settings=wandb.Settings(
                console="off",
                silent=True,
                init_timeout=INIT_SECONDS,
                finish_timeout=FINISH_SECONDS,
                finish_timeout_raises=True,
            ),
        )

    try:
        mode = wandb.setup(wandb.Settings(silent=True)).settings.mode
        try:
            run = init(mode)
        except Exception as error:
            if mode != "online":
                raise
            say(f"wandb cannot be used online ({describe_error(error)}): going on offline.")
            wandb.teardown()  # which holds on to the id
            run = init("offline")
    except Exception as error:
        say(f"wandb cannot be used ({describe_error(error)}): going on without it.")
        return None
    if run.offline:
        say(f"wandb        offline; to upload: {_sync_command(run)}")
    elif run.url:
        say(f"wandb        {run.url}")
    return run


def _sync_command(run: Any) -> str:
    """Return the command that uploads what the wandb run has kept on disk."""
    flags = [] if run.offline else ["--include-online"]
    return shlex.join(["wandb", "sync", *flags, str(run.settings.sync_dir)])


def _make_attempts(say: Say, *, has_failed: bool) -> Attempts:
    """Build what calls wandb until that fails, which is told in one sentence."""

    def make(step: int, action: Action) -> None:
        nonlocal has_failed
        if has_failed:
            return
        try:
            action()
        except Exception as error:  # of any kind, as wandb's are
            has_failed = True
            say(
                f"wandb failed ({describe_error(error)}): from step {step:,} on nothing is logged "
                "there; running the same command again later fills it in."
            )

    return Attempts(make, lambda: has_failed)


def _log_past(wandb: Any, run: Any, workdir: Path, last_logged: int, first_step: int) -> None:
    """Log what the work directory holds of the steps that the wandb run lacks.

    Args:
        wandb: the package.
        run: the wandb run.
        workdir: for its metrics and samples.
        last_logged: last step of the wandb run.
        first_step: number of steps so far.
    """
    if first_step == 0:
        return
    rows: dict[int, dict[str, Any]] = {}
    with (workdir / "metrics.jsonl").open("rb") as lines:
        for line in lines:
            values = json.loads(line)
            step = values.pop("step")
            rows[step] = {name: value for name, value in values.items() if value is not None}
    readers = {
        ".png": lambda path: wandb.Image(str(path)),
        ".txt": lambda path: _page(wandb, path.read_text(encoding="utf-8")),
        ".wav": lambda path: wandb.Audio(str(path)),
    }
    samples: dict[int, list[Path]] = {}
    for path in (workdir / "samples").glob("step_*"):
        digits = path.stem.removeprefix("step_")
        if digits.isdecimal() and path.suffix in readers:
            samples.setdefault(int(digits), []).append(path)
    for step in sorted(rows.keys() | samples.keys()):
        if last_logged < step <= first_step:
            row = rows.get(step, {})
            for path in samples.get(step, []):
                name = "sound" if path.suffix == ".wav" else "samples"
                row[name] = readers[path.suffix](path)
            run.log(row, step=step, commit=True)


def _page(wandb: Any, text: str) -> Any:
    """Return plain text as wandb shows it, whose lines stay as they are."""
    return wandb.Html(f"<pre>{html.escape(text)}</pre>", inject=False)


def _make_tracker(
    wandb: Any, run: Any, last_logged: int, attempt: Callable[[int, Action], None]
) -> Tracker:
    """Build what logs the steps beyond the last one of the wandb run.

    Args:
        wandb: the package.
        run: the wandb run.
        last_logged: its last step.
        attempt: (step, action) → None.
    """

    def write(step: int, action: Action) -> None:
        if step > last_logged:
            attempt(step, action)

    def write_metrics(step: int, values: Mapping[str, float]) -> None:
        write(step, lambda: run.log(dict(values), step=step, commit=True))

    def write_grid(step: int, path: Path) -> None:
        write(step, lambda: run.log({"samples": wandb.Image(str(path))}, step=step))

    def write_sound(step: int, path: Path) -> None:
        write(step, lambda: run.log({"sound": wandb.Audio(str(path))}, step=step))

    def write_page(step: int, text: str) -> None:
        write(step, lambda: run.log({"samples": _page(wandb, text)}, step=step))

    def write_histograms(step: int, histograms: Mapping[str, Histogram]) -> None:
        def log_histograms() -> None:
            converted = {
                name: wandb.Histogram(np_histogram=(histogram.counts, histogram.edges))
                for name, histogram in histograms.items()
            }
            run.log(converted, step=step)

        write(step, log_histograms)

    def write_alarm(step: int, name: str, sentence: str) -> None:
        text = f"step {step:,}: {sentence}"
        write(step, lambda: run.alert(title=name, text=text, level="WARN"))

    return Tracker(
        metrics=write_metrics,
        grid=write_grid,
        sound=write_sound,
        page=write_page,
        histograms=write_histograms,
        alarm=write_alarm,
    )


def _finish(wandb: Any, run: Any, exit_code: int, attempts: Attempts, say: Say) -> None:
    """End the wandb run; if the rest is not uploaded in time, say how to do it later.

    Args:
        wandb: the package.
        run: the wandb run.
        exit_code: 0 unless training has failed.
        attempts: whether wandb has failed before, which is not told again.
        say: called with the sentence.
    """
    try:
        run.finish(exit_code=exit_code)
    except Exception as error:
        if not attempts.have_failed():
            say(
                f"wandb did not take everything ({describe_error(error)}); to upload the rest: "
                f"{_sync_command(run)}"
            )
        with suppress(Exception):  # otherwise it prints a traceback when the process ends
            wandb.teardown()

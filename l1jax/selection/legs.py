"""The path in legs: strengths that train together from one step to another, each leg kept on disk once it is done."""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from l1jax.config import Config
from l1jax.files import atomic_write, write_json
from l1jax.reading import read_json
from l1jax.selection.judging import Judge, Judged, from_json, to_json
from l1jax.selection.lanes import (
    Examples,
    Lanes,
    Members,
    keep_lanes,
    lane,
    make_lanes,
    with_scales,
)
from l1jax.training.checkpoint import open_checkpoints
from l1jax.training.log import open_progress
from l1jax.training.loop import stop_requests
from l1jax.training.state import State, Task
from l1jax.training.task import stream


class Interrupted(Exception):
    """Training was told to stop, by this signal, and has saved what it had."""

    def __init__(self, signal: int) -> None:
        super().__init__(f"stopped by signal {signal}")
        self.signal = signal


class Leg(NamedTuple):
    """Strengths that train together."""

    name: str
    strengths: tuple[float, ...]
    first: int  # step
    last: int
    origin: "Leg | None" = None  # whose final states these go on from; None for fresh ones
    kept: tuple[
        int, ...
    ] = ()  # which strengths of the origin go on, in the order of this leg's; all if empty
    said: str = ""  # to people; by default its strengths

    @property
    def title(self) -> str:
        """For people."""
        low, high = min(self.strengths), max(self.strengths)
        return self.said or f"strength {low:.3g}" + (f" to {high:.3g}" if high > low else "")


Rows = list[list[Judged]]  # of a finished leg, [strength][fold]


class Course(NamedTuple):
    """All that the legs of one path share."""

    experiment: Config  # whose strength is 1
    task: Task
    network: str
    members: Members
    examples: Examples
    fingerprint: str
    judge: Judge
    folder: Path
    console: Console
    say: Callable[[str], None]
    lanes: Callable[[int], Lanes]  # by the number of strengths; compiled once for each


def make_course(
    experiment: Config,
    task: Task,
    network: str,
    members: Members,
    examples: Examples,
    fingerprint: str,
    judge: Judge,
    folder: Path,
    console: Console,
    say: Callable[[str], None],
) -> Course:
    """What the legs share; `folder` is where they are kept."""

    @lru_cache
    def lanes(count: int) -> Lanes:
        return make_lanes(
            task,
            count,
            members,
            network=network,
            seed=experiment.seed,
            batch_size=experiment.batch_size,
            start=stream(experiment.seed, "parameters"),
            devices=jax.devices(),
        )

    return Course(
        experiment,
        task,
        network,
        members,
        examples,
        fingerprint,
        judge,
        folder,
        console,
        say,
        lanes,
    )


def run_leg(course: Course, leg: Leg) -> Rows:
    """Train a leg from where it stands and judge it; one that is done is read from disk.

    Raises:
        Interrupted: if a signal said to stop; the states are saved, and the same call goes on from there.
        InputError: if a checkpoint is another experiment's or cannot be written.
    """
    found = read_rows(course.folder / leg.name)
    if found is not None:
        return found
    states = train_leg(course, leg)
    with course.console.status("judging"):
        states = jax.device_get(states)
        folds, strengths = range(len(course.members)), range(len(leg.strengths))
        rows = [[course.judge.judge(lane(states, f, s), f) for f in folds] for s in strengths]
    write_rows(course.folder / leg.name, rows)
    return rows


def train_leg(course: Course, leg: Leg) -> State:
    """The leg's final states, trained from its newest good checkpoint."""
    experiment, lanes = course.experiment, course.lanes(len(leg.strengths))
    folder = course.folder / leg.name
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    kept = replace(experiment, keep_checkpoints=1)
    with closing(open_checkpoints(folder, kept, course.fingerprint, course.say)) as checkpoints:
        restored = checkpoints.restore(lanes.template)
        states = restored.state if restored else first_states(course, leg)
        step, every = int(states.step), experiment.checkpoint_every
        if step == leg.last:
            return states
        resident, key = (
            jax.tree.map(jnp.asarray, course.examples),
            stream(experiment.seed, "training"),
        )
        compiled, said = (
            set[int](),
            open_progress(course.console, step - leg.first, leg.last - leg.first, summary),
        )
        with said as (update, say), stop_requests(say) as requests:
            say(leg.title)
            while step < leg.last and not requests:
                began, count = (
                    time.perf_counter(),
                    min(experiment.log_every, leg.last - step, every - step % every),
                )
                states, metrics = lanes.run(
                    states, resident, lanes.put(lanes.chunk(step, count)), key
                )
                values = {
                    name: np.asarray(value) for name, value in jax.device_get(metrics).items()
                }
                step += count
                if count in compiled:
                    values["seconds_per_step"] = np.asarray((time.perf_counter() - began) / count)
                compiled.add(count)
                update(step - leg.first, {"network": course.network, **values})
                if step == leg.last or step % every == 0 or requests:
                    checkpoints.save(step, states, 0.0)
        checkpoints.wait()
    if step < leg.last:
        raise Interrupted(requests[0])
    return states


def first_states(course: Course, leg: Leg) -> State:
    """The states that a leg begins with."""
    lanes, strengths = course.lanes(len(leg.strengths)), np.asarray(leg.strengths)
    if leg.origin is None:
        return lanes.init(strengths)
    states = keep_lanes(train_leg(course, leg.origin), leg.kept or range(len(leg.origin.strengths)))
    states = with_scales(states, course.network, jnp.asarray(strengths, float))
    return jax.tree.map(
        lambda leaf, like: jax.device_put(leaf, like.sharding), states, lanes.template
    )


def summary(values: dict[str, Any]) -> tuple[str, float | None]:
    """Zeros along the path, and the time."""
    network = values["network"]
    zeros = values[f"{network}/sparsity"].mean(axis=0)
    spread = f"{100 * zeros.min():.1f}" + (f" to {100 * zeros.max():.1f}" if len(zeros) > 1 else "")
    skipped = values["skipped"].sum()
    parts = [f"{network} {spread} % zeros"] + ([f"{skipped:.0f} steps skipped"] if skipped else [])
    seconds = values.get("seconds_per_step")
    return "  ".join(parts), None if seconds is None else float(seconds)


def write_rows(folder: Path, rows: Rows) -> None:
    """Write a leg's results, those last that say that it is done."""
    with atomic_write(folder / "samples.npy") as partial, partial.open("wb") as file:
        np.save(file, np.stack([[judged.samples for judged in folds] for folds in rows]))
    write_json(folder / "judged.json", [[to_json(judged) for judged in folds] for folds in rows])


def read_rows(folder: Path) -> Rows | None:
    """A leg's results; None where it is not done."""
    try:
        written = read_json(folder / "judged.json")
        samples = np.load(folder / "samples.npy", allow_pickle=False)
        return [
            [from_json(values, own) for values, own in zip(folds, of_strength, strict=True)]
            for folds, of_strength in zip(written, samples, strict=True)
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return None

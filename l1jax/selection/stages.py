"""Train a path in stages, each of which is kept on disk.

A stage is a group of strengths that train together, from one step to another.
"""

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PyTree
from rich.console import Console

from l1jax.config import Config
from l1jax.files import write_json
from l1jax.processes.agreement import (
    divide_items,
    fetch,
    gather,
    gather_arrays,
    lead,
    num_processes,
    shared_errors,
)
from l1jax.selection.fold_scores import FoldResult, FoldScorer, from_json, to_json
from l1jax.selection.stage_results import (
    STEPS_FILE,
    Patience,
    StageHistory,
    StageResults,
    add_results,
    best_results,
    is_over,
    read_history,
    read_results,
    write_results,
)
from l1jax.selection.task_replicas import (
    FoldFeed,
    ReplicaMetrics,
    TaskReplicas,
    select_replica,
    select_strengths,
    set_task_strengths,
    vectorize_task,
)
from l1jax.training.checkpoint import open_checkpoints
from l1jax.training.keys import named_seed_key
from l1jax.training.loop import (
    CheckpointRequest,
    ChunkCallbacks,
    ChunkProgram,
    ChunkResult,
    run_chunks,
)
from l1jax.training.progress import open_progress
from l1jax.training.state import NO_WEIGHTS, State, Task, Weights

UNSCORED = 0.0  # the score of all checkpoints, of which only the newest is kept


class Interrupted(Exception):
    """Training was stopped by this signal, and has saved what it had."""

    def __init__(self, signal: int) -> None:
        super().__init__(f"stopped by signal {signal}")
        self.signal = signal


class Stage(NamedTuple):
    """Strengths that train together, from one step to another."""

    name: str  # of its folder
    strengths: tuple[float, ...]
    first: int  # step
    last: int  # step
    origin: "Stage | None" = None  # the stage whose final states this one starts from, if any
    selected: tuple[int, ...] = ()  # which strengths of the origin continue; empty for all of them
    label: str = ""  # shown to people; by default the strengths

    @property
    def title(self) -> str:
        """What people are told about the stage when it begins."""
        if self.label:
            return self.label
        low = min(self.strengths)
        high = max(self.strengths)
        return f"strength {low:.3g} to {high:.3g}" if high > low else f"strength {low:.3g}"


class RunContext(NamedTuple):
    """Where a path is kept, and where its progress is shown."""

    folder: Path
    console: Console
    say: Callable[[str], None]  # prints one sentence on a line of its own


class PathRun(NamedTuple):
    """Everything that the stages of one path share."""

    experiment: Config  # whose strength is 1
    task: Task
    network: str  # the network whose strength is chosen
    feed: FoldFeed
    fingerprint: str  # of the data
    scorer: FoldScorer
    context: RunContext
    replicas: Callable[[int], TaskReplicas]  # number of strengths → its compiled program
    patience: Patience | None = None  # None trains all strengths to the end


def cached_replicas(
    experiment: Config,
    task: Task,
    network: str | None,
    feed: FoldFeed,
    weights: Weights = NO_WEIGHTS,
) -> Callable[[int], TaskReplicas]:
    """Return a function from a number of strengths to their replicas, compiled once for each.

    Args:
        experiment: for its seed.
        task: what to train.
        network: the network whose strength is chosen; None if none is set.
        feed: where the folds get their batches.
        weights: of the networks that all strengths begin from.
    """

    @lru_cache
    def replicas(count: int) -> TaskReplicas:
        return vectorize_task(
            task,
            count,
            feed,
            network=network,
            start=named_seed_key(experiment.seed, "parameters"),
            devices=jax.devices(),
            weights=weights,
        )

    return replicas


def run_stage(run: PathRun, stage: Stage) -> StageResults:
    """Train a stage from its newest checkpoint and score it; read a finished stage from disk.

    Raises:
        Interrupted: if a signal stopped it. The states are saved, and the same call resumes.
        InputError: if a checkpoint is another experiment's or cannot be written.
    """
    folder = run.context.folder / stage.name
    finished = read_results(folder)
    # Processes may see a shared folder as it was some seconds ago, so a stage counts as finished
    # only if all see its results.
    if all(gather(finished is not None)) and finished is not None:
        return finished
    states = train_stage(run, stage)
    if run.patience is None:
        with run.context.console.status("scoring"):
            results = score_stage(run, stage, fetch(states))
    else:
        history = read_history(folder, run.patience, len(stage.strengths), int(states.step))
        results = best_results(history, folder)
        lead(lambda: write_json(folder / STEPS_FILE, history.best_steps))
    lead(lambda: write_results(folder, results))
    return results


def score_stage(run: PathRun, stage: Stage, states: State) -> StageResults:
    """Score every strength on every fold; several processes share the work.

    Args:
        run: for its scorer.
        stage: which strengths.
        states: of all replicas, on the host.
    """
    num_folds = run.feed.num_folds

    def score(item: int) -> FoldResult:
        strength, fold = divmod(item, num_folds)
        return run.scorer.score(select_replica(states, fold, strength), fold)

    mine = divide_items(len(stage.strengths) * num_folds, score)
    values = gather([[item, to_json(result)] for item, result in mine.items()])
    samples = gather_arrays([result.samples for result in mine.values()])
    results = dict[int, FoldResult]()
    for values_of_process, samples_of_process in zip(values, samples, strict=True):
        for (item, fields), images in zip(values_of_process, samples_of_process, strict=True):
            results[item] = from_json(fields, images)
    return [
        [results[strength * num_folds + fold] for fold in range(num_folds)]
        for strength in range(len(stage.strengths))
    ]


def train_stage(run: PathRun, stage: Stage) -> State:
    """Return the stage's final states, trained from its newest intact checkpoint.

    Raises:
        Interrupted: if a signal stopped it.
        InputError: if a checkpoint is another experiment's or cannot be written.
    """
    context = run.context
    folder = context.folder / stage.name
    lead(lambda: (folder / "checkpoints").mkdir(parents=True, exist_ok=True))
    keep_newest = replace(run.experiment, keep_checkpoints=1)
    with (
        closing(open_checkpoints(folder, keep_newest, run.fingerprint, context.say)) as checkpoints,
        shared_errors(),
    ):
        restored = checkpoints.restore(run.replicas(len(stage.strengths)).template)
        states = restored.state if restored else first_states(run, stage)
        first_step = int(states.step) - stage.first
        if int(states.step) == stage.last:
            return states
        patience = run.patience
        history = StageHistory(0, [])
        if patience is not None:
            history = read_history(folder, patience, len(stage.strengths), int(states.step))
            if is_over(history, patience):
                return states
        with open_progress(
            context.console, first_step, stage.last - stage.first, progress_line
        ) as (update, say):
            say(stage.title)

            def on_chunk(chunk: ChunkResult) -> CheckpointRequest | None:
                nonlocal history
                progress = StageProgress(run.network, chunk.metrics, chunk.seconds_per_step)
                update(chunk.step - stage.first, progress)
                if chunk.step != stage.last and chunk.step % every:
                    return None
                if patience is None:
                    return CheckpointRequest(UNSCORED)
                results = score_stage(run, stage, fetch(chunk.state))
                history = add_results(history, folder, patience, chunk.step, results)
                stops = is_over(history, patience)
                if stops and chunk.step < stage.last:
                    say(
                        f"stopped at step {chunk.step:,}: no strength had a better score in the "
                        f"last {patience.scores} checkpoints"
                    )
                return CheckpointRequest(UNSCORED, stops)

            every = run.experiment.checkpoint_every
            callbacks = ChunkCallbacks(on_chunk, score_when_stopped=lambda states: UNSCORED)
            program = chunk_program(run, stage)
            states, end = run_chunks(states, stage.last, program, callbacks, checkpoints, say)
    if end.signal is not None:
        raise Interrupted(end.signal)
    return states


def chunk_program(run: PathRun, stage: Stage) -> ChunkProgram:
    """Return how the training loop trains the strengths of a stage."""
    experiment = run.experiment
    replicas = run.replicas(len(stage.strengths))
    resident = replicas.replicate(run.feed.resident)
    key = replicas.replicate(named_seed_key(experiment.seed, "training"))
    every = experiment.checkpoint_every

    compiled_lengths = set[int]()

    def run_chunk(states: State, chunk: PyTree) -> tuple[State, ReplicaMetrics]:
        num_steps = jax.tree.leaves(chunk)[0].shape[1]
        if num_processes() > 1 and num_steps not in compiled_lengths:
            # They connect in the program's first call, and wait half a minute for each other.
            compiled: Any = replicas.run
            compiled.lower(states, resident, chunk, key).compile()
            gather(None)
            compiled_lengths.add(num_steps)
        return replicas.run(states, resident, chunk, key)

    return ChunkProgram(
        length=lambda step: min(experiment.log_every, stage.last - step, every - step % every),
        load=lambda step, num_steps: replicas.put(run.feed.chunk(step, num_steps)),
        run=run_chunk,
    )


def first_states(run: PathRun, stage: Stage) -> State:
    """Return the states that a stage begins with."""
    replicas = run.replicas(len(stage.strengths))
    strengths = np.asarray(stage.strengths)
    if stage.origin is None:
        return replicas.init(strengths)
    selected = stage.selected or range(len(stage.origin.strengths))
    states = select_strengths(train_stage(run, stage.origin), selected)
    states = set_task_strengths(states, run.network, jnp.asarray(strengths, float))
    return jax.tree.map(
        lambda leaf, like: jax.device_put(leaf, like.sharding), states, replicas.template
    )


class StageProgress(NamedTuple):
    """What the progress bar of a stage shows."""

    network: str
    metrics: Mapping[str, Float[np.ndarray, "folds strengths"]]
    seconds_per_step: float | None  # None while it is unknown


def progress_line(progress: StageProgress) -> tuple[str, float | None]:
    """Return the zeros along the path in a few words, and the seconds per step."""
    zeros = 100 * progress.metrics[f"{progress.network}/sparsity"].mean(axis=0)
    words = f"{progress.network} {zeros.min():.1f}"
    if len(zeros) > 1:
        words += f" to {zeros.max():.1f}"
    words += " % zeros"
    skipped = progress.metrics["skipped"].sum()
    if skipped:
        words += f"  {skipped:.0f} steps skipped"
    return words, progress.seconds_per_step

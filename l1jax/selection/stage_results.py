"""The results of a stage on disk, and of each strength those of its best step."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from l1jax.config import InputError
from l1jax.files import atomic_write, write_json
from l1jax.processes.agreement import lead
from l1jax.processes.storage import wait_until
from l1jax.reading import read_json
from l1jax.selection.fold_scores import FoldResult, from_json, to_json
from l1jax.training.patience import BestSoFar, Watched, has_run_out, with_score

StageResults = list[list[FoldResult]]  # of a stage, [strength][fold]
STEPS_FILE = "best_steps.json"
STEPS_FOLDER = "steps"
SCORES_FILE = "scores.json"
NAME = "criterion"


class Patience(NamedTuple):
    """When the strengths of a stage stop, and which of their steps count.

    Attributes:
        scores: how many scores in a row a strength has without a better one before it is done.
        begin: step from which scores count.
        mean_scores: results → the score of each strength, a mean over the folds; lower is better.
    """

    scores: int
    begin: int
    mean_scores: Callable[[StageResults], Float[np.ndarray, " strengths"]]


class StageHistory(NamedTuple):
    """What the scores of a stage at its checkpoints have shown so far.

    Attributes:
        last: step of the last scores.
        best: of each strength, the best score so far.
    """

    last: int
    best: list[BestSoFar]

    @property
    def best_steps(self) -> list[int]:
        """Each strength's best step; the last one where no score was finite."""
        return [self.last if best.step is None else best.step for best in self.best]


def read_history(folder: Path, patience: Patience, count: int, last: int) -> StageHistory:
    """Read the scores of a stage up to a step; all processes call it together.

    Args:
        folder: of the stage.
        patience: of the path.
        count: number of strengths.
        last: step of the checkpoint that training is resumed from. Scores beyond it belong to
            steps that are trained again.
    """
    history = StageHistory(last, [BestSoFar(NAME)] * count)
    for step, scores in lead(partial(_read_scores, folder / STEPS_FOLDER, last)):
        history = _add_scores(history, patience, step, scores)
    return history


def add_results(
    history: StageHistory, folder: Path, patience: Patience, step: int, results: StageResults
) -> StageHistory:
    """Keep the results of a step, and return the history with its scores.

    Args:
        history: before the step.
        folder: of the stage; process 0 writes there.
        patience: of the path.
        step: of the results.
        results: of all strengths.
    """
    means = [float(score) for score in patience.mean_scores(results)]
    scores = [score if np.isfinite(score) else None for score in means]
    folder_of_step = folder / STEPS_FOLDER / str(step)

    def write() -> None:
        folder_of_step.mkdir(parents=True, exist_ok=True)
        write_json(folder_of_step / SCORES_FILE, scores)
        write_results(folder_of_step, results)

    lead(write)
    return _add_scores(history, patience, step, scores)


def _add_scores(
    history: StageHistory, patience: Patience, step: int, scores: Sequence[float | None]
) -> StageHistory:
    watched = Watched(NAME, 1, False, patience.begin)
    best = [
        with_score(each, watched, step, np.nan if score is None else score)
        for each, score in zip(history.best, scores, strict=True)
    ]
    return StageHistory(step, best)


def is_over(history: StageHistory, patience: Patience) -> bool:
    """Return whether no strength waits for a better score any more."""
    return all(has_run_out(patience.scores, best) for best in history.best)


def best_results(history: StageHistory, folder: Path) -> StageResults:
    """Read each strength's results at its best step.

    Args:
        history: of the whole stage.
        folder: of the stage.

    Raises:
        InputError: if the results of a step are gone or damaged.
    """
    results = {step: _results_of_step(folder, step) for step in set(history.best_steps)}
    return [results[step][index] for index, step in enumerate(history.best_steps)]


def _results_of_step(folder: Path, step: int) -> StageResults:
    folder_of_step = folder / STEPS_FOLDER / str(step)
    # Another process may see a shared folder as it was some seconds ago.
    wait_until(lambda: read_results(folder_of_step) is not None)
    results = read_results(folder_of_step)
    if results is None:
        raise InputError(
            f"{folder_of_step} must hold the results of its step, and cannot be read: delete "
            f"{folder} to train its strengths again."
        )
    return results


def _read_scores(folder: Path, last: int) -> list[tuple[int, list[float | None]]]:
    if not folder.is_dir():
        return []
    steps = sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())
    return [(step, read_json(folder / str(step) / SCORES_FILE)) for step in steps if step <= last]


def read_best_steps(folder: Path) -> list[int]:
    """Return each strength's best step of a finished stage with patience; process 0 calls it."""
    return read_json(folder / STEPS_FILE)


def write_results(folder: Path, results: StageResults) -> None:
    """Write a stage's results; `judged.json` comes last, because it says that the stage is done."""
    samples = np.stack([[result.samples for result in folds] for folds in results])
    with atomic_write(folder / "samples.npy") as partial, partial.open("wb") as file:
        np.save(file, samples)
    write_json(folder / "judged.json", [[to_json(result) for result in folds] for folds in results])


def read_results(folder: Path) -> StageResults | None:
    """Return a stage's results, or None where it is not done."""
    try:
        written = read_json(folder / "judged.json")
        samples = np.load(folder / "samples.npy", allow_pickle=False)
        return [
            [
                from_json(values, images)
                for values, images in zip(folds, samples_of_strength, strict=True)
            ]
            for folds, samples_of_strength in zip(written, samples, strict=True)
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return None

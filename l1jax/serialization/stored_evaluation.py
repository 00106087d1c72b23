"""Read the evaluation of a run, which is stored with the models that are made from the run."""

from pathlib import Path
from typing import Any

from l1jax.config import InputError
from l1jax.reading import read_json


def read_evaluation(workdir: Path, step: int) -> dict[str, Any] | None:
    """Return what `l1jax.evaluate` wrote about this step of a run, or None if it wrote nothing."""
    try:
        evaluation = read_json(workdir / "evaluation.json")
    except InputError:
        # There is no evaluation, or its file is damaged.
        return None
    of_this_step = isinstance(evaluation, dict) and evaluation.get("step") == step
    return evaluation if of_this_step else None

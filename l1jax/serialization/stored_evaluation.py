"""The evaluation of a run that stays with the model which is made of it."""

from pathlib import Path
from typing import Any

from l1jax.config import InputError
from l1jax.reading import read_json


def read_evaluation(workdir: Path, step: int) -> dict[str, Any] | None:
    """What `l1jax.evaluate` wrote of this step of a run; None where it has written nothing, or of another step."""
    try:
        evaluation = read_json(workdir / "evaluation.json")
    except InputError:  # none was written, or it is no longer one
        return None
    of_this_step = isinstance(evaluation, dict) and evaluation.get("step") == step
    return evaluation if of_this_step else None

"""Read the evaluation of a run, which is stored with the models that are made from the run."""

from pathlib import Path

from l1jax.config import InputError
from l1jax.config.fields import JsonObject
from l1jax.reading import read_json


def read_evaluation(workdir: Path, step: int) -> JsonObject | None:
    """Return what `l1jax.evaluate` wrote about this step of a run, or None if it wrote nothing.

    The flags are left out: models are published, and paths of a machine are nobody's concern.
    """
    try:
        evaluation = read_json(workdir / "evaluation.json")
    except InputError:
        # There is no evaluation, or its file is damaged.
        return None
    if not isinstance(evaluation, dict) or evaluation.get("step") != step:
        return None
    protocol = evaluation.get("protocol")
    if isinstance(protocol, dict):
        shared = {key: value for key, value in protocol.items() if key != "flags"}
        evaluation["protocol"] = shared
    return evaluation

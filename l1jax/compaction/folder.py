"""The folder that a compact model is written to."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict

from l1jax.compaction.compact import Compact
from l1jax.config import Config, to_json


def write_model(folder: Path, compact: Compact, experiment: Config, step: int, notes: dict[str, Any]) -> None:
    """Write parameters, statistics and layout into a new folder."""
    folder.mkdir()
    tree = {"params": compact.params, "statistics": compact.statistics}
    arrays: Any = {k: np.asarray(v) for k, v in flatten_dict(tree, sep="/").items()}
    np.savez(folder / "model.npz", **arrays)
    description = {"experiment": to_json(experiment), "layout": compact.layout, "step": step, **notes}
    (folder / "config.json").write_text(json.dumps(description), encoding="utf-8")

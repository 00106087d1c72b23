"""What does a transformation cost beside Adam?

The parameters are large enough to fill the chip's memory bandwidth.
"""

import argparse
import re
from functools import partial
from typing import Any

import transforms
from gpu_record import Record, aimed

AIMS = {
    "proximal_adam, l1": 1.02,
    "proximal_adam, l1, track_sparsity": 1.1,
    transforms.ONE_STEP: 1.3,
}


def measure(record: Record, options: argparse.Namespace) -> None:
    """Row by row, so that a slow compilation costs one row."""
    tree = "tiny" if record.smoke else "dense100m"
    pairs = 1 if record.smoke else 20
    names = [*AIMS, "ramda, l1", transforms.FULL, "optax.adam (against itself)", "torch.optim.Adam"]
    for name in names[:2] if record.smoke else names:
        record.attempt(name, partial(one_row, name, tree, pairs), needs=10)


def one_row(name: str, tree: str, pairs: int) -> dict[str, Any]:
    """One transformation, alternating with Adam."""
    rows = transforms.measure_updates(tree, pairs, f"^{re.escape(name)}$")["rows"]
    row = rows[name]
    if "ratio" in row and name in AIMS:
        row["ratio"] = aimed(row["ratio"], at_most=AIMS[name])
    return row

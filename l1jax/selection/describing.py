"""What there is to tell of a path, in plain values."""

from typing import Any

import jax
import numpy as np

from l1jax.selection.judging import SIGNS
from l1jax.selection.plan import Plan, Walked
from l1jax.selection.rules import summarise
from l1jax.selection.search import INFORMATION, scores


def describe(plan: Plan, walked: Walked) -> dict[str, Any]:
    """All numbers of a path, as they are shown, plotted and written: plain JSON values."""
    rule, (course, points, choices, sizes) = plan.rule, walked
    names = [name for name in SIGNS if name in points[0].judged[0].scores]
    names += [rule.criterion] if rule.criterion in INFORMATION else []
    tables = {name: SIGNS.get(name, 1) * scores(points, name, sizes) for name in names}
    summaries = {name: summarise(table) for name, table in tables.items()}

    def number(value: float) -> float | None:
        return float(value) if np.isfinite(value) else None

    rows = []
    for i, point in enumerate(points):
        found = {
            name: {
                "mean": number(summaries[name].mean[i]),
                "standard_error": number(summaries[name].standard_error[i]),
                "each": [number(value) for value in tables[name][i]],
            }
            for name in names
        }
        layers = {
            name: [
                float(np.mean([own.channels[name][k] for own in point.judged])) for k in range(2)
            ]
            for name in point.judged[0].channels
        }
        rows.append(
            {
                "strength": point.strength,
                "trained": point.trained,
                "zeros": point.zeros,
                "channels": layers,
                "nonzeros": float(np.mean([own.nonzeros for own in point.judged])),
                "scores": found,
            }
        )
    parts = len(course.members)
    alone = "training" if rule.criterion in INFORMATION else "held-out"
    held = f"{parts} folds, each held out in turn" if parts > 1 else f"judged by the {alone} images"
    freedom = (
        "; degrees of freedom: non-zeros of the generator, an upper bound"
        if rule.criterion in INFORMATION
        else ""
    )
    choice = {
        "chosen": choices.chosen._asdict(),
        "minimum": choices.minimum._asdict(),
        "one_standard_error": choices.one_standard_error and choices.one_standard_error._asdict(),
    }
    return {
        "network": plan.network,
        "criterion": rule.criterion,
        "steps": plan.steps,
        **choice,
        "protocol": f"{held}; {course.judge.protocol}{freedom}",
        "examples": sizes.examples,
        "parameters": sizes.parameters,
        "versions": {"jax": jax.__version__, "numpy": np.__version__},
        "device": f"{len(jax.devices())} × {jax.devices()[0].device_kind}",
        "points": rows,
    }

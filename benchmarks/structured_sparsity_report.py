"""Report on the results of `structured_sparsity.py`.

It gives zero groups at equal accuracy, tables, and a plot.
"""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

POINTS_BELOW_BEST = (0.25, 0.5, 1.0)  # of accuracy, where zero groups are compared
Result = dict[str, Any]


def mean_sd(values: Any) -> dict[str, float]:
    values = np.asarray(values, float)
    return {
        "mean": float(values.mean()),
        "sd": float(values.std(ddof=1)) if len(values) > 1 else 0.0,
    }


def zero_groups_at(accuracy: float, accuracies: Any, shares: Any) -> float | None:
    """Return the largest share of zero groups at this accuracy or better.

    Between one strength and the next it is interpolated linearly.
    """
    found = [share for a, share in zip(accuracies, shares, strict=True) if a >= accuracy]
    for (a, share), (b, next_share) in pairwise(zip(accuracies, shares, strict=True)):
        if min(a, b) <= accuracy <= max(a, b) and a != b:
            found.append(share + (accuracy - a) / (b - a) * (next_share - share))
    return max(found, default=None)


def at_equal_accuracy(methods: dict[str, Any]) -> list[dict[str, Any]]:
    """Return each method's zero groups at accuracies a little below the best of all.

    They are None where a method has no such run.
    """
    best = max(point["accuracy"]["mean"] for method in methods.values() for point in method["path"])
    rows = []
    for points in POINTS_BELOW_BEST:
        row: dict[str, Any] = {"accuracy": best - points / 100}
        for name, method in methods.items():
            columns = np.array([method["accuracies"], method["zero_groups"]])  # 2, strengths, seeds
            shares = [
                zero_groups_at(row["accuracy"], *columns[:, :, seed])
                for seed in range(columns.shape[2])
            ]
            row[name] = None if None in shares else mean_sd(shares)
        rows.append(row)
    return rows


def table(problems: dict[str, Result]) -> str:
    """Markdown: every method at every strength, then zero groups at equal accuracy."""
    return "\n\n".join(
        part
        for name, result in problems.items()
        for part in (f"### {name}", _path(result), _at_equal_accuracy(result))
    )


def _path(result: Result) -> str:
    exact = "optimum" in result
    titles = [
        "strength",
        "method",
        "test accuracy",
        "loss + penalty",
        "zero groups",
        "zero entries",
        "restless groups",
    ]
    rows = [titles + ["zeros missed / false"] * exact]
    for i, strength in enumerate(result["strengths"]):
        for name, method in result["methods"].items():
            point = method["path"][i]
            percents = [
                _percent(point[key], 1) for key in ("zero_groups", "zero_entries", "restless")
            ]
            objective = f"{point['objective']['mean']:.5f} ± {point['objective']['sd']:.5f}"
            row = [f"{strength:g}", name, _percent(point["accuracy"], 2), objective, *percents]
            if exact:
                row.append(
                    " / ".join(
                        f"{100 * point[key]['mean']:.1f} %"
                        for key in ("missed_zeros", "false_zeros")
                    )
                )
            rows.append(row)
        if exact:
            optimum = {key: values[i] for key, values in result["optimum"].items()}
            best = [
                f"{100 * optimum['accuracy']:.2f} %",
                f"{optimum['objective']:.5f}",
                f"{100 * optimum['zero_groups']:.1f} %",
                "",
                "",
                "",
            ]
            rows.append([f"{strength:g}", "exact optimum", *best])
    return _markdown(rows)


def _at_equal_accuracy(result: Result) -> str:
    names = list(result["methods"])
    rows = [["zero groups at the accuracy", *names]]
    for row in result["at_equal_accuracy"]:
        shares = [_percent(row[name], 1) if row[name] else "not reached" for name in names]
        rows.append([f"{100 * row['accuracy']:.2f} %", *shares])
    return _markdown(rows)


def _percent(value: dict[str, float], digits: int) -> str:
    return f"{100 * value['mean']:.{digits}f} ± {100 * value['sd']:.{digits}f} %"


def _markdown(rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])


def plot(problems: dict[str, Result], path: Path) -> None:
    """Draw test accuracy against the share of zero groups.

    There is one line per method and one panel per problem.
    """
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(
        1, len(problems), figsize=(5.5 * len(problems), 4.2), squeeze=False
    )
    titles = {
        "logistic": "Logistic regression, one group per pixel",
        "cnn": "CNN, one group per channel or input row",
    }
    for panel, (name, result) in zip(panels[0], problems.items(), strict=True):
        for (method, values), style in zip(
            result["methods"].items(), ("o--", "s:", "^--", "D:"), strict=False
        ):
            points = values["path"]
            x, y = (
                [100 * point[key]["mean"] for point in points]
                for key in ("zero_groups", "accuracy")
            )
            xerr, yerr = (
                [100 * point[key]["sd"] for point in points] for key in ("zero_groups", "accuracy")
            )
            panel.errorbar(
                x, y, yerr, xerr, fmt=style, markerfacecolor="none", label=method, capsize=2
            )
        if "optimum" in result:
            x, y = (100 * np.array(result["optimum"][key]) for key in ("zero_groups", "accuracy"))
            panel.plot(x, y, "kx", label="exact optimum", zorder=3)
        panel.set(title=titles[name], xlabel="zero groups (%)", ylabel="test accuracy (%)")
        panel.grid(alpha=0.3)
    panels[0, 0].legend(loc="lower left")
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)

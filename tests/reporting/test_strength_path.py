"""A path of strengths as a table, plots and pictures."""

import io

import numpy as np
import pytest
from rich.console import Console

from l1jax.reporting.path_section import path_section
from l1jax.reporting.strength_path import path_samples, plot_path, show_path


def score(mean, error=None):
    return {"mean": mean, "standard_error": error, "each": [mean]}


def path(chosen, criterion="kernel_distance"):
    """Three strengths, of which the last was stopped early and has no score."""
    rows = [(0.0, 0.0, 0.25, 10), (1e-3, 0.5, 0.5, 10), (1e-2, 0.987, None, 5)]
    points = [
        {
            "strength": strength,
            "trained": trained,
            "zeros": zeros,
            "channels": {"hidden_0/kernel": [8 - 4 * i, 8]},
            "scores": {
                "kernel_distance": score(mean, 0.02),
                "recall": score(0.125),
                "bic": score(123456.0),
            },
        }
        for i, (strength, zeros, mean, trained) in enumerate(rows)
    ]
    choice = {
        "index": chosen,
        "strength": rows[chosen][0],
        "rule": "minimum",
        "reason": "the least score",
    }
    return {
        "network": "generator",
        "criterion": criterion,
        "steps": 10,
        "points": points,
        "chosen": choice,
        "minimum": {**choice, "index": 0},
        "one_standard_error": None,
        "protocol": "3 folds",
    }


def said(result):
    console = Console(file=io.StringIO(), width=100)
    show_path(result, console)
    return console.file.getvalue()


def test_every_row_says_what_it_is():
    lines = said(path(1)).splitlines()
    row = {line.split()[0]: line for line in lines if line.split()}
    assert "0.25 ± 0.02" in row["dense"]
    assert "best" in row["dense"]
    assert "50.0%" in row["0.001"]
    assert "chosen" in row["0.001"]
    assert "none" in row["0.01"]
    assert "stopped at 5" in row["0.01"]
    assert any(line.startswith("strength 0.001: the least score") for line in lines)
    assert "--zeros" not in said(path(1))


def test_a_grid_of_another_number_is_called_by_its_name():
    """Also a value of 0, which is no dense model there."""
    grid = {**path(0), "field": "objective.lecam", "minimum": None}
    lines = said(grid).splitlines()
    assert "Values of objective.lecam" in lines[0]
    assert lines[2].split()[0] == "lecam"
    row = next(line.split() for line in lines if "chosen" in line)
    assert (row[0], row[-1]) == ("0", "chosen")
    assert any(line.startswith("objective.lecam 0: the least score") for line in lines)
    assert "penalty" not in said(grid)
    page = path_section(grid, None, None)
    assert "Values of objective.lecam" in page
    assert "Chosen for objective.lecam: 0, by kernel distance" in page
    assert "strength" not in page.lower()
    assert min(plot_path(grid).size) > 200


def test_where_nothing_beats_the_dense_model_there_is_a_way_on():
    assert "ask for --zeros 0.9" in said(path(0))


def why(change, **others):
    """The sentence on a path whose dense model is chosen, with a change in the choice."""
    found = path(0) | others
    found["chosen"] |= change
    return next(line for line in said(found).splitlines() if line.startswith("no penalty: "))


def test_no_penalty_is_told_as_the_rule_that_chose_it():
    assert "No penalty does better by this score: to accept" in why({})
    assert "No penalty does well enough by this score" in why({"rule": "little worse than dense"})
    assert "No penalty" not in why(
        {"rule": "enough zeros", "reason": "the weakest with at least 0.00% zeros"}
    )
    points = path(0)["points"]
    points[1]["scores"]["kernel_distance"] = score(None)
    assert "No run with a penalty has a score: lower its learning rate" in why({}, points=points)


def test_the_changed_sign_is_told_of_scores_and_not_of_zeros():
    bound = {"criterion": "recall", "points": path(1, "recall")["points"]}
    assert "recall with its sign changed" in why({}, **bound)
    assert "sign changed" not in why(
        {"rule": "enough zeros", "reason": "the weakest with enough zeros"}, **bound
    )


@pytest.mark.parametrize("criterion", ["kernel_distance", "bic"])
def test_the_plots_show_a_path_with_a_gap(criterion):
    picture = np.asarray(plot_path(path(1, criterion)).convert("L"))
    assert picture.shape[1] > 1000
    assert 0.005 < np.mean(picture < 200) < 0.3


@pytest.mark.parametrize("shape", [(3, 5, 8, 8, 1), (3, 5, 8, 8, 3), (5, 60, 1, 1, 2)])
def test_there_is_a_row_or_a_plot_for_each_strength(shape):
    rng = np.random.default_rng(0)
    points = shape[2:4] == (1, 1)
    samples = (
        rng.normal(size=shape).astype(np.float32)
        if points
        else rng.integers(0, 256, shape, np.uint8)
    )
    picture = np.asarray(path_samples(samples, [str(i) for i in range(shape[0])], 1).convert("L"))
    assert np.mean(picture < 200) > 0.001
    one = np.asarray(path_samples(samples[:1], ["0"], 0).convert("L"))
    assert picture.size > 1.8 * one.size


def test_points_of_a_run_that_diverged_leave_the_others_their_plots():
    samples = np.random.default_rng(0).normal(size=(2, 60, 1, 1, 2)).astype(np.float32)
    samples[1] = np.nan
    assert np.mean(np.asarray(path_samples(samples, ["0", "1"], 0).convert("L")) < 200) > 0.001
    path_samples(np.full_like(samples, np.inf), ["0", "1"], 0)

"""The strengths of a path stop when none has a better score; each counts at its best step."""

from dataclasses import replace

import numpy as np
import pytest
from small_paths import PLAIN, path_run

from l1jax.config import InputError, Optimizer
from l1jax.selection.choose import ChoiceRule
from l1jax.selection.plan import Plan, check_plan
from l1jax.selection.schedule import train_strengths
from l1jax.selection.settings import path_settings
from l1jax.selection.stage_results import Patience, read_results

STRENGTHS = (1e-3, 1e-1)
STEPS = 24
PATIENCE = 3


class Killed(BaseException):
    pass


def means(results):
    return np.array([np.mean([fold.scores["kernel_distance"] for fold in row]) for row in results])


def waiting_path(folder, begin=0):
    run = path_run(folder, replace(PLAIN, generator=replace(PLAIN.generator, learning_rate=0.02)))
    return run._replace(patience=Patience(PATIENCE, begin, means))


def train(run):
    return train_strengths(run, STRENGTHS, STEPS, "together", "dense-to-sparse")


def scores_of(folder):
    """Step → the score of each strength, from the results on disk."""
    steps = sorted(int(path.name) for path in (folder / "together-0" / "steps").iterdir())
    results = [read_results(folder / "together-0" / "steps" / str(step)) for step in steps]
    return steps, np.array([means(each) for each in results])


@pytest.fixture(scope="module")
def waited(tmp_path_factory):
    folder = tmp_path_factory.mktemp("waited")
    return folder, train(waiting_path(folder))


@pytest.mark.slow
def test_each_strength_counts_at_the_best_step_of_its_own(waited):
    folder, points = waited
    steps, scores = scores_of(folder)
    for index, point in enumerate(points):
        best = int(np.argmin(scores[:, index]))
        assert point.trained == steps[best]
        assert means([point.folds])[0] == scores[best, index]


@pytest.mark.slow
def test_the_stage_stops_when_no_strength_waits_any_more(waited):
    steps, scores = scores_of(waited[0])
    waits = [
        [index - int(np.argmin(scores[: index + 1, column])) for index in range(len(steps))]
        for column in range(len(STRENGTHS))
    ]
    fewest = np.min(waits, axis=0)
    assert np.all(fewest[:-1] < PATIENCE)
    assert steps[-1] == STEPS or fewest[-1] >= PATIENCE
    assert len(steps) > PATIENCE


@pytest.mark.slow
@pytest.mark.parametrize(
    "moment", [pytest.param("in training", marks=pytest.mark.slow), "before the results"]
)
def test_a_kill_changes_nothing(waited, tmp_path, monkeypatch, moment):
    folder, points = waited
    run = waiting_path(tmp_path)
    if moment == "in training":
        replicas = run.replicas(len(STRENGTHS))
        calls = []

        def run_or_die(*arguments):
            calls.append(1)
            if len(calls) == 4:
                raise Killed
            return replicas.run(*arguments)

        dying = run._replace(replicas=lambda count: replicas._replace(run=run_or_die))
    else:

        def die(*arguments):
            raise Killed

        monkeypatch.setattr("l1jax.selection.stages.best_results", die)
        dying = run
    with pytest.raises(Killed):
        train(dying)
    monkeypatch.undo()
    again = train(run)
    assert [point.trained for point in again] == [point.trained for point in points]
    assert [means([point.folds]) for point in again] == [means([point.folds]) for point in points]
    np.testing.assert_array_equal(scores_of(tmp_path)[1], scores_of(folder)[1])


def plan_of(experiment, **fields):
    defaults = {
        "experiment": experiment,
        "network": "generator",
        "strengths": "1e-3,1e-1",
        "rule": ChoiceRule("kernel_distance", "minimum", 0.0, 0.0),
        "precision": 1.2,
        "folds": 2,
        "steps": STEPS,
        "how": "together",
        "order": "dense-to-sparse",
        "halvings": 0,
        "dense": False,
        "features": "pixels",
    }
    return Plan(**defaults | fields)


@pytest.mark.parametrize(
    ("fields", "words"),
    [({"how": "warm"}, "--how warm"), ({"halvings": 1}, "--halvings")],
)
def test_what_does_not_go_with_patience_is_refused(fields, words):
    with pytest.raises(InputError, match=r"`--patience` \(=3\) must be 0 with .*") as caught:
        check_plan(plan_of(replace(PLAIN, patience=3), **fields), default_criterion=False)
    assert words in str(caught.value)


def test_a_path_that_ends_before_scores_count_is_refused():
    waiting = replace(PLAIN, patience=3, discriminator=Optimizer(debias_after=50), steps=100)
    with pytest.raises(InputError, match=r"`patience` \(=3\) has no score to wait for"):
        check_plan(plan_of(waiting), default_criterion=False)
    check_plan(plan_of(waiting, steps=100), default_criterion=False)


def test_patience_belongs_to_the_settings_of_a_path():
    without = path_settings(plan_of(PLAIN))
    assert (without["patience"], without["criterion"]) == (None, None)  # as earlier paths have it
    waiting = path_settings(plan_of(replace(PLAIN, patience=3)))
    assert (waiting["patience"], waiting["checkpoint_every"]) == (3, 2)
    assert waiting["criterion"] == "kernel_distance"

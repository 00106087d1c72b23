"""A path in stages: halved, one strength after another, around a target; a kill changes nothing."""

import os
import signal

import numpy as np
import pytest
from small_paths import VAE, path_run

from l1jax.selection.fold_scores import NUM_SAMPLES
from l1jax.selection.schedule import (
    halving_steps,
    refine_around_target,
    train_strengths,
    train_with_halvings,
)
from l1jax.selection.score_table import ModelSize, score_table
from l1jax.selection.stages import Interrupted, Stage, read_results, run_stage, train_stage
from l1jax.selection.task_replicas import select_replica
from l1jax.transforms import strength

pytestmark = pytest.mark.usefixtures("one_device")

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)
SIZE = ModelSize(400, 1000)


def together(run, strengths, steps):
    return train_strengths(run, strengths, steps, "together", "dense-to-sparse")


def train_halved(run):
    """Train the path half of which stops after half of the steps; weaker is taken to be better."""
    return train_with_halvings(run, STRENGTHS, 8, 1, strength_as_score)


def strength_as_score(points):
    return np.array([point.strength for point in points])


def assert_same(points, expected):
    """Check that two lists of points are equal to the last bit."""
    for point, other in zip(points, expected, strict=True):
        assert (point.strength, point.trained) == (other.strength, other.trained)
        for result, other_result in zip(point.folds, other.folds, strict=True):
            assert result._replace(samples=None) == other_result._replace(samples=None)
            np.testing.assert_array_equal(result.samples, other_result.samples)


@pytest.fixture(scope="module")
def halved(tmp_path_factory):
    return train_halved(path_run(tmp_path_factory.mktemp("halved")))


@pytest.mark.slow
def test_the_better_half_trains_on(halved):
    assert [point.trained for point in halved] == [8, 8, 4, 4]
    zeros = [point.zeros for point in halved]
    assert zeros[0] < zeros[-1]
    assert halved[0].folds[0].samples.shape == (NUM_SAMPLES, 8, 8, 1)


@pytest.mark.slow
def test_survivors_end_as_without_halving(halved, tmp_path):
    whole = together(path_run(tmp_path), STRENGTHS[:2], 8)
    for point, other in zip(whole, halved, strict=False):
        assert point.zeros == pytest.approx(other.zeros, abs=1e-6)
        np.testing.assert_allclose(
            [result.scores["frechet_distance"] for result in point.folds],
            [result.scores["frechet_distance"] for result in other.folds],
            rtol=1e-4,
        )


@pytest.mark.parametrize(
    ("arguments", "steps"),
    [
        ((100, 0, 10), [100]),
        ((100, 2, 10), [20, 50, 100]),  # 25 rounds to even
        ((100, 3, 40), [40, 100]),
        ((5, 2, 10), [5]),
    ],
)
def test_halvings_are_rounded_to_what_is_logged(arguments, steps):
    assert halving_steps(*arguments) == steps


class Killed(BaseException):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("fatal_call", [2, 4])
def test_a_kill_changes_nothing(halved, tmp_path, fatal_call):
    """In the middle of the first stage, and of the second, which begins with the scored first."""
    run = path_run(tmp_path)
    calls = []

    def dying_replicas(count):
        replicas = run.replicas(count)

        def run_or_die(*arguments):
            calls.append(count)
            if len(calls) == fatal_call:
                raise Killed
            return replicas.run(*arguments)

        return replicas._replace(run=run_or_die)

    with pytest.raises(Killed):
        train_halved(run._replace(replicas=dying_replicas))
    assert_same(train_halved(path_run(tmp_path)), halved)


@pytest.mark.slow
def test_a_signal_saves_and_the_same_call_resumes(halved, tmp_path):
    run = path_run(tmp_path)
    stage = Stage("together-0", STRENGTHS, 0, 4)
    replicas = run.replicas(4)

    def run_and_signal(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return replicas.run(*arguments)

    signalled = replicas._replace(run=run_and_signal)
    with pytest.raises(Interrupted) as stopped:
        run_stage(run._replace(replicas=lambda count: signalled), stage)
    assert stopped.value.signal == signal.SIGTERM
    assert read_results(tmp_path / "together-0") is None
    saved = train_stage(run, stage._replace(last=2))
    assert int(saved.step) == 2, "what was done is kept"
    assert_same(train_halved(run), halved)


@pytest.mark.slow
def test_a_warm_stage_starts_from_the_one_before(tmp_path):
    run = path_run(tmp_path)
    points = train_strengths(run, (1e-2, 1.0), 4, "warm", "dense-to-sparse")
    first = Stage("warm-0", (1e-2,), 0, 4)
    second = Stage("warm-1", (1.0,), 4, 8, first)
    assert [point.trained for point in points] == [4, 4]
    states = train_stage(run, second)
    assert int(states.step) == 8
    assert float(strength(select_replica(states, 0, 0).generator.opt_state)) == 1.0
    assert points[1].zeros > points[0].zeros


@pytest.mark.slow
def test_the_target_is_enclosed_by_two_strengths(tmp_path):
    run = path_run(tmp_path, VAE)
    points = together(run, (1e-2, 10.0), 8)
    more = refine_around_target(run, points, lambda point: point.zeros >= 0.5, 8, 10.0)
    strengths = np.array([point.strength for point in more])
    beyond = np.array([point.zeros >= 0.5 for point in more])
    assert np.all(np.diff(strengths) > 0)
    assert len(more) > len(points)
    first_beyond = int(np.flatnonzero(beyond)[0])
    assert not beyond[first_beyond - 1]
    assert strengths[first_beyond] / strengths[first_beyond - 1] <= 10.0


@pytest.mark.slow
def test_information_criteria_count_the_nonzeros(tmp_path):
    points = together(path_run(tmp_path, VAE), (1e-2, 1.0), 4)

    def table(value):
        return np.array([[value(result) for result in point.folds] for point in points])

    log_likelihoods = table(lambda result: result.scores["log_likelihood"])
    nonzeros = table(lambda result: result.nonzeros)
    np.testing.assert_allclose(
        score_table(points, "bic", SIZE), -2 * 400 * log_likelihoods + np.log(400) * nonzeros
    )
    recall = table(lambda result: result.scores["recall"])
    np.testing.assert_allclose(score_table(points, "recall", SIZE), -recall)
    assert nonzeros[0, 0] > nonzeros[1, 0]

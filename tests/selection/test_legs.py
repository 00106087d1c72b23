"""A path in legs: fewer strengths as it goes on, one after another, around a target; a kill changes nothing."""

import os
import signal

import numpy as np
import pytest
from small_paths import VAE, course

from l1jax.selection.judging import SHOWN
from l1jax.selection.lanes import lane
from l1jax.selection.legs import Interrupted, Leg, read_rows, run_leg, train_leg
from l1jax.selection.search import Sizes, bisected, one_by_one, scores, together
from l1jax.transforms import strength

pytestmark = pytest.mark.usefixtures("one_device")

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)
SIZES = Sizes(400, 1000)


def same(a, b):
    """Whether two lists of points are one another's, to the last bit."""
    for left, right in zip(a, b, strict=True):
        assert (left.strength, left.trained) == (right.strength, right.trained)
        for own, other in zip(left.judged, right.judged, strict=True):
            assert own._replace(samples=None) == other._replace(samples=None)
            np.testing.assert_array_equal(own.samples, other.samples)


@pytest.fixture(scope="module")
def halved(tmp_path_factory):
    """A path that leaves half behind after half of the steps, judged by strength: weaker is taken to be better."""
    return together(course(tmp_path_factory.mktemp("halved")), STRENGTHS, 8, 1, by_strength)


def by_strength(points):
    return np.array([point.strength for point in points])


def test_the_better_half_trains_on(halved):
    assert [point.trained for point in halved] == [8, 8, 4, 4]
    zeros = [point.zeros for point in halved]
    assert zeros[0] < zeros[-1]
    assert halved[0].judged[0].samples.shape == (SHOWN, 8, 8, 1)


def test_who_stays_ends_as_without_halving(halved, tmp_path):
    whole = together(course(tmp_path), STRENGTHS[:2], 8)
    for a, b in zip(whole, halved, strict=False):
        assert a.zeros == pytest.approx(b.zeros, abs=1e-6)
        np.testing.assert_allclose(
            [own.scores["frechet_distance"] for own in a.judged],
            [own.scores["frechet_distance"] for own in b.judged],
            rtol=1e-4,
        )


class Killed(BaseException):
    pass


@pytest.mark.parametrize(("what", "call"), [("run", 2), ("run", 4)])
def test_a_kill_changes_nothing(halved, tmp_path, what, call):
    """In the middle of the first leg, and of the second, whose start is the judged first."""
    path, calls = course(tmp_path), []
    lanes = path.lanes

    def dying(kind, function):
        def called(*arguments):
            calls.append(kind)
            if calls.count(kind) == call and kind == what:
                raise Killed
            return function(*arguments)

        return called

    path = path._replace(
        lanes=lambda count: lanes(count)._replace(run=dying("run", lanes(count).run)),
        judge=path.judge._replace(judge=dying("judge", path.judge.judge)),
    )
    with pytest.raises(Killed):
        together(path, STRENGTHS, 8, 1, by_strength)
    same(together(course(tmp_path), STRENGTHS, 8, 1, by_strength), halved)


def test_a_signal_saves_and_the_same_call_goes_on(halved, tmp_path):
    path, leg = course(tmp_path), Leg("together-0", STRENGTHS, 0, 4)
    lanes = path.lanes

    def run_and_ask(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return lanes(4).run(*arguments)

    with pytest.raises(Interrupted) as stopped:
        run_leg(path._replace(lanes=lambda count: lanes(count)._replace(run=run_and_ask)), leg)
    assert stopped.value.signal == signal.SIGTERM
    assert read_rows(tmp_path / "together-0") is None
    assert int(train_leg(path._replace(lanes=lanes), leg._replace(last=2)).step) == 2, (
        "what was done is kept"
    )
    same(together(path, STRENGTHS, 8, 1, by_strength), halved)


def test_a_warm_leg_goes_on_from_the_one_before(tmp_path):
    path = course(tmp_path)
    points = one_by_one(path, (1e-2, 1.0), 4, warm=True, name="warm")
    first = Leg("warm-0", (1e-2,), 0, 4)
    second = Leg("warm-1", (1.0,), 4, 8, first)
    assert [point.trained for point in points] == [4, 4]
    states = train_leg(path, second)
    assert int(states.step) == 8
    assert float(strength(lane(states, 0, 0).generator.opt_state)) == 1.0
    assert points[1].zeros > points[0].zeros


@pytest.mark.slow
def test_the_target_is_found_between_two_strengths(tmp_path):
    path = course(tmp_path, VAE)
    points = together(path, (1e-2, 10.0), 8)
    more = bisected(path, points, lambda point: point.zeros >= 0.5, 8, 10.0)
    strengths = np.array([point.strength for point in more])
    beyond = np.array([point.zeros >= 0.5 for point in more])
    assert np.all(np.diff(strengths) > 0)
    assert len(more) > len(points)
    i = int(np.flatnonzero(beyond)[0])
    assert not beyond[i - 1]
    assert strengths[i] / strengths[i - 1] <= 10.0


def test_information_criteria_count_the_nonzeros(tmp_path):
    points = together(course(tmp_path, VAE), (1e-2, 1.0), 4)
    nats = np.array([[own.scores["log_likelihood"] for own in point.judged] for point in points])
    nonzeros = np.array([[own.nonzeros for own in point.judged] for point in points])
    np.testing.assert_allclose(
        scores(points, "bic", SIZES), -2 * 400 * nats + np.log(400) * nonzeros
    )
    np.testing.assert_allclose(
        scores(points, "recall", SIZES), [[-j.scores["recall"] for j in p.judged] for p in points]
    )
    assert nonzeros[0, 0] > nonzeros[1, 0]

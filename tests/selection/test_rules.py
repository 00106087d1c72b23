"""Rules on tables of scores written by hand."""

import numpy as np
import pytest

from l1jax.config import InputError
from l1jax.selection import (
    bisect_strength,
    halving_survivors,
    minimum,
    one_standard_error,
    summarize_scores,
    target_sparsity,
    within_tolerance,
)
from l1jax.selection.rules import with_end_of_path

NAN, INF = np.nan, np.inf
STRENGTHS = np.array([1e-4, 1e-3, 1e-2, 1e-1])
SCORES = np.array(
    [[3.0, 5.0], [1.0, 3.0], [2.5, 3.0], [6.0, 7.0]]
)  # means 4, 2, 2.75, 6.5; error of the best 1


def test_summary_is_mean_and_standard_error():
    mean, error = summarize_scores(SCORES)
    np.testing.assert_allclose(mean, [4, 2, 2.75, 6.5])
    np.testing.assert_allclose(error, [1, 1, 0.25, 0.5])
    mean, error = summarize_scores([[1.0, NAN], [1.0, INF], [1.0, 1.0]])
    np.testing.assert_array_equal(np.isnan(mean), [True, True, False])
    assert np.isnan(summarize_scores([1.0, 2.0]).standard_error).all()


def test_minimum_and_one_standard_error():
    assert minimum(SCORES, STRENGTHS)[:3] == (1, 1e-3, "minimum")
    assert one_standard_error(SCORES, STRENGTHS)[:3] == (2, 1e-2, "one standard error")


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
@pytest.mark.parametrize("rule", [minimum, one_standard_error])
def test_a_score_that_is_not_finite_is_never_chosen(rule, bad):
    table = SCORES.copy()
    table[1:3, 1] = bad
    assert rule(table, STRENGTHS).index == 0
    with pytest.raises(InputError, match="`scores` must be finite"):
        rule(np.full((4, 2), bad), STRENGTHS)


@pytest.mark.parametrize("rule", [minimum, one_standard_error])
def test_equal_scores_choose_the_strongest_and_say_so(rule):
    table = np.array([[1.0, 2.0]] * 4) * (1 + np.array([[0, 2e-16, 0, 4e-16]]).T)
    table[3] = NAN
    choice = rule(table, STRENGTHS)
    assert choice.index == 2
    assert "do not tell the strengths apart" in choice.reason
    assert rule([[2.0, 2.0], [1.0, 1.0], [1.0, 1.0], [3.0, 3.0]], STRENGTHS).index == 2


def test_the_least_score_at_an_end_of_the_path_is_said():
    assert "weakest of the path" in minimum([1, 2, 3, 4.0], STRENGTHS).reason
    assert "strongest of the path" in minimum([4, 3, 2, 1.0], STRENGTHS).reason
    assert "path" not in minimum(SCORES, STRENGTHS).reason


@pytest.mark.parametrize("rule", [minimum, one_standard_error])
def test_nothing_is_weaker_than_no_penalty(rule):
    table = [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]
    assert rule(table, [0.0, 0.1, 0.2]).index == 0
    assert "path" not in minimum(table, [0.0, 0.1, 0.2]).reason
    assert "weakest of the path" in minimum(table, [0.05, 0.1, 0.2]).reason


def test_the_only_finite_score_is_no_least():
    for index in range(3):
        choice = minimum([5.0 if i == index else NAN for i in range(3)], STRENGTHS[:3])
        assert choice.index == index
        assert choice.reason == "the only score that is finite, 5"


def test_beyond_a_model_without_coefficients_lies_nothing():
    choice = minimum([4, 3, 2, 1.0], STRENGTHS)
    assert with_end_of_path(choice, False) == choice
    assert with_end_of_path(choice, True)[:3] == choice[:3]
    assert "all that it penalises is 0" in with_end_of_path(choice, True).reason
    assert "may lie beyond" not in with_end_of_path(choice, True).reason
    inner = minimum(SCORES, STRENGTHS)
    assert with_end_of_path(inner, True) == inner


def test_one_score_each_has_no_standard_error():
    with pytest.raises(InputError, match="at least two folds or seeds"):
        one_standard_error(SCORES[:, :1], STRENGTHS)


def test_target_sparsity_takes_the_weakest_that_reaches_it():
    zeros = [0.1, NAN, 0.9, 0.95]
    assert target_sparsity(zeros, STRENGTHS, 0.9).index == 2
    assert target_sparsity(zeros, STRENGTHS, 0.0).index == 0
    with pytest.raises(
        InputError, match=r"must reach 99.00% zeros, but have at most 95.00%: take stronger"
    ):
        target_sparsity(zeros, STRENGTHS, 0.99)
    with pytest.raises(InputError, match="`sparsity`"):
        target_sparsity(zeros, STRENGTHS, 90.0)


@pytest.mark.parametrize(
    ("sign", "tolerance", "index"), [(1, 0.05, 1), (1, 0.5, 2), (1, 9.0, 3), (-1, 0.5, 2)]
)
def test_within_tolerance_takes_the_strongest_that_is(sign, tolerance, index):
    scores = np.array([2.0, 2.1, 2.9, 6.0]) if sign > 0 else np.array([-2.0, -1.9, -1.1, NAN])
    assert within_tolerance(scores, STRENGTHS, sign * 2.0, tolerance).index == index


def test_a_tolerance_that_no_strength_keeps_is_refused():
    with pytest.raises(InputError, match="take weaker"):
        within_tolerance(SCORES, STRENGTHS, 1.0, 0.05)
    with pytest.raises(InputError, match="`dense`"):
        within_tolerance(SCORES, STRENGTHS, NAN, 0.05)


@pytest.mark.parametrize("target", [2e-4, 0.0314, 0.9])
def test_bisection_brackets_the_target_with_few_calls(target):
    asked = []
    low, high = bisect_strength(
        lambda s: not asked.append(s) and s >= target, 1e-4, 1.0, ratio=1.01
    )
    assert low < target <= high <= 1.01 * low
    assert len(asked) == np.ceil(np.log2(np.log(1e4) / np.log(1.01)))  # the logarithm's halves
    with pytest.raises(InputError, match="0 < low < high"):
        bisect_strength(lambda s: True, 1.0, 0.5)


def test_halving_survivors_are_the_best_and_never_a_nan():
    np.testing.assert_array_equal(halving_survivors(SCORES, 2), [False, True, True, False])
    np.testing.assert_array_equal(
        halving_survivors([NAN, 2.0, NAN, 1.0], 3), [False, True, False, True]
    )
    np.testing.assert_array_equal(
        halving_survivors([1.0, 1.0, 1.0, 2.0], 2), [False, True, True, False]
    )
    with pytest.raises(InputError, match="`keep`"):
        halving_survivors(SCORES, 0)
    with pytest.raises(InputError, match="finite"):
        halving_survivors([NAN, NAN], 1)


def test_tables_must_have_a_row_for_each_strength():
    with pytest.raises(InputError, match="of 4 strengths"):
        minimum(SCORES, STRENGTHS[:3])
    with pytest.raises(InputError, match="must increase"):
        minimum(SCORES, STRENGTHS[::-1])

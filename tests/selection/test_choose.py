"""From scored points to a strength, and what a model can be scored by."""

import json
import math

import numpy as np
import pytest

from l1jax.config import InputError
from l1jax.models import mlp_gan, vae
from l1jax.models.flow import flow_mlp
from l1jax.selection import choose as choose_module
from l1jax.selection.choose import (
    ChoiceRule,
    agree_on_choices,
    check_allowed_loss,
    check_criterion,
    choose,
)
from l1jax.selection.fold_scores import FoldResult, from_json, to_json
from l1jax.selection.score_table import ModelSize, PathPoint

SIZE = ModelSize(100, 50)


def point(strength, scores, zeros=0.5, trained=10, nonzeros=20):
    folds = [
        FoldResult(
            strength,
            zeros,
            {"kernel": (3, 4)},
            nonzeros,
            {"kernel_distance": score, "log_likelihood": -score},
            np.zeros((1, 1, 1, 1)),
        )
        for score in scores
    ]
    return PathPoint(strength, trained, folds)


POINTS = [
    point(0.0, [1.0, 1.2], 0.0),
    point(0.1, [0.9, 1.1], 0.3),
    point(0.2, [1.0, 1.15], 0.6),
    point(0.4, [math.nan, 0.1], 0.8),  # diverged on one fold
    point(0.8, [0.2, 0.2], 0.95, trained=5),  # stopped early
]


def chosen(rule, points=POINTS):
    return choose(points, rule, SIZE, 10).chosen.strength


def test_a_strength_that_diverged_or_was_stopped_is_never_chosen():
    assert chosen(ChoiceRule("kernel_distance", "minimum", 0, 0)) == 0.1
    assert (
        chosen(ChoiceRule("kernel_distance", "one-standard-error", 0, 0)) == 0.2
    )  # 1.075 ≤ 1.0 + 0.1


@pytest.mark.parametrize("num_folds", [1, 2])
def test_other_processes_take_the_choices_of_process_0(monkeypatch, num_folds):
    """The exchange is replaced: process 0 has chosen, and process 1 has other scores."""
    rule = ChoiceRule("kernel_distance", "one-standard-error", 0, 0)
    of_process_0 = [p._replace(folds=p.folds[:num_folds]) for p in POINTS]
    expected = choose(of_process_0, rule, SIZE, 10)
    assert (expected.one_standard_error is None) == (num_folds == 1)
    sent = []

    def lead_in_process_0(action):
        sent.append(json.dumps(action()))
        return json.loads(sent[0])

    monkeypatch.setattr(choose_module, "lead", lead_in_process_0)
    assert agree_on_choices(lambda: choose(of_process_0, rule, SIZE, 10)) == expected

    def refuse():
        raise AssertionError("process 1 must not choose")

    monkeypatch.setattr(choose_module, "lead", lambda action: json.loads(sent[0]))
    assert agree_on_choices(refuse) == expected


def test_targets_come_before_the_rule():
    assert chosen(ChoiceRule("kernel_distance", "minimum", 0.6, 0)) == 0.2
    assert chosen(ChoiceRule("kernel_distance", "minimum", 0, 0.01)) == 0.2  # 1.075 ≤ 1.1 · 1.01
    with pytest.raises(InputError, match=r"must reach 70\.00% zeros, but have at most 60\.00%"):
        chosen(ChoiceRule("kernel_distance", "minimum", 0.7, 0))
    with pytest.raises(InputError, match="without --no-dense"):
        chosen(ChoiceRule("kernel_distance", "minimum", 0, 0.01), POINTS[1:])


def test_a_target_out_of_reach_is_refused_with_what_was_kept():
    rule = ChoiceRule("kernel_distance", "minimum", 0, 0.01)
    with pytest.raises(InputError, match=r"the dense model, which has no finite score.*is kept"):
        chosen(rule, [point(0.0, [math.nan, 1.0]), *POINTS[1:]])
    with pytest.raises(
        InputError, match=r"a share of the dense model's score, which is 0.*is kept"
    ):
        chosen(rule, [point(0.0, [0.0, 0.0]), *POINTS[1:]])
    with pytest.raises(InputError, match=r"take stronger ones\. All that was trained is kept"):
        chosen(ChoiceRule("kernel_distance", "minimum", 0.7, 0))


def test_nothing_lies_beyond_a_strength_that_leaves_only_zeros():
    for zeros, says in ((0.9, "may lie beyond"), (1.0, "all that it penalises is 0")):
        points = [point(0.1, [2.0, 2.1]), point(0.2, [1.0, 1.1], zeros)]
        assert (
            says
            in choose(
                points, ChoiceRule("kernel_distance", "minimum", 0, 0), SIZE, 10
            ).chosen.reason
        )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"criterion": "bic", "described": "bic"},
            "the criterion is bic: such a score has no zero",
        ),
        (
            {"criterion": "kernel_distance", "described": "its default"},
            "the criterion is its default: .*frechet_distance",
        ),
        ({"has_dense": False}, "with --no-dense.*let --strengths begin with 0"),
        ({"has_halvings": True}, "with --halvings"),
    ],
)
def test_a_tolerance_without_a_meaning_is_refused(change, says):
    given = {
        "criterion": "recall",
        "described": "recall",
        "has_dense": True,
        "has_halvings": False,
    } | change
    rule = ChoiceRule(given.pop("criterion"), "minimum", 0, 0.1)
    with pytest.raises(InputError, match=rf"`--worse` \(=0.1\) must be 0 .*{says}"):
        check_allowed_loss(rule, given.pop("described"), **given)
    for criterion in ("recall", "coverage", "frechet_distance"):
        rule = ChoiceRule(criterion, "minimum", 0, 0.1)
        check_allowed_loss(rule, criterion, has_dense=True, has_halvings=False)


def test_information_criteria_take_the_least_and_weigh_the_nonzeros():
    points = [point(0.1, [1.0], nonzeros=40), point(0.2, [1.1], nonzeros=20)]
    # 2·100·0.1 = 20 nats more, against 20 parameters fewer: 40 of AIC, 20·log 100 = 92 of BIC
    assert chosen(ChoiceRule("aic", "one-standard-error", 0, 0), points) == 0.2
    worse = [point(0.1, [1.0], nonzeros=40), point(0.2, [1.3], nonzeros=20)]  # 60 more
    assert chosen(ChoiceRule("aic", "one-standard-error", 0, 0), worse) == 0.1
    assert chosen(ChoiceRule("bic", "one-standard-error", 0, 0), worse) == 0.2


def test_what_a_model_is_scored_by():
    gan, autoencoder = mlp_gan((8, 8, 1), 4, (8,), (8,)), vae((8, 8, 1), 4, (8,))
    assert check_criterion("default", gan) == "kernel_distance"
    assert check_criterion("default", autoencoder) == "log_likelihood"
    assert check_criterion("bic", autoencoder) == "bic"
    assert check_criterion("bic", flow_mlp((8, 8, 1), (8,))) == "bic"
    for criterion in ("aic", "ebic", "log_likelihood"):
        with pytest.raises(InputError, match=f"={criterion}.*a GAN has none.*Take kernel_distance"):
            check_criterion(criterion, gan)


@pytest.mark.parametrize("criterion", ["log_likelihood", "bic"])
def test_a_path_without_a_likelihood_is_not_chosen_from_by_it(criterion):
    scores = {"kernel_distance": 1.0}
    without = point(0.2, [1.0])
    without = without._replace(folds=[without.folds[0]._replace(scores=scores)])
    points = [point(0.1, [1.0]), without]
    with pytest.raises(
        InputError, match=rf"`--criterion` \(={criterion}\) needs the log_likelihood"
    ):
        chosen(ChoiceRule(criterion, "minimum", 0, 0), points)
    assert chosen(ChoiceRule("kernel_distance", "minimum", 0, 0), points) == 0.2


def test_a_result_comes_back_from_json():
    result = point(0.1, [math.nan]).folds[0]
    values = to_json(result)
    assert values["scores"]["kernel_distance"] is None
    restored = from_json(values, result.samples)
    assert math.isnan(restored.scores["kernel_distance"])
    assert restored._replace(scores=None) == result._replace(scores=None)

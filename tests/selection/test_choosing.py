"""From judged points to a strength, and what a model can be judged by."""

import math

import numpy as np
import pytest

from l1jax.config import InputError
from l1jax.models import mlp_gan, vae
from l1jax.selection.choosing import Rule, check_criterion, choose
from l1jax.selection.judging import Judged, from_json, to_json
from l1jax.selection.search import Point, Sizes

SIZES = Sizes(100, 50)


def point(strength, scores, zeros=0.5, trained=10, nonzeros=20):
    judged = [
        Judged(
            strength,
            zeros,
            {"kernel": (3, 4)},
            nonzeros,
            {"kernel_distance": s, "log_likelihood": -s},
            np.zeros((1, 1, 1, 1)),
        )
        for s in scores
    ]
    return Point(strength, trained, judged)


POINTS = [
    point(0.0, [1.0, 1.2], 0.0),
    point(0.1, [0.9, 1.1], 0.3),
    point(0.2, [1.0, 1.15], 0.6),
    point(0.4, [math.nan, 0.1], 0.8),  # diverged on one fold
    point(0.8, [0.2, 0.2], 0.95, trained=5),  # left behind
]


def chosen(rule, points=POINTS):
    return choose(points, rule, SIZES, 10).chosen.strength


def test_one_that_diverged_or_was_left_behind_is_never_chosen():
    assert chosen(Rule("kernel_distance", "minimum", 0, 0)) == 0.1
    assert chosen(Rule("kernel_distance", "one-standard-error", 0, 0)) == 0.2  # 1.075 ≤ 1.0 + 0.1


def test_targets_come_before_the_rule():
    assert chosen(Rule("kernel_distance", "minimum", 0.6, 0)) == 0.2
    assert chosen(Rule("kernel_distance", "minimum", 0, 0.01)) == 0.2  # 1.075 ≤ 1.1 · 1.01
    with pytest.raises(InputError, match=r"must reach 70\.00% zeros, but have at most 60\.00%"):
        chosen(Rule("kernel_distance", "minimum", 0.7, 0))
    with pytest.raises(InputError, match="without --no-dense"):
        chosen(Rule("kernel_distance", "minimum", 0, 0.01), POINTS[1:])


def test_information_criteria_take_the_least_and_weigh_the_nonzeros():
    points = [point(0.1, [1.0], nonzeros=40), point(0.2, [1.1], nonzeros=20)]
    # 2·100·0.1 = 20 nats more, against 20 parameters fewer: 40 of AIC, 20·log 100 = 92 of BIC
    assert chosen(Rule("aic", "one-standard-error", 0, 0), points) == 0.2
    worse = [point(0.1, [1.0], nonzeros=40), point(0.2, [1.3], nonzeros=20)]  # 60 more
    assert chosen(Rule("aic", "one-standard-error", 0, 0), worse) == 0.1
    assert chosen(Rule("bic", "one-standard-error", 0, 0), worse) == 0.2


def test_what_a_model_is_judged_by():
    gan, autoencoder = mlp_gan((8, 8, 1), 4, (8,), (8,)), vae((8, 8, 1), 4, (8,))
    assert check_criterion("default", gan) == "kernel_distance"
    assert check_criterion("default", autoencoder) == "log_likelihood"
    assert check_criterion("bic", autoencoder) == "bic"
    for criterion in ("aic", "ebic", "log_likelihood"):
        with pytest.raises(InputError, match=f"={criterion}.*a GAN has none.*Take kernel_distance"):
            check_criterion(criterion, gan)


def test_what_is_judged_comes_back_from_json():
    judged = point(0.1, [math.nan]).judged[0]
    values = to_json(judged)
    assert values["scores"]["kernel_distance"] is None
    found = from_json(values, judged.samples)
    assert math.isnan(found.scores["kernel_distance"])
    assert found._replace(scores=None) == judged._replace(scores=None)

"""A classifier that may be no better than guessing is not used."""

from fractions import Fraction
from math import comb

import pytest

from l1jax.evaluation.chance import guessing_probability, near_chance_warning
from l1jax.evaluation.classifier import Classifier


def tail(right, n, p):
    """Σ C(n, k) pᵏ (1 − p)ⁿ⁻ᵏ over k ≥ right, exactly."""
    return sum(comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(right, n + 1))


@pytest.mark.parametrize(
    ("right", "n", "p"),
    [
        (3, 3, Fraction(1, 2)),
        (1, 10, Fraction(1, 10)),
        (40, 180, Fraction(1, 10)),
        (900, 1_316, Fraction(18, 25)),
    ],
)
def test_the_probability_is_the_binomial_tail(right, n, p):
    assert guessing_probability(right, n, float(p)) == pytest.approx(
        float(tail(right, n, p)), rel=1e-9
    )


def test_nothing_right_and_one_class_alone_prove_nothing():
    assert guessing_probability(0, 10, 0.5) == 1
    assert guessing_probability(10, 10, 1.0) == 1


def classifier(right, held_out, classes, chance=None):
    accuracy = right / held_out
    return Classifier({}, classes, (8, 8, 1), accuracy, "", held_out, chance or 1 / classes)


@pytest.mark.parametrize(
    ("trained", "used"),
    [
        (classifier(170, 180, 10), True),
        (classifier(18, 180, 10), False),  # just as guessing
        (classifier(31, 180, 10), False),  # P(X ≥ 31) = .00195
        (classifier(33, 180, 10), True),  # P(X ≥ 33) = .00047
        (classifier(9, 9, 2), False),  # P(X = 9) = .00195
        (classifier(10, 10, 2), True),  # P(X = 10) = .00098
        (
            classifier(950, 1_316, 2, 0.72),
            False,
        ),  # as always saying the more frequent class, 947.5 on average
        (classifier(1_100, 1_316, 2, 0.72), True),
    ],
)
def test_it_is_used_if_guessing_reaches_it_with_a_probability_of_at_most_a_thousandth(
    trained, used
):
    right = round(trained.accuracy * trained.held_out)
    probability = float(
        tail(right, trained.held_out, Fraction(trained.chance).limit_denominator(1_000))
    )
    assert (probability <= 1e-3) == used
    said = near_chance_warning(trained)
    assert (said == "") == used
    if not used:
        assert f"{right:,} of {trained.held_out:,} held-out images correctly" in said
        assert said.endswith(".")
        assert "\n" not in said

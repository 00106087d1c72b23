"""Grids of strengths, and what is no grid."""

import numpy as np
import pytest
from sklearn.datasets import load_diabetes
from sklearn.linear_model import ElasticNetCV, LassoCV

import l1jax
from l1jax.config import InputError
from l1jax.selection import linear_strengths, parse_strengths, strength_grid

X, Y = load_diabetes(return_X_y=True)


def test_a_grid_has_equal_ratios_and_both_ends():
    np.testing.assert_allclose(strength_grid(1e-6, 1e-3, 8), np.logspace(-6, -3, 8), rtol=1e-12)
    np.testing.assert_array_equal(parse_strengths("1e-6:1e-3:8"), strength_grid(1e-6, 1e-3, 8))
    np.testing.assert_array_equal(parse_strengths("0, 1e-4,2e-4"), [0, 1e-4, 2e-4])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1e-4", "at least two"),
        ("1e-6:1e-3:1", "at least two"),
        ("-1e-4,1e-3", "at least 0"),
        ("-1:1:3", "greater than 0"),
        ("0:1:3", "greater than 0"),
        ("nan,1", "finite"),
        ("1:nan:3", "finite"),
        ("1,inf", "finite"),
        ("1e-3,1e-4", "must increase.*0.0001,0.001"),
        ("1,1", "must increase"),
        ("1e-3:1e-6:8", "from low to high: 1e-06:0.001:8"),
        ("weak,strong", "must be numbers"),
        ("1:2:3.5", "must be numbers"),
        ("", "must be numbers"),
        ("1:2", "three parts"),
    ],
)
def test_what_is_no_path_is_refused_with_the_remedy(text, says):
    with pytest.raises(InputError, match=rf"`strengths` .*{says}"):
        parse_strengths(text)


@pytest.mark.parametrize("shift", [0.0, 100.0])
def test_grid_of_a_linear_model_is_scikit_learns(shift):
    lasso = LassoCV(alphas=10, cv=2).fit(X + shift, Y)
    np.testing.assert_allclose(
        linear_strengths(X + shift, Y, count=10)[::-1], lasso.alphas_, rtol=1e-8
    )


def test_grid_of_an_elastic_net_is_scikit_learns():
    net = ElasticNetCV(alphas=10, l1_ratio=0.3, eps=1e-2, cv=2, fit_intercept=False).fit(X, Y)
    own = linear_strengths(X, Y, l1jax.elastic_net(0.3, 0.7), count=10, eps=1e-2, intercept=False)
    np.testing.assert_allclose(own[::-1], net.alphas_, rtol=1e-8)


def test_a_ratio_that_is_none_is_refused():
    with pytest.raises(InputError, match="`eps`"):
        linear_strengths(X, Y, eps=2.0)

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from catalogue import DISTANCE, PROX, VALUE

import l1jax

ALLOWED = [
    (l1jax.l2(1.0),),
    (l1jax.l2(1.0), l1jax.l2(2.0), l1jax.l1(0.5)),
    (l1jax.elastic_net(0.5, 3.0),),
    (l1jax.elastic_net(0.5, 3.0), l1jax.group_l1(1.0, 0)),
    (l1jax.weighted_l1(0.5, 2.0), l1jax.group_l1(1.0, 0)),
    (l1jax.nonnegative_l1(0.5), l1jax.l2(1.0)),
    (l1jax.sparse_group_l1(0.5, 1.0, 0), l1jax.l2(1.0)),
    (l1jax.sum_of(l1jax.l1(0.5), l1jax.l2(1.0)), l1jax.group_l1(1.0, 0)),
    (l1jax.l2(1.0), l1jax.l0(1.0)),
    (l1jax.l1_ball(1.0), l1jax.l2(1.0)),
    (l1jax.group_mcp(1.0, 3.0, 0), l1jax.l2(1.0)),
]
REFUSED = [
    (),
    (l1jax.l1(1.0), l1jax.l1(2.0)),
    (l1jax.l1(1.0), l1jax.mcp(1.0, 3.0)),
    (l1jax.l1(1.0), l1jax.l0(1.0)),
    (l1jax.nonnegative_l1(1.0), l1jax.l1(1.0)),
    (l1jax.group_l1(1.0, 0), l1jax.group_l1(1.0, 1)),
    (l1jax.sparse_group_l1(1.0, 1.0, 0), l1jax.l1(1.0)),
    (l1jax.linf(1.0), l1jax.l1(1.0)),
    (l1jax.l1_ball(1.0), l1jax.group_l1(1.0, 0)),
    (l1jax.group_mcp(1.0, 3.0, 0), l1jax.l1(1.0)),
    (l1jax.by_path({"x": l1jax.l1(1.0)}), l1jax.l2(1.0)),
]


@pytest.mark.parametrize("penalties", ALLOWED, ids=lambda p: "+".join(type(q).__name__ for q in p))
def test_value_is_the_sum_in_either_order(penalties):
    x = np.array([0.2, 0.1, 0.3], np.float32)
    expected = sum(float(VALUE(penalty, x)) for penalty in penalties)
    for order in (penalties, penalties[::-1]):
        np.testing.assert_allclose(VALUE(l1jax.sum_of(*order), x), expected, rtol=1e-6)
    assert jax.tree.leaves(l1jax.sum_of(*penalties)) == jax.tree.leaves(
        l1jax.sum_of(*penalties[::-1])
    )


@pytest.mark.parametrize(
    "penalties", REFUSED, ids=lambda p: "+".join(type(q).__name__ for q in p) or "none"
)
def test_sums_without_a_closed_form_are_refused_by_name(penalties):
    names = r" \+ ".join(type(penalty).__name__ for penalty in penalties) or "none"
    with pytest.raises(
        ValueError, match=rf"`penalties` \(={names}\) must have a prox in closed form"
    ):
        l1jax.sum_of(*penalties)


def test_sum_is_the_elastic_net_and_the_sparse_group_lasso():
    x, step = np.random.default_rng(0).normal(size=(2, 4, 5)).astype(np.float32) ** 2
    pairs = (
        (l1jax.sum_of(l1jax.l1(0.3), l1jax.l2(0.7)), l1jax.elastic_net(0.3, 0.7)),
        (l1jax.sum_of(l1jax.l1(0.1), l1jax.group_l1(0.2, 0)), l1jax.sparse_group_l1(0.1, 0.2, 0)),
    )
    for left, right in pairs:
        np.testing.assert_allclose(PROX(left, x, step), PROX(right, x, step), rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(DISTANCE(left, x, step), DISTANCE(right, x, step), rtol=1e-5)


def test_strengths_of_a_sum_trace():
    @jax.jit
    def prox(strength):
        return l1jax.sum_of(l1jax.l1(strength), l1jax.l2(strength)).prox(jnp.array([4.0, 0.5]), 1.0)

    np.testing.assert_allclose(prox(1.0), [1.5, 0.0])

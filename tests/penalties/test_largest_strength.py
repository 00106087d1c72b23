"""The start of a path: against closed forms, and against solving just above and just below."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import (
    DESIGNS,
    ELASTIC_NET,
    FEATURES,
    GROUP_LASSO,
    LASSO,
    LOGISTIC,
    SPARSE_GROUP_LASSO,
)

import l1jax
from l1jax.penalties import scaled

pytestmark = pytest.mark.usefixtures("x64")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 6)) @ np.diag([1.0, 2.0, 0.5, 1.0, 3.0, 1.0])
Y = X @ np.array([1.0, 0, 0, -2.0, 0.3, 0]) + 5.0 + RNG.normal(size=40)
CENTRED = np.abs(X.T @ (Y - Y.mean()) / 40)  # the gradient at zero once the intercept is fitted
PARAMS = {"bias": np.array(-3.0), "kernel": np.ones(6)}


def squares(params):
    return jnp.mean(jnp.square(X @ params["kernel"] + params["bias"] - Y)) / 2


def logistic(params):
    return jnp.mean(
        jnp.logaddexp(0, -jnp.where(Y > 6, 1, -1) * (X @ params["kernel"] + params["bias"]))
    )


def on_kernel(penalty):
    return l1jax.by_path({"kernel": penalty})


@pytest.mark.parametrize(
    ("penalty", "expected"),
    [
        (l1jax.l1(1.0), CENTRED.max()),
        (l1jax.l1(0.02), CENTRED.max()),  # how large the given strength is makes no difference
        (l1jax.elastic_net(1.0, 7.0), CENTRED.max()),
        (l1jax.sum_of(l1jax.l2(7.0), l1jax.l1(0.5)), CENTRED.max()),
        (l1jax.nonnegative_l1(1.0), (X.T @ (Y - Y.mean()) / 40).max()),
        (l1jax.weighted_l1(1.0, np.arange(1.0, 7.0)), (CENTRED / np.arange(1.0, 7.0)).max()),
        (l1jax.group_l1(1.0, 0), np.sqrt(np.square(CENTRED).sum() / 6)),
        (l1jax.mcp(1.0, 3.0), CENTRED.max()),
        (l1jax.log_sum(1.0, 0.1), 0.1 * CENTRED.max()),
        (l1jax.linf(1.0), CENTRED.sum()),
    ],
    ids=lambda p: type(p).__name__,
)
def test_dual_norm_of_the_gradient_with_the_intercept_fitted(penalty, expected):
    actual = l1jax.largest_strength(squares, PARAMS, on_kernel(penalty))
    assert type(actual) is float
    np.testing.assert_allclose(actual, expected, rtol=1e-9)


def test_sparse_group_keeps_the_ratio_of_its_strengths():
    actual = l1jax.largest_strength(squares, PARAMS, on_kernel(l1jax.sparse_group_l1(1.0, 0.5, 0)))
    grid = np.linspace(0, CENTRED.max(), 400001)[1:]
    left = np.sqrt(np.square(np.maximum(CENTRED - grid[:, None], 0)).sum(-1))
    np.testing.assert_allclose(actual, grid[np.argmax(left <= 0.5 * grid * np.sqrt(6))], rtol=1e-4)


@pytest.mark.parametrize("rows", DESIGNS)
@pytest.mark.parametrize("family", [LASSO, ELASTIC_NET, GROUP_LASSO, SPARSE_GROUP_LASSO, LOGISTIC])
def test_exact_solvers_find_zero_from_there_on_only(family, rows):
    (x, y) = DESIGNS[rows]
    zeros = np.zeros(FEATURES)
    loss = family.loss(x, y)
    largest = l1jax.largest_strength(
        lambda w: loss.value(w, loss.data), zeros, family.penalty(1.0).penalty
    )
    assert not family.solve(x, y, 1.0001 * largest, zeros).any()
    assert family.solve(x, y, 0.9999 * largest, zeros).any()


def test_without_free_leaves_and_with_float32_parameters():
    def loss(w):
        return jnp.mean(jnp.square(X @ w - Y)) / 2

    np.testing.assert_allclose(
        l1jax.largest_strength(loss, jnp.ones(6), l1jax.l1(1.0)),
        np.abs(X.T @ Y / 40).max(),
        rtol=1e-12,
    )
    single = jax.tree.map(np.float32, PARAMS)
    actual = l1jax.largest_strength(squares, single, on_kernel(l1jax.l1(1.0)))
    np.testing.assert_allclose(actual, CENTRED.max(), rtol=1e-5)


def test_logistic_regression_is_all_zero_from_there_on_only():
    largest = l1jax.largest_strength(logistic, PARAMS, on_kernel(l1jax.l1(1.0)))
    share = (Y > 6).mean()  # the fitted intercept predicts the share of each class
    np.testing.assert_allclose(largest, np.abs(X.T @ ((Y > 6) - share) / 40).max(), rtol=1e-8)

    @jax.jit
    def solve(strength):
        def step(params, _):
            grads = jax.grad(logistic)(params)
            moved = jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)
            return on_kernel(l1jax.l1(strength)).prox(moved, 0.1), None

        return jax.lax.scan(step, PARAMS, length=20000)[0]

    assert not np.any(solve(1.001 * largest)["kernel"])
    assert np.count_nonzero(solve(0.999 * largest)["kernel"]) == 1


@pytest.mark.slow
def test_softmax_regression_with_a_singular_curvature():
    labels = np.digitize(Y, [3, 6, 9])

    def loss(params):
        logits = X @ params["kernel"] + params["bias"]
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1))

    params = {"bias": jnp.zeros(4), "kernel": jnp.zeros((6, 4))}
    shares = np.bincount(labels, minlength=4) / 40
    grads = X.T @ (shares - np.eye(4)[labels]) / 40
    actual = l1jax.largest_strength(loss, params, on_kernel(l1jax.group_l1(1.0, 1)))
    np.testing.assert_allclose(actual, np.sqrt(np.square(grads).sum(1) / 4).max(), rtol=1e-8)


@pytest.mark.parametrize(
    ("penalty", "message"),
    [
        (
            l1jax.l0(1.0),
            "at zero for any strength; give the strengths yourself, or let `track_sparsity`",
        ),
        (l1jax.l_half(1.0), "LHalf, which has a stationary point at zero"),
        (l1jax.l2(1.0), "L2, which gives no zeros at any strength"),
        (l1jax.sum_of(l1jax.l2(1.0)), "L2, which gives no zeros at any strength"),
        (l1jax.sum_of(l1jax.l2(1.0), l1jax.l0(1.0)), "L0, which has a stationary point"),
        (l1jax.l1_ball(1.0), "L1Ball, which has a radius, no strength"),
        (l1jax.l1(0.0), "`penalty` must have a strength greater than 0"),
        (
            l1jax.weighted_l1(1.0, np.arange(6.0)),
            "`penalty` must penalise every entry of its leaves",
        ),
    ],
    ids=lambda p: type(p).__name__,
)
def test_penalties_without_a_largest_strength(penalty, message):
    with pytest.raises(ValueError, match=message):
        l1jax.largest_strength(squares, PARAMS, on_kernel(penalty))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("activation", "pattern"),
    [
        (jnp.tanh, "kernel"),
        pytest.param(jnp.tanh, "0/kernel", marks=pytest.mark.slow),
        pytest.param(jax.nn.softplus, "1/kernel", marks=pytest.mark.slow),
        (jax.nn.relu, "kernel"),
        (jax.nn.relu, "."),
    ],
)
def test_networks_with_hidden_layers_are_refused(activation, pattern):
    rng = np.random.default_rng(1)
    params = [
        {"kernel": rng.normal(size=(6, 5)), "bias": rng.normal(size=5)},
        {"kernel": rng.normal(size=5), "bias": np.array(0.0)},
    ]

    def loss(params):
        hidden = activation(X @ params[0]["kernel"] + params[0]["bias"])
        return jnp.mean(jnp.square(hidden @ params[1]["kernel"] + params[1]["bias"] - Y))

    with pytest.raises(
        ValueError, match=r"`loss` must .*give the strengths yourself, or let `track_sparsity`"
    ):
        l1jax.largest_strength(loss, params, l1jax.by_path({pattern: l1jax.l1(1.0)}))


def test_a_loss_without_a_minimum_is_refused():
    with pytest.raises(ValueError, match="must have a minimum over the leaves without a penalty"):
        l1jax.largest_strength(
            lambda p: (
                squares({"kernel": p["kernel"], "bias": 0.0}) + jnp.exp(p["bias"]) + 30 * p["bias"]
            ),
            PARAMS,
            on_kernel(l1jax.l1(1.0)),
        )
    assert scaled(l1jax.l1(2.0), 3).strength == 6

"""A path of any model: together, independent and warm give the numbers of other solvers."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from fast_cases import slow_except
from sklearn.datasets import load_digits
from sklearn.linear_model import Lasso

import l1jax
from l1jax.config import InputError
from l1jax.selection import make_folds, minimum, stratified_folds, train_path

STRENGTHS = np.geomspace(0.02, 1.0, 4)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 8))
Y = X[:, :2].sum(axis=1) + 0.5 * RNG.normal(size=60)
FOLD = np.arange(60) % 3


class State(NamedTuple):
    params: dict
    opt_state: optax.OptState


def regression():
    """A linear model trained by accelerated proximal gradients, on the examples of a fold."""
    tx = l1jax.accelerated(0.2, l1jax.by_path({"slopes": l1jax.l1(1.0)}))

    def residuals(params):
        return jnp.asarray(X) @ params["slopes"] + params["intercept"] - jnp.asarray(Y)

    def init(key):
        params = {"slopes": jax.random.normal(key, (8,), float), "intercept": jnp.zeros(())}
        return State(params, tx.init(params))

    def step(state, fold, key):
        grads = jax.grad(lambda p: jnp.mean(jnp.square(residuals(p)) / 2, where=fold.training))(
            state.params
        )
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        return State(optax.apply_updates(state.params, updates), opt_state)

    def score(state, fold):
        solution = l1jax.solution(state.opt_state, state.params)
        squares = jnp.square(residuals(solution))
        return {"score": jnp.mean(squares, where=fold.held_out), "slopes": solution["slopes"]}

    return init, step, score


WAYS = {
    "together": {},
    "independent": {"how": "independent"},
    "warm": {"how": "warm"},
    "warm, sparse to dense": {"how": "warm", "order": "sparse-to-dense"},
    "three devices": {"devices": jax.devices()[:3]},  # which do not divide the strengths
}


@pytest.mark.parametrize("way", slow_except(WAYS, "together", "warm"))
def test_every_way_leads_to_scikit_learns_lasso_of_every_fold(way, x64):
    folds = make_folds(FOLD, jax.random.key(0))
    path = train_path(
        *regression(), STRENGTHS, folds, steps=300, key=jax.random.key(1), **WAYS[way]
    )
    assert path.states.params["slopes"].shape == (4, 3, 8)
    assert path.scores["score"].dtype == np.float64
    for i, strength in enumerate(STRENGTHS):
        for k in range(3):
            lasso = Lasso(strength, tol=1e-14).fit(X[k != FOLD], Y[k != FOLD])
            np.testing.assert_allclose(path.scores["slopes"][i, k], lasso.coef_, atol=1e-8)
            held = np.mean((lasso.predict(X[k == FOLD]) - Y[k == FOLD]) ** 2)
            np.testing.assert_allclose(path.scores["score"][i, k], held, rtol=1e-7)


IMAGES, LABELS = load_digits(return_X_y=True)
IMAGES, LABELS = IMAGES[:300] / 16, LABELS[:300]


def classifier(batch):
    """A network with a hidden layer, trained by stochastic metric prox steps."""
    tx = l1jax.proximal_adam(1e-2, l1jax.by_path({"kernel": l1jax.l1(1.0)}))

    def losses(params, rows):
        hidden = jax.nn.relu(jnp.asarray(IMAGES)[rows] @ params["kernel_0"])
        return optax.softmax_cross_entropy_with_integer_labels(
            hidden @ params["kernel_1"], jnp.asarray(LABELS)[rows]
        )

    def init(key):
        first, second = jax.random.split(key)
        params = {
            "kernel_0": 0.2 * jax.random.normal(first, (64, 16), float),
            "kernel_1": 0.2 * jax.random.normal(second, (16, 10), float),
        }
        return {"params": params, "optimizer": tx.init(params)}

    def step(state, fold, key):
        rows = jax.random.choice(key, 300, (batch,), p=fold.training / fold.training.sum())
        grads = jax.grad(lambda params: losses(params, rows).mean())(state["params"])
        updates, optimizer = tx.update(grads, state["optimizer"], state["params"])
        return {"params": optax.apply_updates(state["params"], updates), "optimizer": optimizer}

    def score(state, fold):
        return jnp.mean(losses(state["params"], jnp.arange(300)), where=fold.held_out)

    return init, step, score


def classifiers(steps, **options):
    folds = make_folds(
        stratified_folds(LABELS, np.random.default_rng(0).random(300), 2), jax.random.key(0)
    )
    strengths = np.array([1e-4, 3e-3, 0.3])
    return train_path(
        *classifier(32), strengths, folds, steps=steps, key=jax.random.key(1), **options
    )


@pytest.mark.slow
def test_all_at_once_trains_the_classifiers_of_the_separate_runs(x64):
    once, separate = classifiers(20), classifiers(20, how="independent")
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10),
        once.states,
        separate.states,
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(a == 0, b == 0),
        once.states["params"],
        separate.states["params"],
    )
    np.testing.assert_allclose(once.scores, separate.scores, rtol=1e-8)


@pytest.mark.slow
def test_a_classifier_is_chosen_by_cross_validation():
    path = classifiers(150)
    zeros = np.asarray(
        jax.vmap(lambda p: l1jax.sparsity(p).total)(
            jax.tree.map(lambda x: x[:, 0], path.states["params"])
        )
    )
    assert zeros[0] < 0.5 < zeros[1] < zeros[2] == 1.0
    np.testing.assert_allclose(path.scores[2], np.log(10), rtol=1e-5)  # nothing is left but chance
    assert minimum(path.scores, path.strengths).index < 2
    assert path.scores.min() < 1.0
    assert path.scores[0, 0] != path.scores[0, 1]


@pytest.mark.parametrize("way", ["together", "warm", "warm, sparse to dense"])
def test_strengths_share_start_and_randomness_and_folds_and_steps_do_not(way):
    tx = l1jax.proximal_sgd(1.0, l1jax.l1(1.0))

    def init(key):
        return {
            "draws": jnp.append(jnp.zeros(12), jax.random.normal(key)),
            "optimizer": tx.init(jnp.ones(1)),
        }

    def step(state, fold, key):
        return {**state, "draws": jnp.append(state["draws"][1:], jax.random.normal(key))}

    def score(state, fold):
        return state["draws"]

    path = train_path(
        init, step, score, STRENGTHS, jnp.arange(2), steps=3, key=jax.random.key(0), **WAYS[way]
    )
    if way == "together":
        np.testing.assert_array_equal(path.scores, np.tile(path.scores[:1], (4, 1, 1)))
        assert (
            len(np.unique(path.scores[0, :, -4:])) == 2 * 4
        )  # the start and three steps, in each of two folds
    else:  # every strength goes on with new ones where the last one ended
        last = path.scores[-1 if way == "warm" else 0]
        assert len(np.unique(last)) == 2 * 13
        assert np.all(last != 0)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"strengths": [0.1]}, "`strengths`"),
        ({"folds": {"a": np.zeros((2, 3)), "b": np.zeros(3)}}, "`folds`"),
        ({"folds": np.zeros((0, 3))}, "`folds`"),
        ({"steps": -1}, "`steps`"),
    ],
)
def test_what_is_no_path_is_refused(change, says):
    arguments = {"strengths": STRENGTHS, "folds": np.zeros((2, 60)), "steps": 1} | change
    init, step, score = regression()
    with pytest.raises(InputError, match=says):
        train_path(init, step, score, key=jax.random.key(0), **arguments)


def test_a_state_without_a_penalty_is_refused():
    with pytest.raises(ValueError, match="l1jax transformation"):
        train_path(
            lambda key: jnp.zeros(3),
            lambda s, f, k: s,
            lambda s, f: 0.0,
            STRENGTHS,
            np.zeros((2, 1)),
            steps=1,
            key=jax.random.key(0),
        )

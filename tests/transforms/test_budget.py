"""`budget` projects onto the parameters with so many non-zeros, in one leaf or in all together."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import l1jax
from l1jax.transforms.budgets import check_arguments

RNG = np.random.default_rng(0)
PARAMS = {
    "a": RNG.normal(size=(6, 4)).astype(np.float32),
    "b": 3 * RNG.normal(size=10).astype(np.float32),
}
NO_UPDATE = jax.tree.map(np.zeros_like, PARAMS)


def project(tx, params=PARAMS, count=0):
    """The parameters after updates of zero, from the same start."""
    state = tx.init(params)
    for _ in range(count + 1):
        updates, state = tx.update(jax.tree.map(np.zeros_like, params), state, params)
    return optax.apply_updates(params, updates)


def largest_entries(arrays, count):
    """The same arrays with all but the `count` largest entries zero, by a sort."""
    sizes = np.sort(np.concatenate([np.abs(array).ravel() for array in arrays]))
    threshold = sizes[len(sizes) - count] if count else np.inf
    return [np.where(np.abs(array) >= threshold, array, 0) for array in arrays]


@pytest.mark.parametrize(
    ("share", "kept"), [(0.0, (0, 0)), (0.3, (7, 3)), (0.29, (6, 2)), (1, (24, 10))]
)
def test_each_leaf_keeps_its_largest_entries(share, kept):
    new = project(l1jax.budget(share))
    for name, count in zip(PARAMS, kept, strict=True):
        np.testing.assert_array_equal(new[name], largest_entries([PARAMS[name]], count)[0])


def test_a_global_budget_is_shared_by_all_leaves():
    new = project(l1jax.budget(0.3, "global"))  # 10 of 34
    expected = largest_entries(PARAMS.values(), 10)
    np.testing.assert_array_equal(new["a"], expected[0])
    np.testing.assert_array_equal(new["b"], expected[1])
    assert 0 < (new["a"] != 0).sum() < 7  # the larger entries of b take more than a share of 0.3


def test_ties_do_not_exceed_the_budget():
    ones = {"a": np.ones((3, 3), np.float32), "b": -np.ones(4, np.float32)}
    new = project(l1jax.budget(0.5, "global"), ones)  # 6 of 13, the first
    assert [int((leaf != 0).sum()) for leaf in new.values()] == [6, 0]
    new = project(l1jax.budget(0.85, "global"), ones)  # 11 of 13
    np.testing.assert_array_equal(new["b"], [-1, -1, 0, 0])


def test_a_share_of_a_whole_number_is_not_rounded_away():
    params = {"a": np.arange(1, 101, dtype=np.float32)}
    for percent in (0, 7, 28, 29, 55, 57, 58, 99, 100):  # 0.29·100 is 28.999999999999996
        assert (project(l1jax.budget(percent / 100), params)["a"] != 0).sum() == percent


@pytest.mark.parametrize("scope", ["leaf", "global"])
def test_groups_of_the_largest_norm_stay(scope):
    params = {"a": PARAMS["a"], "c": 0.5 * RNG.normal(size=(3, 6)).astype(np.float32)}
    new = project(l1jax.budget(0.5, scope, axis=0), params)
    norms = {name: np.linalg.norm(leaf, axis=0) for name, leaf in params.items()}
    if scope == "leaf":
        thresholds = {name: np.sort(norm)[len(norm) // 2] for name, norm in norms.items()}
    else:
        five = np.sort(np.concatenate(list(norms.values())))[5]
        thresholds = dict.fromkeys(norms, five)
    for name, leaf in params.items():
        np.testing.assert_array_equal(new[name], leaf * (norms[name] >= thresholds[name]))


def test_blocks_are_groups_too():
    kernel = {
        "kernel": np.kron(np.array([[1, 3], [4, 2]], np.float32), np.ones((2, 2), np.float32))
    }
    new = project(l1jax.budget(0.5, axis=l1jax.kernel_blocks((2, 2))), kernel)
    np.testing.assert_array_equal(new["kernel"], np.kron([[0, 3], [4, 0]], np.ones((2, 2))))


@pytest.mark.parametrize("count", [0, 1, 2, 5, 9, 11, 12, 20])
def test_the_share_falls_by_the_cubic_law(count):
    params = {"a": np.arange(1, 1001, dtype=np.float32)}
    new = project(l1jax.budget(0.25, begin=2, steps=10), params, count)
    progress = np.clip((count - 2) / 10, 0, 1)
    expected = 1000 * (0.25 + 0.75 * (1 - progress) ** 3)
    assert expected - 1 <= (new["a"] != 0).sum() <= expected
    as_schedule = optax.polynomial_schedule(1.0, 0.25, 3, 10, 2)
    np.testing.assert_array_equal(new["a"], project(l1jax.budget(as_schedule), params, count)["a"])


def test_an_entry_may_come_back():
    tx = optax.chain(optax.sgd(1.0), l1jax.budget(0.5))
    params = jnp.array([2.0, 1.0])
    state = tx.init(params)
    for grads, expected in (([0.0, 0.0], [2.0, 0.0]), ([0.0, -3.0], [0.0, 3.0])):
        updates, state = tx.update(jnp.array(grads), state, params)
        params = optax.apply_updates(params, updates)
        np.testing.assert_array_equal(params, expected)


def test_it_ends_at_the_least_squares_fit_of_the_chosen_features():
    features = RNG.normal(size=(200, 12))
    truth = np.where(np.arange(12) < 4, RNG.normal(size=12) + 3, 0)
    target = features @ truth + 0.1 * RNG.normal(size=200)
    tx = optax.chain(optax.sgd(0.3), l1jax.budget(1 / 3, steps=50))
    params = jnp.zeros(12)
    state = tx.init(params)

    @jax.jit
    def step(params, state):
        grads = features.T @ (features @ params - target) / 200
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    for _ in range(200):
        params, state = step(params, state)
    expected = np.linalg.lstsq(features[:, :4], target)[0]
    np.testing.assert_array_equal(np.asarray(params) != 0, truth != 0)
    np.testing.assert_allclose(params[:4], expected, rtol=1e-4)


@pytest.mark.parametrize("first", ["budget", "n_of_m"])
def test_with_n_of_m_both_hold(first):
    links = [l1jax.budget(0.3, "global"), l1jax.n_of_m(2, 4, axis=-1)]
    if first == "n_of_m":
        links.reverse()
    params = {"a": PARAMS["a"], "c": RNG.normal(size=(5, 8)).astype(np.float32)}
    new = project(optax.chain(*links), params)
    flat = np.concatenate([np.reshape(leaf, (-1, 4)) for leaf in new.values()])
    assert ((flat != 0).sum(axis=1) <= 2).all()
    assert 12 <= (flat != 0).sum() <= 19  # 0.3 of 64, less what n_of_m takes behind it
    if first == "n_of_m":
        assert (flat != 0).sum() == 19


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"share": 1.5}, r"`share` \(=1.5\)"),
        ({"share": -0.1}, r"`share` \(=-0.1\)"),
        ({"share": 0.5, "steps": -1}, r"`steps` \(=-1\)"),
        ({"share": optax.constant_schedule(0.5), "steps": 9}, r"`steps` \(=9\) must be 0 beside"),
        ({"share": 0.5, "pattern": "("}, r"`pattern` \(='\('\)"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        l1jax.budget(**arguments)


def test_another_scope_is_refused():
    with pytest.raises(ValueError, match=r"`scope` \(='all'\) must be 'leaf' or 'global'"):
        check_arguments(0.5, "all", 0, 0)


def test_leaves_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"`pattern` .*must match at least one"):
        l1jax.budget(0.5, pattern="kernel").init(PARAMS)
    with pytest.raises(ValueError, match="for b of shape"):
        l1jax.budget(0.5, axis=1).init(PARAMS)
    huge = {"a": jax.ShapeDtypeStruct((2**16, 2**15), jnp.float32)}
    with pytest.raises(ValueError, match="counts up to 2147483647 entries, not 2147483648"):
        l1jax.budget(0.5, "global").init(huge)

"""Methods with a mask: frozen support, magnitude pruning, N:M, RigL; and the sparse average."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import l1jax

RNG = np.random.default_rng(0)
TARGET = jnp.asarray(RNG.normal(size=(8, 6)), jnp.float32)


def trajectory(tx, params, steps, target=TARGET):
    """Parameters after each update of gradient descent on ½‖p − target‖², and the last state."""

    @jax.jit
    def step(params, state):
        updates, state = tx.update(jax.tree.map(lambda p: p - target, params), state, params)
        return optax.apply_updates(params, updates), state

    state = tx.init(params)
    actual = []
    for _ in range(steps):
        params, state = step(params, state)
        actual.append(params)
    return actual, state


def test_freeze_support_trains_the_support_alone_and_without_bias():
    params = jnp.where(jnp.abs(TARGET) > 0.7, 0.1, 0.0)
    actual, _ = trajectory(optax.chain(optax.adam(0.1), l1jax.freeze_support()), params, 200)
    np.testing.assert_allclose(actual[-1], np.where(np.abs(TARGET) > 0.7, TARGET, 0), atol=1e-3)
    for later in actual:
        np.testing.assert_array_equal(later == 0, params == 0)


def test_freeze_support_begins_at_its_start():
    target = jnp.asarray([1.0, -1.0])
    tx = optax.chain(optax.sgd(1.0), l1jax.freeze_support(start=2))
    params = jnp.zeros(2)
    state = tx.init(params)
    for count, moved in enumerate((True, True, False)):
        updates, state = tx.update(params - target, state, params)  # always from zero
        np.testing.assert_array_equal(updates, target if moved else 0, err_msg=str(count))


def test_freeze_support_of_a_pattern_lets_other_zeros_go():
    params = {"kernel": jnp.zeros((8, 6)), "bias": jnp.zeros((8, 6))}
    actual, _ = trajectory(optax.chain(optax.sgd(0.1), l1jax.freeze_support("kernel")), params, 1)
    assert jnp.all(actual[-1]["kernel"] == 0)
    np.testing.assert_allclose(actual[-1]["bias"], 0.1 * TARGET, rtol=1e-6)


@pytest.mark.slow
def test_magnitude_pruning_follows_the_cubic_schedule_and_never_revives():
    schedule = optax.polynomial_schedule(0.0, 0.75, power=3, transition_steps=10)
    tx = optax.chain(optax.sgd(0.3), l1jax.magnitude_pruning(schedule, every=2))
    start = jnp.asarray(RNG.normal(size=(8, 6)), jnp.float32)
    actual, _ = trajectory(tx, start, 14)
    dead = np.zeros((8, 6), bool)
    for k, params in enumerate(actual):
        k -= k % 2
        share = 0.75 * (1 - (1 - min(k, 10) / 10) ** 3)
        assert np.sum(params == 0) == round(48 * share), k
        assert np.all((params == 0)[dead])
        dead = np.asarray(params == 0)


def test_magnitude_pruning_takes_the_smallest_of_the_moved_entries():
    tx = optax.chain(optax.sgd(1.0), l1jax.magnitude_pruning(0.25))
    actual, _ = trajectory(tx, jnp.zeros((8, 6)), 3)  # the first step lands on the target
    smallest = np.argsort(np.abs(TARGET), axis=None)[:12]
    for params in actual:
        np.testing.assert_array_equal(np.flatnonzero(params == 0), np.sort(smallest))
    np.testing.assert_allclose(actual[-1][actual[-1] != 0], TARGET[actual[-1] != 0], rtol=1e-6)


def test_magnitude_pruning_is_for_good_where_the_schedule_falls():
    tx = optax.chain(
        optax.sgd(0.3), l1jax.magnitude_pruning(lambda count: jnp.where(count == 0, 0.5, 0.25))
    )
    actual, _ = trajectory(tx, jnp.asarray(RNG.normal(size=(8, 6)), jnp.float32), 4)
    for params in actual:
        np.testing.assert_array_equal(params == 0, actual[0] == 0)
        assert jnp.sum(params == 0) == 24


@pytest.mark.parametrize(("n", "m", "axis"), [(2, 4, -2), (1, 3, 1), (4, 4, 0)])
def test_n_of_m_keeps_the_largest_of_each_block(n, m, axis):
    actual, _ = trajectory(
        optax.chain(optax.sgd(1.0), l1jax.n_of_m(n, m, axis)), jnp.zeros((8, 6)), 1
    )
    blocks = np.moveaxis(np.asarray(TARGET), axis, -1).reshape(-1, m)
    kept = np.moveaxis(np.asarray(actual[-1]), axis, -1).reshape(-1, m)
    for block, row in zip(blocks, kept, strict=True):
        np.testing.assert_array_equal(np.flatnonzero(row), np.sort(np.argsort(-np.abs(block))[:n]))
        np.testing.assert_allclose(row[row != 0], block[row != 0], rtol=1e-6)


def test_n_of_m_begins_late_and_holds_its_mask():
    tx = optax.chain(optax.sgd(0.5), l1jax.n_of_m(1, 2, begin=3, every=100))
    start = jnp.asarray(RNG.normal(size=(8, 6)), jnp.float32)
    actual, _ = trajectory(tx, start, 8)
    assert all(jnp.all(params != 0) for params in actual[:3])
    for params in actual[3:]:
        np.testing.assert_array_equal(params == 0, actual[3] == 0)
        assert jnp.mean(params == 0) == 0.5


def rigl_in_numpy(start, mask, steps, every, drop, stop, rate):
    """Run the paper's algorithm 1 on ½‖p − target‖², from the mask that was drawn."""
    target = np.asarray(TARGET).ravel()
    p = start.ravel()
    mask = mask.ravel()
    for k in range(steps):
        g = p - target
        if k > 0 and k < stop and k % every == 0:
            number = int(np.floor(drop / 2 * (1 + np.cos(np.pi * k / stop)) * mask.sum()))
            living = np.flatnonzero(mask)
            dropped = living[np.argsort(np.abs(p[living]), kind="stable")[:number]]
            new = mask.copy()
            new[dropped] = False
            dead = np.flatnonzero(~new)
            new[dead[np.argsort(-np.abs(g[dead]), kind="stable")[:number]]] = True
            p = np.where(new & mask, p, 0)
            mask = new
        else:
            p = np.where(mask, p - rate * g, 0)
        yield p.reshape(8, 6), mask.reshape(8, 6)


def test_rigl_follows_the_paper():
    start = RNG.normal(size=(8, 6)).astype(np.float32)
    tx = l1jax.rigl(optax.sgd(0.1), sparsity=0.75, every=4, drop_fraction=0.5, stop=18)
    first = np.asarray(tx.init(jnp.asarray(start)).mask)
    actual, _ = trajectory(tx, jnp.asarray(start), 25)
    expected = rigl_in_numpy(start, first, 25, 4, 0.5, 18, 0.1)
    changes = 0
    for params, (p, mask) in zip(actual, expected, strict=True):
        np.testing.assert_allclose(params, p, rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(params == 0, p == 0)
        assert mask.sum() == 12
        changes += int(np.any(mask != first))
        first = mask
    assert changes >= 3


@pytest.mark.slow
def test_rigl_spreads_the_entries_as_erdos_and_renyi_do():
    shapes = {"a": (3, 3, 8, 32), "b": (300, 100), "c": (20, 10), "d": (50,)}
    params = {name: jnp.ones(shape) for name, shape in shapes.items()}
    sizes = {name: np.prod(shape) for name, shape in shapes.items()}
    raw = {
        "erdos_renyi": {"a": 40 / 256, "b": 400 / 30000, "c": 30 / 200, "d": 1.0},
        "erdos_renyi_kernel": {"a": 46 / 2304, "b": 400 / 30000, "c": 30 / 200, "d": 1.0},
    }
    for densities, dense in (("erdos_renyi", "d"), ("erdos_renyi_kernel", "cd")):
        mask = jax.jit(l1jax.rigl(optax.sgd(0.1), 0.9, densities=densities).init)(params).mask
        living = {name: int(jnp.sum(leaf)) for name, leaf in mask.items()}
        assert abs(sum(living.values()) - 0.1 * sum(sizes.values())) <= 2  # rounded leaf by leaf
        assert all(living[name] == sizes[name] for name in dense)
        sparse = [name for name in shapes if name not in dense]
        ratios = [living[name] / sizes[name] / raw[densities][name] for name in sparse]
        np.testing.assert_allclose(ratios, ratios[0], rtol=0.01)
        assert ratios[0] * min(raw[densities][name] for name in dense) > 1  # they had to be dense
    full = jax.jit(l1jax.rigl(optax.sgd(0.1), 0.0, densities="erdos_renyi").init)(params).mask
    assert all(bool(jnp.all(leaf)) for leaf in full.values())


def test_rigl_starts_from_another_mask_for_another_seed_and_leaf():
    params = {"a": jnp.ones((10, 10)), "b": jnp.ones((10, 10)), "c": jnp.ones(3)}
    masks = [
        l1jax.rigl(optax.sgd(0.1), 0.9, pattern="a|b", seed=seed).init(params).mask
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(masks[0]["a"], masks[1]["a"])
    assert jnp.any(masks[0]["a"] != masks[2]["a"])
    assert jnp.any(masks[0]["a"] != masks[0]["b"])
    assert masks[0]["c"] is None
    assert jnp.sum(masks[0]["a"]) == 10


def test_rigl_leaves_other_leaves_dense():
    params = {"kernel": jnp.ones((8, 6)), "bias": jnp.ones((8, 6))}
    actual, _ = trajectory(l1jax.rigl(optax.sgd(0.1), 0.5, pattern="kernel"), params, 2)
    assert jnp.mean(actual[-1]["kernel"] == 0) == 0.5
    np.testing.assert_allclose(actual[-1]["bias"], 0.81 + 0.19 * TARGET, rtol=1e-5)


def test_sparse_ema_is_the_average_on_the_support_and_zero_off_it():
    tx = optax.chain(l1jax.proximal_sgd(0.3, l1jax.l1(0.5)), l1jax.sparse_ema(0.9))
    start = jnp.asarray(RNG.normal(size=(8, 6)), jnp.float32)
    actual, state = trajectory(tx, start, 30)
    average = np.asarray(start)
    for params in np.asarray(actual):
        average = np.where(
            params == 0, 0, np.where(average == 0, params, 0.9 * average + 0.1 * params)
        )
    np.testing.assert_allclose(state[-1].average, average, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(state[-1].average == 0, actual[-1] == 0)
    assert 0.1 < jnp.mean(actual[-1] == 0) < 0.9


def test_sparse_average_of_a_counter_is_the_counter():
    actual = l1jax.sparse_average(
        {"n": jnp.array([3]), "w": jnp.ones(1)}, {"n": jnp.array([5]), "w": jnp.ones(1)}, 0.9
    )
    assert actual["n"] == 5


def test_sparse_ema_takes_a_schedule():
    tx = optax.chain(optax.sgd(1.0), l1jax.sparse_ema(lambda count: 0.5 * (count > 0)))
    actual, state = trajectory(tx, jnp.full((8, 6), 5.0), 1)
    np.testing.assert_allclose(state[-1].average, actual[-1])  # decay 0 at first


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize(
    "make",
    [
        lambda penalty: l1jax.proximal_adam(0.1, penalty),
        lambda penalty: l1jax.proximal_sgd(0.3, penalty, 0.5),
    ],
)
def test_zeros_stay_exact_and_positive(make, dtype):
    tx = make(l1jax.l1(2.0))
    start = jnp.where(jnp.abs(TARGET) > 1, TARGET, -0.0).astype(dtype)
    actual, _ = trajectory(tx, start, 20, target=0.3 * TARGET.astype(dtype))
    kept = start == 0
    for params in actual:
        assert params.dtype == dtype
        assert jnp.all(params[kept] == 0)
    assert not jnp.any(jnp.signbit(actual[-1]) & (actual[-1] == 0))
    assert jnp.all(actual[-1] == 0)

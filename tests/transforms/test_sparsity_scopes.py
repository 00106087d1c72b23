"""Targets of zeros over all leaves, over those of a block, or of each leaf; and their freezing."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import l1jax
from l1jax.transforms.scopes import leaf_scopes

RNG = np.random.default_rng(0)
# The entries of block 1 are a tenth as large as those of block 0.
TARGETS = {
    "block_0": {"down": RNG.laplace(size=(20, 20)), "up": 3 * RNG.laplace(size=(20, 10))},
    "block_1": {"down": 0.1 * RNG.laplace(size=(20, 20)), "up": 0.3 * RNG.laplace(size=(20, 10))},
    "head": 0.5 * RNG.laplace(size=(100,)),
}
TARGETS = jax.tree.map(lambda x: x.astype(np.float32), TARGETS)
MEMBERS = {
    "global": [["block_0/down", "block_0/up", "block_1/down", "block_1/up", "head"]],
    "group": [["block_0/down", "block_0/up"], ["block_1/down", "block_1/up"], ["head"]],
    "leaf": [["block_0/down"], ["block_0/up"], ["block_1/down"], ["block_1/up"], ["head"]],
}
every_scope = pytest.mark.parametrize("scope", MEMBERS)


def flat(tree):
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(x) for path, x in leaves
    }


def share(tree, names):
    leaves = flat(tree)
    return float(np.mean(np.concatenate([leaves[name].ravel() for name in names]) == 0))


def together(names):
    leaves = flat(TARGETS)
    return np.concatenate([leaves[name].ravel() for name in names])


def test_a_group_is_the_path_up_to_the_first_number():
    tree = {"layers": [{"w": 1.0, "v": 1.0}, {"w": 1.0}], "a_1": {"b_2": {"k": 1.0}}, "out": 1.0}
    assert leaf_scopes(tree, "group") == (
        ("a_1", "layers/0", "layers/1", "out"),
        (0, 1, 1, 2, 3),
    )


@every_scope
def test_each_scope_has_the_strength_that_is_the_quantile_of_its_entries(scope):
    # ½‖p − t‖² + s‖p‖₁ has the entries with |t| ≤ s at zero.
    scale = l1jax.track_sparsity(0.7, horizon=300, scope=scope)
    tx = l1jax.proximal_sgd(0.2, l1jax.l1(0.01), scale=scale)

    @jax.jit
    def run(params):
        def step(carry, _):
            params, state = carry
            grads = jax.tree.map(jnp.subtract, params, TARGETS)
            updates, state = tx.update(grads, state, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, tx.init(params)), length=1500)[0]

    params, state = run(jax.tree.map(jnp.asarray, TARGETS))
    factors = 0.01 * np.exp(np.atleast_1d(state[1].strength.control.log_scale))
    assert len(factors) == len(MEMBERS[scope])
    for names, strength in zip(MEMBERS[scope], factors, strict=True):
        assert share(params, names) == pytest.approx(0.7, abs=0.011)
        assert strength == pytest.approx(np.quantile(np.abs(together(names)), 0.7), rel=0.06)
    if scope == "global":
        assert share(params, MEMBERS["group"][1]) > 0.95  # the block of small entries is empty
        assert share(params, MEMBERS["group"][0]) < 0.55


@every_scope
def test_magnitude_pruning_ranks_the_leaves_of_a_scope_together(scope):
    tx = optax.chain(optax.sgd(1.0), l1jax.magnitude_pruning(0.7, scope=scope))
    params = jax.tree.map(jnp.asarray, TARGETS)
    updates, _ = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
    pruned = flat(optax.apply_updates(params, updates))
    for names in MEMBERS[scope]:
        sizes = np.abs(together(names))
        smallest = np.sort(sizes)[round(0.7 * len(sizes))]
        for name in names:
            expected = np.where(np.abs(flat(TARGETS)[name]) >= smallest, flat(TARGETS)[name], 0)
            np.testing.assert_array_equal(pruned[name], expected)


def test_equal_entries_of_several_leaves_are_pruned_from_the_last_on():
    params = {"a": jnp.ones(3), "b": jnp.ones((2, 2))}
    tx = l1jax.magnitude_pruning(3 / 7, scope="global")
    updates, _ = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
    pruned = optax.apply_updates(params, updates)
    assert pruned["a"].tolist() == [1, 1, 1]
    assert pruned["b"].tolist() == [[1, 0], [0, 0]]


@pytest.mark.slow
@every_scope
@pytest.mark.parametrize("before", [0.4, 0.9])
def test_the_zeros_are_frozen_at_the_target(scope, before):
    # The smallest entries that are not zero go, or the zeros that move furthest come.
    params = jax.tree.map(
        lambda x: np.where(np.abs(x) < np.quantile(np.abs(x), before), 0, x), TARGETS
    )
    moves = jax.tree.map(lambda x: 1e-3 * RNG.normal(size=x.shape).astype(np.float32), TARGETS)
    tx = l1jax.freeze_support(start=2, target=0.7, scope=scope)
    state = tx.init(params)
    same, state = tx.update(moves, state, params)
    jax.tree.map(np.testing.assert_array_equal, same, moves)
    _, state = tx.update(moves, state, params)
    updates, state = jax.jit(tx.update)(moves, state, params)
    frozen = optax.apply_updates(params, updates)
    for names in MEMBERS[scope]:
        assert share(frozen, names) == pytest.approx(0.7, abs=0.5 / 100)
        old = np.concatenate([flat(params)[name].ravel() for name in names])
        move = np.concatenate([flat(moves)[name].ravel() for name in names])
        new = np.concatenate([flat(frozen)[name].ravel() for name in names])
        moved = np.abs(old + move)
        if before < 0.7:
            assert not new[old == 0].any()
            assert moved[(old != 0) & (new == 0)].max() <= moved[new != 0].min()
        else:
            np.testing.assert_allclose(new[old != 0], (old + move)[old != 0], rtol=1e-6)
            assert moved[(old == 0) & (new != 0)].min() >= moved[new == 0].max()
    updates, _ = tx.update(moves, state, frozen)
    assert all(
        not np.any(u[np.asarray(p) == 0])
        for u, p in zip(flat(updates).values(), flat(frozen).values(), strict=True)
    )


@pytest.mark.parametrize("before", [0.25, 1.0])
def test_whole_groups_are_frozen_to_the_nearest_share(before):
    columns = np.array([1.0, 2, 3, 4, 5, 6, 7, 8], np.float32)
    params = np.where(columns > 8 * before, columns, 0) * np.ones((3, 1), np.float32)
    moves = np.linspace(0.1, 0.2, 24, dtype=np.float32).reshape(3, 8)
    tx = l1jax.freeze_support(target=0.7, groups=l1jax.penalties.groups.as_groups(0))
    updates, _ = tx.update(moves, tx.init(params), params)
    alive = np.any(optax.apply_updates(params, updates), axis=0)
    np.testing.assert_array_equal(alive, columns > 6)  # 6 of 8 is nearer to 70 % than 5
    assert np.all(np.asarray(optax.apply_updates(params, updates))[:, alive] != 0)


# Six units: a column of `up` and a row of `down`. The last column of `down` is in no group.
UNITS = {"up": l1jax.Slices(-1), "down": l1jax.Slices(0, (0, 1, 2, 3, 4, 5, -1))}


def units(sizes):
    """A network whose units have entries of these sizes, and 60 entries in all."""
    sizes = np.asarray(sizes, np.float32)
    return {
        "up": np.ones((4, 1), np.float32) * sizes,
        "down": np.concatenate([sizes, [1e-3]])[:, None].astype(np.float32)
        * np.ones(6, np.float32),
        "bias": np.full(3, 1e-4, np.float32),
    }


@pytest.mark.parametrize(
    ("sizes", "alive"),
    [
        ((0.2, 0.9, 0, 0.5, 0.6, 0.3), (1, 3, 4)),  # the smallest two go
        ((0, 0.9, 0, 0, 0, 0), (1, 4, 5)),  # those two that move furthest come
    ],
)
def test_units_over_several_leaves_are_frozen_to_the_nearest_share(sizes, alive):
    params = units(sizes)
    moves = jax.tree.map(lambda x: 1e-3 * np.ones_like(x), params)
    moves["up"] *= np.arange(1, 7, dtype=np.float32)
    tx = l1jax.freeze_support(target=30 / 66, groups=UNITS)  # of 66 entries; 10 in a unit
    updates, state = jax.jit(tx.update)(moves, tx.init(params), params)
    frozen = optax.apply_updates(params, updates)
    expected = np.isin(np.arange(6), alive)
    np.testing.assert_array_equal(frozen["up"] != 0, np.tile(expected, (4, 1)))
    np.testing.assert_array_equal(frozen["down"][:6] != 0, np.tile(expected[:, None], 6))
    np.testing.assert_allclose(frozen["down"][6], 2e-3, rtol=1e-5)  # free, however small
    np.testing.assert_allclose(frozen["bias"], 1.1e-3, rtol=1e-5)
    again, _ = tx.update(moves, state, frozen)
    assert not np.any(again["up"][:, ~expected])


def test_units_are_what_they_have_in_the_selected_leaves():
    params = units((0.2, 0.9, 0.1, 0.5, 0.6, 0.3))
    params["down"][:6] = params["down"][:6][::-1]
    moves = jax.tree.map(np.zeros_like, params)
    tx = l1jax.freeze_support("up", target=0.5, groups=[UNITS])
    frozen = optax.apply_updates(params, tx.update(moves, tx.init(params), params)[0])
    np.testing.assert_array_equal(frozen["up"][0] != 0, [False, True, False, True, True, False])
    np.testing.assert_array_equal(frozen["down"], params["down"])
    with pytest.raises(ValueError, match=r"`pattern` must select a leaf that has `groups`.*down"):
        l1jax.freeze_support("bias", target=0.5, groups=UNITS).init(params)


def ramp(horizon):
    """The zeros of a lasso whose target rises over one horizon, as a schedule and controller."""
    wide = jnp.asarray(np.random.default_rng(1).laplace(size=2000), jnp.float32)

    def target(count):
        return 0.8 * jnp.minimum((count + 1) / (4 * horizon), 1)

    tx = l1jax.proximal_sgd(0.5, l1jax.l1(0.01), scale=l1jax.track_sparsity(target, horizon))

    def step(carry, _):
        params, state = carry
        updates, state = tx.update(params - wide, state, params)
        return (params + updates, state), jnp.mean(params == 0)

    return jax.lax.scan(step, (wide, tx.init(wide)), length=5 * horizon)[1]


def test_a_ramp_is_followed_within_a_few_points():
    # With the damping of a jump, the zeros are 11 percentage points of the target late.
    zeros = np.asarray(ramp(200))
    wanted = 0.8 * np.minimum(np.arange(1, 1001) / 800, 1)
    assert np.abs(zeros - wanted)[100:].max() < 0.06
    assert abs(zeros[-1] - 0.8) < 0.005


def test_a_factor_that_is_held_no_longer_changes():
    tx = l1jax.proximal_sgd(0.1, l1jax.l1(0.1), scale=l1jax.track_sparsity(0.5, 20, until=2))
    params = jnp.array([3.0, 1.0])
    state = tx.init(params)
    strengths = []
    for _ in range(4):
        _, state = tx.update(jnp.zeros(2), state, params)
        strengths.append(float(l1jax.strength(state)))
    assert 0.1 < strengths[0] < strengths[1] == strengths[2] == strengths[3]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: l1jax.track_sparsity(0.5, scope="block"), r"`scope` \(='block'\) must be one of"),
        (lambda: l1jax.track_sparsity(0.5, until=-1), r"`until` \(=-1\) must be"),
        (lambda: l1jax.magnitude_pruning(0.5, scope="all"), r"`scope` \(='all'\) must be one of"),
        (lambda: l1jax.freeze_support(scope="all"), r"`scope` \(='all'\) must be one of"),
        (
            lambda: l1jax.freeze_support(target=0.5, groups={"up": 1}, scope="leaf"),
            r"`scope` \(='leaf'\) must be 'global' with `groups` that lie in several leaves",
        ),
        (lambda: l1jax.freeze_support(target=1.0), r"`target` \(=1.0\) must be a share"),
    ],
)
def test_what_is_no_scope_or_target_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()

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
        pytest.param(
            (0.2, 0.9, 0, 0.5, 0.6, 0.3), (1, 3, 4), marks=pytest.mark.slow
        ),  # the smallest two go
        ((0, 0.9, 0, 0, 0, 0), (1, 4, 5)),  # those two that move furthest come
    ],
)
def test_units_over_several_leaves_are_frozen_to_the_nearest_share(sizes, alive):
    params = units(sizes)
    moves = jax.tree.map(lambda x: 1e-3 * np.ones_like(x), params)
    moves["up"] *= np.arange(1, 7, dtype=np.float32)
    tx = l1jax.freeze_support(target=0.5, groups=UNITS)  # of 60 entries in groups
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
    with pytest.raises(ValueError, match=r"`groups` must lie in leaves.*'down'\]: let `pattern`"):
        l1jax.freeze_support("bias", target=0.5, groups=UNITS).init(params)


def frozen(params, moves, **keywords):
    """The parameters after the update that meets the target, and after one more."""
    tx = l1jax.freeze_support(**keywords)
    updates, state = tx.update(moves, tx.init(params), params)
    met = optax.apply_updates(params, updates)
    updates, _ = tx.update(moves, state, met)
    return jax.tree.map(np.asarray, (met, optax.apply_updates(met, updates)))


def test_a_zero_in_a_group_that_lives_counts_as_alive_and_trains():
    # Eight columns of four; 13 of 32 entries are zero, and one column is.
    params = np.arange(1, 9, dtype=np.float32) * np.ones((4, 1), np.float32)
    params[:, 2] = 0
    params[1:, 4:7] = 0
    moves = np.full((4, 8), 1e-3, np.float32)
    met, later = frozen(params, moves, target=0.375, groups=0)
    dead = np.isin(np.arange(8), (0, 1, 2))  # two more; by single zeros none would have to go
    np.testing.assert_array_equal(np.any(met, axis=0), ~dead)
    expected = np.where(dead, 0, params + 2e-3)
    np.testing.assert_allclose(later, expected, rtol=1e-6)
    kept, _ = frozen(params, moves, groups=0)  # without a target: the zero column is the mask
    np.testing.assert_allclose(kept, np.where(np.arange(8) == 2, 0, params + 1e-3), rtol=1e-6)


def test_a_column_that_comes_back_counts_as_a_whole():
    # A row of `down` is what six units read from one; the units 3 to 5 are dead, so the gradient of
    # the entries towards them is zero.
    down = np.zeros((8, 6), np.float32)
    down[0, :3] = 1.0
    moves = np.zeros((8, 6), np.float32)
    moves[1:, :3] = 1e-3 * np.arange(1, 8)[:, None]
    met, _ = frozen(down, moves, target=0.5, groups=1)
    np.testing.assert_array_equal(np.any(met, axis=1), np.isin(np.arange(8), (0, 5, 6, 7)))


def test_zeros_in_units_that_live_count_as_alive():
    params = units((0.2, 0.9, 0.1, 0.5, 0.6, 0.3))
    params["down"][:6, 1:] = 0  # 30 of 60 entries are zero, and no unit is
    moves = jax.tree.map(np.zeros_like, params)
    met, _ = frozen(params, moves, target=0.4, groups=UNITS)
    expected = np.isin(np.arange(6), (1, 3, 4, 5))  # 4 of 6 is nearer to 36 of 60 than 3
    np.testing.assert_array_equal(np.any(met["up"], axis=0), expected)
    np.testing.assert_array_equal(np.any(met["down"][:6], axis=1), expected)
    np.testing.assert_array_equal(met["down"][6], params["down"][6])


def test_the_share_that_is_tracked_counts_whole_groups():
    down = np.zeros((4, 6), np.float32)
    down[:2, :3] = 1.0
    params = {"a": down, "b": np.where(np.arange(6) < 4, 0, np.ones((4, 6))).astype(np.float32)}
    columns = l1jax.track_sparsity(0.5, scope="leaf", groups=0).init(params)
    np.testing.assert_allclose(columns.zeros, [0.5, 4 / 6], rtol=1e-6)
    blocks = l1jax.track_sparsity(0.5, groups=l1jax.kernel_blocks((2, 3))).init(params)
    np.testing.assert_allclose(blocks.zeros, (18 + 12) / 48, rtol=1e-6)  # of 8 blocks, 5 are zero
    tree = units((0.2, 0.9, 0, 0, 0, 0.3))
    tree["down"][5] = 0  # half of a unit, which lives
    joint = l1jax.track_sparsity(0.5, groups=UNITS)
    np.testing.assert_allclose(joint.init(tree).zeros, 0.5, rtol=1e-6)
    part = {"up": tree["up"], "down": None}  # what a penalty of `up` alone shows
    np.testing.assert_allclose(joint.init(part).zeros, 0.5, rtol=1e-6)
    with pytest.raises(ValueError, match=r"`groups` must lie in leaves that count here"):
        joint.init({"up": None, "down": None, "bias": tree["bias"]})


def test_a_target_of_groups_is_reached_where_half_of_the_entries_are_zero():
    # The gradient of every second entry is zero where it is zero. Of 40 columns 12 have to go.
    sizes = np.linspace(0.1, 4, 40, dtype=np.float32)
    wide = sizes * np.array([[1.0], [0.0]], np.float32)
    scale = l1jax.track_sparsity(0.3, 200, groups=0)
    tx = l1jax.proximal_sgd(0.5, l1jax.group_l1(0.01, 0), scale=scale)

    def step(carry, _):
        params, state = carry
        updates, state = tx.update(params - wide, state, params)
        return (params + updates, state), None

    params, _ = jax.lax.scan(step, (jnp.asarray(wide), tx.init(wide)), length=800)[0]
    np.testing.assert_array_equal(np.any(np.asarray(params), axis=0), np.arange(40) >= 12)


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
        (
            lambda: l1jax.track_sparsity(0.5, groups={"up": 1}, scope="group"),
            r"`scope` \(='group'\) must be 'global' with `groups` that lie in several leaves",
        ),
        (lambda: l1jax.freeze_support(target=1.0), r"`target` \(=1.0\) must be a share"),
    ],
)
def test_what_is_no_scope_or_target_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()

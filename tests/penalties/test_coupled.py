"""Groups that lie in several leaves: exactness, other leaves, tracing, meshes, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from catalogue import mcp
from fast_cases import slow_except
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import l1jax
from l1jax.penalties.coupled_groups import as_families

UNITS = {"up": -1, "bias": 0, "down": 0}
HEADS = l1jax.Slices(-1, (0, 0, 1, 1, -1))
SIZE = 3 + 1 + 2  # of a unit
RNG = np.random.default_rng(0)
TREE = {
    "up": RNG.normal(size=(3, 4)),
    "bias": RNG.normal(size=4),
    "down": RNG.normal(size=(4, 2)),
    "free": RNG.normal(size=3),
}
STEPS = jax.tree.map(lambda leaf: RNG.uniform(0.05, 3.0, leaf.shape), TREE)
x64 = pytest.mark.usefixtures("x64")


def unit(tree, j):
    """Everything that belongs to unit j, in one vector."""
    return np.concatenate([tree["up"][:, j], tree["bias"][j : j + 1], tree["down"][j]])


def optimality_gap(x, z, step, strength):
    """How far x is from the minimum of strength‖x‖ + ½Σ(x − z)²/step."""
    slope = (x - z) / step
    size = np.linalg.norm(x)
    if size == 0:
        return max(np.linalg.norm(slope) - strength, 0)
    return np.linalg.norm(slope + strength * x / size)


@x64
@pytest.mark.parametrize("strength", [0.1, 0.5, 1.0])
def test_prox_is_optimal_in_a_metric_and_with_one_step(strength):
    penalty = l1jax.coupled(strength, UNITS)
    zeros = 0
    prox = jax.jit(penalty.prox)
    for steps in (STEPS, jax.tree.map(lambda leaf: np.full(leaf.shape, 0.7), TREE)):
        y = prox(TREE, steps)
        for j in range(4):
            x = unit(y, j)
            gap = optimality_gap(x, unit(TREE, j), unit(steps, j), strength * np.sqrt(SIZE))
            assert gap < 1e-12
            assert (x == 0).all() or (x != 0).all()
            zeros += not x.any()
        np.testing.assert_array_equal(y["free"], TREE["free"])
    assert strength < 1.0 or zeros
    one = penalty.prox(TREE, 0.7)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), one, y)


@x64
def test_value_subgradient_and_distance_are_those_of_the_flattened_groups():
    penalty = l1jax.coupled(0.3, UNITS)
    flat = np.stack([unit(TREE, j) for j in range(4)])
    norms = np.linalg.norm(flat, axis=1)
    strength = 0.3 * np.sqrt(SIZE)
    np.testing.assert_allclose(penalty.value(TREE), strength * norms.sum(), rtol=1e-12)
    subgradient = penalty.subgradient(TREE)
    np.testing.assert_allclose(
        [unit(subgradient, j) for j in range(4)], strength * flat / norms[:, None], rtol=1e-12
    )
    assert not subgradient["free"].any()
    x = {**TREE, "up": TREE["up"] * [0, 1, 1, 1], "bias": TREE["bias"] * [0, 1, 1, 1]}
    x["down"] = TREE["down"] * np.array([0, 1, 1, 1])[:, None]
    grads = jax.tree.map(lambda leaf: 0.7 * leaf - 0.2, TREE)
    squares = np.sum(grads["free"] ** 2)
    for j in range(4):
        g = unit(grads, j)
        size = np.linalg.norm(unit(x, j))
        if size:
            squares += np.sum((g + strength * unit(x, j) / size) ** 2)
        else:
            squares += max(np.linalg.norm(g) - strength, 0) ** 2
    np.testing.assert_allclose(penalty.distance(x, grads), np.sqrt(squares), rtol=1e-12)


FEATURES = RNG.normal(size=(60, 4 * SIZE))
TARGET = FEATURES[:, :SIZE].sum(1) + 0.5 * RNG.normal(size=60)
LASSO = 0.05


def loss(params):
    columns = [params["up"], params["bias"][None], params["down"].T]
    return jnp.mean((FEATURES @ jnp.concatenate(columns).T.reshape(-1) - TARGET) ** 2) / 2


def lasso(make):
    """Solve a least-squares problem with a coupled penalty; a row per unit."""
    params = {key: jnp.zeros_like(TREE[key]) for key in UNITS}
    penalty = l1jax.coupled(LASSO, UNITS)
    if make == "minimize":
        params = l1jax.minimize(loss, params, penalty, tolerance=1e-11).params
    else:
        rate = optax.exponential_decay(0.05, 1_000, 0.1)
        tx = l1jax.proximal_adam(rate, penalty, per_group=make == "one step per group")

        def step(carry, _):
            params, state = carry
            updates, state = tx.update(jax.grad(loss)(params), state, params)
            return (optax.apply_updates(params, updates), state), None

        run = jax.jit(lambda p: jax.lax.scan(step, (p, tx.init(p)), length=6_000)[0][0])
        params = run(params)
    return np.stack([unit(params, j) for j in range(4)])


@x64
@pytest.mark.parametrize(
    "make", slow_except(["minimize", "adam", "one step per group"], "adam", "one step per group")
)
def test_solution_is_that_of_a_group_lasso_of_the_flattened_leaves(make):
    found = lasso(make)
    gradient = FEATURES.T @ (FEATURES @ found.reshape(-1) - TARGET) / 60
    strength = LASSO * np.sqrt(SIZE)
    gaps = []
    for x, g in zip(found, gradient.reshape(4, SIZE), strict=True):
        size = np.linalg.norm(x)
        away = np.linalg.norm(g + strength * x / max(size, 1e-300))
        gaps.append(away if size else max(np.linalg.norm(g) - strength, 0))
    # The loss curves at least so much, so the optimum is not further away than this.
    curvature = np.linalg.eigvalsh(FEATURES.T @ FEATURES / 60)[0]
    assert np.linalg.norm(gaps) / curvature <= 1e-6 * np.abs(found).max()
    assert 0 < (found == 0).all(1).sum() < 4


@x64
@pytest.mark.slow
def test_solution_is_that_of_another_solver():
    from problems import datafits, penalties, solvers, uncompiled

    groups = np.arange(4 * SIZE, dtype=np.int32)
    pointers = np.arange(0, 4 * SIZE + 1, SIZE, dtype=np.int32)
    weights = np.full(4, np.sqrt(SIZE))
    datafit = datafits.QuadraticGroup(pointers, groups)
    penalty = penalties.WeightedGroupL2(LASSO, weights, pointers, groups)
    solver = solvers.GroupBCD(tol=1e-12, max_iter=5_000)
    with uncompiled():
        solution = solver.solve(np.asfortranarray(FEATURES), TARGET, datafit, penalty)[0]
    expected = solution.reshape(4, SIZE)
    found = lasso("minimize")
    np.testing.assert_array_equal(found == 0, expected == 0)
    assert np.abs(found - expected).max() <= 1e-6 * np.abs(expected).max()


@x64
def test_largest_strength_is_the_smallest_whose_solution_is_zero():
    features = RNG.normal(size=(30, 4))
    target = RNG.normal(size=30)

    def loss(params):
        weights = jnp.concatenate([params["a"], params["b"]])
        return jnp.mean((features @ weights - target) ** 2) / 2

    params = {"a": jnp.zeros(2), "b": jnp.zeros(2)}
    gradient = -features.T @ target / 30
    norms = np.hypot(gradient[:2], gradient[2:]) / np.sqrt(2)
    found = l1jax.largest_strength(loss, params, l1jax.coupled(1.0, {"a": 0, "b": 0}))
    np.testing.assert_allclose(found, norms.max(), rtol=1e-12)


@x64
def test_one_step_size_per_group_is_of_the_mean_over_all_its_leaves():
    rate = 0.1
    tx = l1jax.proximal_adam(rate, l1jax.coupled(0.5, UNITS), b1=0.0, per_group=True)
    grads = jax.tree.map(lambda leaf: 2 * leaf - 0.3, TREE)
    updates, _ = tx.update(grads, tx.init(TREE), TREE)
    new = optax.apply_updates(TREE, updates)
    for j in range(4):
        g = unit(grads, j)
        d = np.sqrt(np.mean(g**2)) + 1e-8
        z = unit(TREE, j) - rate * g / d
        shrinkage = max(1 - rate / d * 0.5 * np.sqrt(SIZE) / np.linalg.norm(z), 0)
        np.testing.assert_allclose(unit(new, j), shrinkage * z, rtol=1e-9)
    alone = TREE["free"] - rate * np.sign(grads["free"])
    np.testing.assert_allclose(new["free"], alone, rtol=1e-6)


@pytest.mark.slow
@x64
def test_slices_say_which_group_an_index_is_in_and_leave_out_others():
    tree = {"query": RNG.normal(size=(3, 5)), "output": RNG.normal(size=(5, 3))}
    groups = {"query": HEADS, "output": l1jax.Slices(0, HEADS.groups)}
    y = l1jax.coupled(0.4, groups).prox(tree, 1.0)
    for head in (slice(0, 2), slice(2, 4)):
        z = np.concatenate([tree["query"][:, head].ravel(), tree["output"][head].ravel()])
        factor = max(1 - 0.4 * np.sqrt(12) / np.linalg.norm(z), 0)
        np.testing.assert_allclose(y["query"][:, head], factor * tree["query"][:, head])
        np.testing.assert_allclose(y["output"][head], factor * tree["output"][head])
    np.testing.assert_array_equal(y["query"][:, 4], tree["query"][:, 4])
    np.testing.assert_array_equal(y["output"][4], tree["output"][4])
    zero = l1jax.zero_groups(l1jax.coupled(9.0, groups).prox(tree, 1.0), l1jax.coupled(1, groups))
    assert zero["query"].tolist() == [True, True, True, True, False]


@x64
def test_mcp_scales_the_norm_and_l0_keeps_or_drops_whole_groups():
    strength = 0.4
    radii = np.linspace(0, 9, 90_001)
    y = l1jax.coupled_mcp(strength, 3.0, UNITS).prox(TREE, 0.7)
    kept = l1jax.coupled_l0(strength, UNITS).prox(TREE, STEPS)
    for j in range(4):
        z = unit(TREE, j)
        size = np.linalg.norm(z)
        cost = mcp(radii, strength * np.sqrt(SIZE), 3.0) + (radii - size) ** 2 / 1.4
        np.testing.assert_allclose(unit(y, j), z * radii[cost.argmin()] / size, atol=2e-4)
        keeps = np.sum(z**2 / (2 * unit(STEPS, j))) > strength * SIZE
        np.testing.assert_array_equal(unit(kept, j), keeps * z)
    penalty = l1jax.coupled_l0(strength, UNITS)
    groups = sum(unit(kept, j).any() for j in range(4))
    assert 0 < groups < 4
    np.testing.assert_allclose(penalty.value(kept), strength * SIZE * groups)


@x64
def test_mcp_reaches_a_stationary_point_through_its_convex_part():
    penalty = l1jax.coupled_mcp(0.6, 3.0, UNITS)
    tx = l1jax.proximal_adam(optax.exponential_decay(0.1, 300, 0.3), penalty)

    def step(carry, _):
        params, state = carry
        grads = jax.tree.map(lambda p, z: p - z, params, TREE)
        updates, state = tx.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), None

    start = jax.tree.map(jnp.asarray, TREE)
    (params, _), _ = jax.jit(lambda p: jax.lax.scan(step, (p, tx.init(p)), length=2_000))(start)
    grads = jax.tree.map(lambda p, z: p - z, params, TREE)
    assert penalty.distance(params, grads) < 1e-6
    assert any(not unit(params, j).any() for j in range(4))


@pytest.mark.slow
def test_dtypes_are_kept_and_zeros_are_positive():
    tree = {"up": jnp.full((2, 2), -1e-3, jnp.bfloat16), "down": jnp.full((2, 1), -0.0)}
    for steps in (1.0, jax.tree.map(lambda leaf: np.full(leaf.shape, 0.5, np.float32), tree)):
        y = l1jax.coupled(1.0, {"up": -1, "down": 0}).prox(tree, steps)
        assert (y["up"].dtype, y["down"].dtype) == (jnp.bfloat16, jnp.float32)
        for leaf in jax.tree.leaves(y):
            assert not np.any(leaf)
            assert not np.signbit(np.asarray(leaf, np.float32)).any()


@pytest.mark.slow
def test_strengths_vmap_and_derivatives_are_finite():
    tree = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), TREE)
    steps = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), STEPS)

    def prox(strength, tree):
        return l1jax.coupled(strength, UNITS).prox(tree, steps)

    strengths = jnp.array([0.0, 0.2, 0.7])
    together = jax.jit(jax.vmap(prox, in_axes=(0, None)))(strengths, tree)
    compiled = jax.jit(prox)
    for i, strength in enumerate(strengths):
        alone = jax.tree.leaves(compiled(strength, tree))
        for one, leaf in zip(alone, jax.tree.leaves(together), strict=True):
            np.testing.assert_allclose(leaf[i], one, rtol=1e-5, atol=1e-6)

    @jax.jit
    def size(tree):
        return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(prox(0.4, tree)))

    gradient = jax.jit(jax.grad(size))
    for point in (tree, jax.tree.map(np.zeros_like, tree)):
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient(point)))
    direction = jax.tree.map(lambda leaf: np.float32(RNG.normal(size=leaf.shape)), tree)
    slope = jax.jit(lambda tree: jax.jvp(size, (tree,), (direction,))[1])(tree)
    ahead, behind = (
        size(jax.tree.map(lambda leaf, d, e=e: leaf + e * d, tree, direction))
        for e in (1e-2, -1e-2)
    )
    np.testing.assert_allclose(slope, (ahead - behind) / 2e-2, rtol=2e-2)


@pytest.mark.parametrize("kind", [AxisType.Explicit, AxisType.Auto])
@pytest.mark.parametrize("per_group", [False, True])
def test_same_zeros_on_eight_devices_and_no_kernel_is_gathered(kind, per_group):
    shapes = {"up": (16, 32), "bias": (32,), "down": (32, 16)}
    rng = np.random.default_rng(1)
    params = {k: rng.normal(size=shape).astype(np.float32) for k, shape in shapes.items()}
    grads = {k: rng.normal(size=shape).astype(np.float32) for k, shape in shapes.items()}
    tx = l1jax.proximal_adam(0.5, l1jax.coupled(1.2, UNITS), per_group=per_group)

    def run(params, state, grads):
        for _ in range(2):
            updates, state = tx.update(grads, state, params)
            params = optax.apply_updates(params, updates)
        return params

    expected = jax.jit(run)(params, tx.init(params), grads)
    mesh = jax.make_mesh((8,), ("model",), axis_types=(kind,))
    specs = {
        "up": PartitionSpec(None, "model"),
        "bias": PartitionSpec(),
        "down": PartitionSpec(None, "model"),
    }
    shardings = {k: NamedSharding(mesh, spec) for k, spec in specs.items()}
    with jax.set_mesh(mesh):
        placed = jax.device_put(params, shardings)
        state = jax.jit(tx.init)(placed)
        program = jax.jit(run).lower(placed, state, jax.device_put(grads, shardings)).compile()
        actual = program(placed, state, jax.device_put(grads, shardings))
    zero = expected["bias"] == 0
    assert zero.any()
    assert not zero.all()
    for key, leaf in actual.items():
        np.testing.assert_allclose(leaf, expected[key], rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(leaf == 0, expected[key] == 0)
        if kind == AxisType.Explicit:  # otherwise the compiler chooses
            assert leaf.sharding.is_equivalent_to(shardings[key], leaf.ndim)
    lines = [line for line in program.as_text().splitlines() if " all-gather(" in line]
    assert not [line for line in lines if "f32[16,32]" in line or "f32[32,16]" in line]


def test_in_a_by_path_a_group_is_what_matches():
    penalty = l1jax.by_path({"up|bias": l1jax.coupled(0.4, UNITS), "free": l1jax.l1(0.1)})
    y = penalty.prox(TREE, 1.0)
    np.testing.assert_array_equal(y["down"], TREE["down"])
    for j in range(4):
        z = unit(TREE, j)[:4]
        factor = max(1 - 0.4 * 2 / np.linalg.norm(z), 0)
        np.testing.assert_allclose(unit(y, j)[:4], factor * z, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        y["free"], np.sign(TREE["free"]) * np.maximum(np.abs(TREE["free"]) - 0.1, 0), rtol=1e-5
    )


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"up": -1, "bais": 0}, r"`groups` has \['bais'\], which must be paths of parameters"),
        ({"up": 2}, r"`groups` has axis 2 of up, but its shape is \(3, 4\)"),
        ({"up": 0, "bias": 0}, "axes of different lengths"),
        ([{"up": 0}, {"up": 1}], "entries of up in two groups"),
        ([{"up": 1, "bias": 0}, {"bias": 0}], "entries of bias in two groups"),
        ({"up": l1jax.Slices(1, (0, 1))}, "2 group numbers for axis 1 of up"),
    ],
)
def test_groups_that_do_not_fit_the_tree_are_refused(groups, message):
    with pytest.raises(ValueError, match=message):
        l1jax.proximal_sgd(0.1, l1jax.coupled(1.0, groups)).init(TREE)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([], r"`groups` \(=\[\]\) must be mappings"),
        ("kernel", r"`groups` \(='kernel'\) must be mappings|`groups` has 'k'"),
        ([{}], "`groups` has {}, which must be a mapping"),
        ({"up": "last"}, "`groups` has 'up': 'last', which must be a path and an axis"),
        ({"up": l1jax.Slices(0, (0.5,))}, "must be whole numbers"),
    ],
)
def test_what_is_no_mapping_of_groups_is_refused(groups, message):
    with pytest.raises(ValueError, match=message):
        as_families(groups)


def test_groups_are_not_split_over_optimisers_nor_summed_nor_taken_leaf_by_leaf():
    penalty = l1jax.coupled(1.0, UNITS)
    only_up = {key: key == "up" for key in TREE}
    with pytest.raises(ValueError, match="hides here: all leaves of a group"):
        optax.masked(l1jax.proximal_sgd(0.1, penalty), only_up).init(TREE)
    with pytest.raises(ValueError, match="closed form"):
        l1jax.sum_of(penalty, l1jax.l1(0.1))
    tx = l1jax.proximal_sgd(0.1, penalty, scale=l1jax.reweight(1))
    state = tx.init(TREE)
    with pytest.raises(ValueError, match="must be one number"):
        tx.update(TREE, state, TREE)
    with pytest.raises(TypeError, match="`prox` of bias alone does not exist"):
        penalty.per_leaf(TREE)[0].prox(TREE["bias"], 1.0)
    with pytest.raises(ValueError, match="`step` must be one number for `coupled_mcp`"):
        l1jax.coupled_mcp(1.0, 3.0, UNITS).prox(TREE, STEPS)

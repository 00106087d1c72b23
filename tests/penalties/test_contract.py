"""What holds for every penalty: exact zeros, dtypes, trees, tracing, NaN, limits."""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from catalogue import ALL, BALL, CONVEX, DISTANCE, EACH_KIND, GROUPED, PROX, VALUE, WEIGHTED, ids
from fast_cases import slow_except
from flax import nnx

import l1jax
from l1jax.penalties import scaled

# The catalogue's γ is beyond the range of half precision.
SHIFTED = {"group_mcp": l1jax.group_mcp(0.7, 3.0, 0)}


# Those of one kind take the same way.
every_kind = pytest.mark.parametrize("case", slow_except(ALL, *EACH_KIND), ids=ids)


def make(case):
    return SHIFTED.get(case.name, case.penalty())


@every_kind
def test_dtype_is_kept_and_half_precision_is_computed_in_float32(case):
    penalty = make(case)
    for dtype in (jnp.bfloat16, jnp.float16, jnp.float32):
        x = jax.ShapeDtypeStruct((3,), dtype)
        assert (
            jax.eval_shape(penalty.prox, x, 0.37).dtype
            == jax.eval_shape(penalty.subgradient, x).dtype
            == dtype
        )
        assert (
            jax.eval_shape(penalty.value, x).dtype
            == jax.eval_shape(penalty.distance, x, x).dtype
            == jnp.float32
        )
    x = np.array([1.5, -0.3, 0.7], jnp.bfloat16)
    step = np.array([0.37, 0.37, 0.37], np.float32)
    y = PROX(penalty, x, step)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_array_equal(y, PROX(penalty, x.astype(np.float32), step).astype(jnp.bfloat16))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("case", EACH_KIND, ids=ids)
def test_dtype_is_kept_with_float64_switched_on(case):
    for dtype in (jnp.bfloat16, jnp.float32, jnp.float64):
        x = jax.ShapeDtypeStruct((3,), dtype)
        for step in (0.37, np.float64(0.37), np.full(3, 0.37)):
            assert jax.eval_shape(make(case).prox, x, step).dtype == dtype
        assert jax.eval_shape(make(case).subgradient, x).dtype == dtype


@every_kind
def test_zeros_are_positive_zeros(case):
    small = np.array([-0.0, -1e-3, -1e-30], np.float32)
    for x in (small, np.zeros(3, np.float32), -small, np.array([-0.0, 3.0, -2.0], np.float32)):
        for step in (np.array([1.0, 0.5, 2.0], np.float32), np.zeros(3, np.float32)):
            y = np.asarray(PROX(make(case), x, step))
            assert not np.signbit(y[y == 0]).any()


def test_zeros_that_come_from_rounding_to_half_precision_are_positive():
    y = np.asarray(l1jax.l2(10.0).prox(jnp.array([-1e-7, 1e-7], jnp.float16), 1.0))
    assert not y.any()
    assert not np.signbit(y).any()


@every_kind
def test_prox_of_zero_is_zero(case):
    x = np.zeros(3, np.float32)
    assert not np.any(PROX(make(case), x, np.array([1.0, 2.0, 0.5], np.float32)))
    assert not np.any(PROX(make(case), x, 0.7))
    assert VALUE(make(case), x) == 0


@every_kind
def test_step_zero_changes_nothing(case):
    # a learning rate that warms up from zero gives such steps
    x = np.array([0.3, 0.1, 0.2], np.float32)
    for step in (0.0, np.zeros(3, np.float32)):
        np.testing.assert_allclose(PROX(make(case), x, step), x, rtol=1e-6)


@pytest.mark.parametrize("case", [case for case in ALL if case is not BALL], ids=ids)
def test_strength_zero_changes_nothing(case):
    penalty = scaled(make(case), 0.0)
    x = np.array([3.0, 1.0, 2.0], np.float32)
    for step in (0.7, np.array([1.0, 2.0, 0.5], np.float32)):
        np.testing.assert_allclose(PROX(penalty, x, step), x, rtol=1e-6)
    assert VALUE(penalty, x) == 0


@pytest.mark.parametrize("case", ALL, ids=ids)
def test_nan_is_not_pruned_away(case):
    x = np.array([np.nan, 1.0, 2.0], np.float32)
    for step in (0.5, np.array([0.5, 0.4, 0.3], np.float32)):
        assert np.isnan(PROX(make(case), x, step)[0])


@pytest.mark.parametrize("case", EACH_KIND, ids=ids)
def test_a_tree_is_computed_leaf_by_leaf(case):
    penalty = make(case)
    rng = np.random.default_rng(0)
    a = rng.normal(size=3).astype(np.float32)
    b = rng.uniform(size=3).astype(np.float32)
    params = {"a": a, "b": [b], "none": None}
    grads = {"a": a - 0.3, "b": [b - 0.3], "none": None}
    step = np.array([0.1, 0.2, 0.3], np.float32)
    values = VALUE(penalty, a), VALUE(penalty, b)
    np.testing.assert_allclose(VALUE(penalty, params), sum(values), rtol=1e-6)
    both = DISTANCE(penalty, a, a - 0.3), DISTANCE(penalty, b, b - 0.3)
    np.testing.assert_allclose(DISTANCE(penalty, params, grads), np.hypot(*both), rtol=1e-6)
    prox = PROX(penalty, params, {"a": step, "b": [0.5], "none": None})
    assert jax.tree.structure(prox) == jax.tree.structure(params)
    np.testing.assert_allclose(prox["a"], PROX(penalty, a, step), rtol=1e-6)
    np.testing.assert_allclose(prox["b"][0], PROX(penalty, b, 0.5), rtol=1e-6)
    assert penalty.value({}) == penalty.distance({}, {}) == 0


def test_one_step_serves_every_leaf_below_it():
    params = {"a": {"x": jnp.array([3.0]), "y": jnp.array([3.0])}, "b": jnp.array([3.0])}
    y = l1jax.l1(1.0).prox(params, {"a": 1.0, "b": 2.0})
    assert (y["a"]["x"], y["a"]["y"], y["b"]) == (2, 2, 1)
    assert l1jax.l1(1.0).subgradient(params)["b"] == 1


@pytest.mark.parametrize("case", EACH_KIND, ids=ids)
def test_strengths_trace_and_vmap(case):
    scales = np.array([0.1, 1.0, 4.0], np.float32)
    x = np.array([1.5, 0.3, 0.7], np.float32)
    step = np.array([0.5, 0.2, 0.9], np.float32)
    stacked = jax.tree.map(
        lambda *leaves: jnp.stack(leaves), *(scaled(make(case), scale) for scale in scales)
    )
    at_once = jax.vmap(PROX, in_axes=(0, None, None))(stacked, x, step)
    for i, scale in enumerate(scales):
        alone = scaled(make(case), float(scale))
        np.testing.assert_allclose(at_once[i], PROX(alone, x, step), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", ALL, ids=ids)
def test_penalty_is_a_pytree_of_its_numbers(case):
    penalty = case.penalty()
    assert all(isinstance(leaf, float | np.ndarray) for leaf in jax.tree.leaves(penalty))
    assert jax.tree.structure(jax.tree.map(lambda leaf: None, penalty)) is not None
    assert isinstance(jax.eval_shape(lambda p: p, penalty), type(penalty))
    assert isinstance(penalty, l1jax.Penalty)


def test_jit_tells_penalties_with_equally_many_numbers_apart():
    # the structures of classes registered by jax.tree_util.register_dataclass compare equal
    structures = {type(make(case)): jax.tree.structure(make(case)) for case in ALL}
    by_path = ({"x": l1jax.l1(1.0)}, {"x": l1jax.l2(1.0)}, {"y": l1jax.l1(1.0)})
    structures |= {
        i: jax.tree.structure(l1jax.by_path(penalties)) for i, penalties in enumerate(by_path)
    }
    for a, b in itertools.combinations(structures, 2):
        assert structures[a] != structures[b], (a, b)
    assert jax.tree.structure(l1jax.l1(1.0)) == jax.tree.structure(l1jax.l1(2.0))
    assert jax.tree.structure(l1jax.group_l1(1.0, 0)) != jax.tree.structure(l1jax.group_l1(1.0, 1))


@pytest.mark.parametrize("case", EACH_KIND, ids=ids)
def test_derivatives_of_the_prox_are_finite(case):
    step = jnp.array([0.5, 0.3, 0.7])
    slopes = jax.jit(jax.grad(lambda *args: jnp.sum(jnp.square(PROX(*args))), argnums=(0, 1, 2)))
    for x in (jnp.zeros(3), jnp.array([0.01, 0.0, 0.02]), jnp.array([5.0, 0.0, 2.0])):
        assert all(
            np.isfinite(slope).all() for slope in jax.tree.leaves(slopes(make(case), x, step))
        )


@pytest.mark.parametrize("case", [*CONVEX], ids=ids)
def test_float32_follows_float64_in_an_ill_conditioned_metric(case):
    rng = np.random.default_rng(0)
    for _ in range(30):
        z = 3 * rng.normal(size=3)
        step = 10 ** rng.uniform(-3, 3, size=3)
        with jax.enable_x64(True):
            exact = np.asarray(PROX(case.penalty(), z, step))
        rounded = PROX(case.penalty(), z.astype(np.float32), step.astype(np.float32))
        assert rounded.dtype == jnp.float32
        np.testing.assert_allclose(rounded, exact, atol=5e-6 * np.abs(z).max())


def test_scaled_multiplies_every_strength_and_nothing_else():
    penalty = l1jax.by_path(
        {
            "a": l1jax.sum_of(l1jax.sparse_group_l1(1.0, 2.0, 0), l1jax.l2(3.0)),
            "b": l1jax.mcp(1.0, 3.0),
            "c": l1jax.l1_ball(2.0),
            "d": l1jax.weighted_l1(1.0, {"strength": 5.0, "other": np.ones(2)}),
            "e": l1jax.scad(1.0, 3.7),
            "f": l1jax.log_sum(1.0, 0.1),
        }
    )
    double = scaled(penalty, 2)
    a, b, c, d, e, f = double.penalties
    assert [part.strength for part in a.parts] == [2, 4]
    assert (a.l2_strength, b.strength, b.gamma, c.radius, d.strength) == (6, 2, 3, 2, 2)
    assert (d.weights["strength"], e.strength, e.a, f.strength, f.eps) == (5, 2, 3.7, 2, 0.1)


def test_weights_go_with_their_leaves():
    params = {
        "a": {"kernel": jnp.array([3.0, 3.0])},
        "b": {"kernel": jnp.array([3.0, 3.0]), "bias": jnp.ones(1)},
    }
    weights = {
        "a": {"kernel": jnp.array([1.0, 2.0])},
        "b": {"kernel": jnp.array([0.0, 9.0]), "bias": jnp.zeros(1)},
    }
    expected = {
        "a": {"kernel": np.array([2.0, 1.0])},
        "b": {"kernel": np.array([3.0, 0.0]), "bias": np.ones(1)},
    }
    weighted = l1jax.weighted_l1(1.0, weights)
    for penalty in (
        weighted,
        l1jax.by_path({"kernel": weighted}),
        l1jax.sum_of(weighted),
        l1jax.by_path({"kernel": l1jax.sum_of(weighted, l1jax.l2(0.0))}),
    ):
        jax.tree.map(np.testing.assert_array_equal, penalty.prox(params, 1.0), expected)
        assert penalty.value(params) == 3 + 6 + 27


@pytest.mark.parametrize("case", EACH_KIND, ids=ids)
def test_leaves_without_entries_work(case):
    penalty = make(case)
    shapes = [(0,), (0, 3), (3, 0)]
    if case.name == "weighted_l1":
        shapes = [(0, 3)]  # its weights are three

    @jax.jit  # compiled once for all shapes
    def everything(leaves):
        return [
            (
                (penalty.prox(x, 1.0), penalty.prox(x, x), penalty.subgradient(x)),
                (penalty.value(x), penalty.distance(x, x)),
            )
            for x in leaves
        ]

    results = everything([jnp.zeros(shape) for shape in shapes])
    for shape, (leaves, numbers) in zip(shapes, results, strict=True):
        assert [leaf.shape for leaf in leaves] == [shape] * 3
        assert numbers == (0, 0)


@pytest.mark.parametrize(
    "case", [case for case in EACH_KIND if case not in (WEIGHTED, *GROUPED)], ids=ids
)
def test_a_number_is_an_array_of_one_entry(case):
    penalty = make(case)
    one = jnp.array([2.0])
    for number in (2.0, np.float64(2.0)):
        prox = penalty.prox(number, 0.5)
        subgradient = penalty.subgradient(number)
        assert (prox.shape, prox.dtype, subgradient.shape) == ((), jnp.float32, ())
        np.testing.assert_allclose(prox, penalty.prox(one, 0.5)[0], rtol=1e-6)
        np.testing.assert_allclose(subgradient, penalty.subgradient(one)[0], rtol=1e-6)
        np.testing.assert_allclose(penalty.value(number), penalty.value(one), rtol=1e-6)
        np.testing.assert_allclose(
            penalty.distance(number, -0.25), penalty.distance(one, one * -0.125), rtol=1e-6
        )


def test_sparsity_and_soft_threshold_of_python_numbers():
    assert l1jax.sparsity({"zero": 0.0, "one": np.float64(1.0), "row": np.zeros(2)}).total == 0.75
    assert l1jax.soft_threshold(np.float32(2.0), 0.5) == 1.5


@pytest.mark.parametrize(
    "penalty", [l1jax.group_l1(1e-4, 0), l1jax.linf(1e-4), l1jax.mcp(1e-4, 3.0)]
)
def test_small_float16_entries_do_not_vanish_in_their_squares(penalty):
    x = np.array([3e-4, -2e-4, 1e-4], np.float16)  # whose squares are below float16's range
    expected = PROX(penalty, x.astype(np.float32), 1.0)
    np.testing.assert_array_equal(PROX(penalty, x, 1.0), expected.astype(jnp.float16))
    assert np.any(expected != 0)


def test_one_pattern_serves_boxed_parameters_too():
    class Net(nnx.Module):
        def __init__(self):
            self.hidden = nnx.Linear(2, 2, rngs=nnx.Rngs(0))

    linen = {
        "params": {
            "hidden": {"kernel": nn.Partitioned(jnp.ones((2, 2)), (None, "x")), "bias": jnp.ones(2)}
        }
    }
    penalty = l1jax.by_path({r"(^|/)kernel$": l1jax.l1(2.0)})
    for params in (nnx.state(Net(), nnx.Param), linen):
        pruned = l1jax.sparsity(penalty.prox(params, 9.0))
        assert set(pruned.by_path) == {"hidden/kernel", "hidden/bias"}
        assert pruned.by_path["hidden/kernel"] == 1
    # Keys of dictionaries are names like any other.
    value = {
        "value": jnp.ones(2),
        "a": {"value": jnp.zeros(2)},
    }
    assert set(l1jax.sparsity(value).by_path) == {"value", "a/value"}


def test_sparsity_counts_leaves_of_the_same_name_together():
    twice = {"params": {"x": jnp.array([0.0, 1.0])}, "x": jnp.zeros(2)}
    assert l1jax.sparsity(twice).total == l1jax.sparsity(twice).by_path["x"] == 0.75

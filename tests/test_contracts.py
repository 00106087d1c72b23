"""What every transformation promises: one list of them all, times what must hold."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from transformations import CASES, run_updates, tree

import l1jax

VARIANTS = {  # of transformations that are there without them
    "budget of groups",
    "coupled",
    "freeze_support at a target",
    "groups in a metric",
    "momentum",
    "one step per coupled group",
    "one step per group",
    "schedules",
    "track_sparsity of groups",
    "track_sparsity of leaves",
    "weight decay",
}


def once_each(names):
    """Each transformation; its variants are further cases."""
    marks = {name: pytest.mark.slow if name in VARIANTS else () for name in names}
    return pytest.mark.parametrize("name", [pytest.param(n, marks=m) for n, m in marks.items()])


def leaf_types(state: Any) -> Any:
    return jax.tree.map(
        lambda leaf: (jnp.shape(leaf), jnp.result_type(leaf), jnp.asarray(leaf).weak_type), state
    )


@functools.cache
def run_alone(name: str) -> Any:
    """Two steps of a transformation by itself."""
    return run_updates(CASES[name].make(), tree(0), [tree(1), tree(2)])


def compiled(tx: optax.GradientTransformation) -> optax.GradientTransformation:
    return optax.GradientTransformation(tx.init, jax.jit(tx.update))


def assert_close(actual: Any, expected: Any, rtol: float = 1e-5) -> None:
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=3e-6), actual, expected
    )


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@once_each(CASES)
def test_keeps_tree_shapes_and_dtypes_and_compiles_once_with_donated_arguments(name, dtype):
    tx = CASES[name].make()
    params = tree(0, dtype)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params, state, grads):
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state, updates

    state = tx.init(params)
    expected = leaf_types(params), leaf_types(state), leaf_types(params)
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(state))  # a restored one never is
    for seed in (1, 2, 3):
        params, state, updates = step(params, state, tree(seed, dtype))
        assert (leaf_types(params), leaf_types(state), leaf_types(updates)) == expected
        assert all(jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(params))
    assert step._cache_size() == 1


# These are links of a chain whose other link is optax's, which does not take float0.
OPTAX_FIRST = {
    "add_subgradient",
    "proximal",
}


@once_each(CASES)
def test_other_leaves_stay_and_numpy_and_python_numbers_are_arrays(name):
    tx = CASES[name].make()
    others = {"step": jnp.int32(3), "flag": jnp.array(True), "seed": jnp.uint32(7)}
    no_gradient = jax.tree.map(jnp.zeros_like, others)
    if CASES[name].penalised and name not in OPTAX_FIRST:  # float0
        no_gradient = jax.grad(lambda params: jnp.zeros([]), allow_int=True)(others)
    params = (
        jax.tree.map(np.asarray, tree(0)) | others | {"number": 1.5, "scalar": np.float64(-0.5)}
    )
    grads = [
        jax.tree.map(np.asarray, tree(seed))
        | no_gradient
        | {"number": 0.5, "scalar": np.float64(0.25)}
        for seed in (1, 2)
    ]
    actual, state = run_updates(tx, params, grads)
    for key, value in others.items():
        assert actual[key] == value
        assert actual[key].dtype == value.dtype
    assert jnp.isfinite(actual["number"])
    assert actual["number"] != 1.5
    assert actual["scalar"] != -0.5
    if name != "accelerated":  # whose momentum depends on all leaves
        assert_close({key: actual[key] for key in ("dense", "norm")}, run_alone(name)[0])
    answer = l1jax.solution(state, actual)
    assert answer["step"] == 3
    if name != "proximal":  # whose optax.adam has moments of a weak type for a Python number
        assert not any(leaf.weak_type for leaf in jax.tree.leaves(state))


# The `optax.adam` of this chain divides by zero.
@once_each([name for name in CASES if name != "proximal"])
def test_float16_is_computed_in_float32(name):
    half = tree(0, jnp.float16)
    grads = jax.tree.map(lambda g: (1e-4 * g).astype(jnp.float16), tree(1))
    actual, _ = run_updates(CASES[name].make(), half, [grads])
    wide = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), (half, grads))
    expected, _ = run_updates(CASES[name].make(), wide[0], [wide[1]])
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert a.dtype == jnp.float16
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-3)


@once_each(CASES)
def test_leaves_without_entries_or_axes_and_trees_without_leaves(name):
    empty = {"dense": {"kernel": jnp.zeros((0, 4)), "bias": jnp.ones(())}, "none": None}
    for params in (empty, {}, {"none": None}):
        actual, _ = run_updates(CASES[name].make(), params, [params, params])
        assert jax.tree.structure(actual) == jax.tree.structure(params)
        for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(params), strict=True):
            assert a.shape == b.shape
            assert jnp.all(jnp.isfinite(a))


@once_each(CASES)
def test_init_works_on_shapes_alone(name):
    tx = CASES[name].make()
    params = tree(0)
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), params)
    abstract = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), jax.eval_shape(tx.init, shapes))
    assert abstract == jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tx.init(params))


@once_each(CASES)
def test_state_has_memory_of_its_own_and_can_be_donated_with_the_parameters(name):
    tx = CASES[name].make()
    params = tree(0)
    leaves = jax.tree.leaves((params, tx.init(params)))
    assert len({leaf.unsafe_buffer_pointer() for leaf in leaves}) == len(leaves)


@once_each(CASES)
def test_works_inside_a_chain(name):
    params = tree(0)
    grads = [tree(1), tree(2)]
    chained = optax.chain(optax.identity(), CASES[name].make(), optax.identity())
    actual, state = run_updates(chained, params, grads)
    assert_close((actual, state[1]), run_alone(name))


@once_each(CASES)
def test_masked_and_partition_act_on_their_leaves_alone(name):
    params = tree(0)
    grads = [tree(1), tree(2), tree(3)]
    kernel = {"dense": {"kernel": params["dense"]["kernel"]}}
    expected, _ = run_updates(
        CASES[name].make(), kernel, [{"dense": {"kernel": g["dense"]["kernel"]}} for g in grads]
    )
    labels = {"dense": {"kernel": "sparse", "bias": "dense"}, "norm": {"scale": "dense"}}
    mask = jax.tree.map(lambda label: label == "sparse", labels)
    masked, masked_state = run_updates(optax.masked(CASES[name].make(), mask), params, grads)
    parts = {"sparse": CASES[name].make(), "dense": optax.sgd(0.1), "nothing": CASES[name].make()}
    partitioned, state = run_updates(optax.partition(parts, labels), params, grads)
    assert_close(masked["dense"]["kernel"], expected["dense"]["kernel"])
    assert_close(partitioned["dense"]["kernel"], expected["dense"]["kernel"])
    sgd, _ = run_updates(optax.sgd(0.1), params, grads)
    assert_close(partitioned["norm"], sgd["norm"])
    for actual, found_state in ((masked, masked_state), (partitioned, state)):
        answer = l1jax.solution(found_state, actual)
        assert jax.tree.structure(answer) == jax.tree.structure(params)
        np.testing.assert_array_equal(answer["dense"]["bias"], actual["dense"]["bias"])


@once_each(CASES)
def test_multi_steps_around_it_steps_once_with_the_mean(name):
    params = tree(0)
    grads = [tree(1), tree(2), tree(3), tree(4)]
    accumulated = compiled(optax.MultiSteps(CASES[name].make(), 2).gradient_transformation())
    half, state = run_updates(accumulated, params, grads[:1])
    jax.tree.map(np.testing.assert_array_equal, half, params)
    actual, _ = run_updates(accumulated, half, grads[1:], state)
    means = [jax.tree.map(lambda a, b: (a + b) / 2, *pair) for pair in (grads[:2], grads[2:])]
    expected, _ = run_updates(CASES[name].make(), params, means)
    assert_close(actual, expected, rtol=1e-4)


@once_each(CASES)
def test_apply_if_finite_around_it_skips_the_whole_step(name):
    params = tree(0)
    grads = [tree(1), tree(2)]
    bad = jax.tree.map(lambda leaf: leaf.at[0].set(jnp.nan), tree(3))
    actual, state = run_updates(
        compiled(optax.apply_if_finite(CASES[name].make(), 5)), params, [grads[0], bad, grads[1]]
    )
    assert_close((actual, state.inner_state), run_alone(name))


@once_each(CASES)
def test_inject_hyperparams_around_it_steps_with_the_injected_learning_rate(name):
    case = CASES[name]
    params = tree(0)
    grads = [tree(1), tree(2)]
    static = [key for key, value in case.arguments.items() if key == "make" or callable(value)]
    penalty = {"penalty": l1jax.by_path({"kernel": l1jax.l1(0.02)})} if case.penalised else {}
    arguments = case.arguments | {"learning_rate": 0.3} | penalty
    tx = optax.inject_hyperparams(case.factory, static_args=set(static) - {"learning_rate"})(
        **arguments
    )
    state = tx.init(params)
    state.hyperparams["learning_rate"] = jnp.asarray(0.07)
    actual, _ = run_updates(tx, params, grads, state)
    assert_close(
        actual,
        run_updates(case.factory(**arguments | {"learning_rate": 0.07}), params, grads)[0],
        rtol=1e-3,
    )


@once_each([name for name, case in CASES.items() if case.penalised])
def test_vmap_over_strengths_is_a_run_for_each(name):
    params = tree(0)
    grads = [tree(1), tree(2)]
    strengths = jnp.array([0.05, 0.5])

    def run(strength):
        tx = CASES[name].make(l1jax.by_path({"kernel": l1jax.l1(strength)}))
        actual, state = run_updates(tx, params, grads)
        return actual, l1jax.solution(state, actual), l1jax.strength(state)

    path = jax.jit(jax.vmap(run))(strengths)
    alone = jax.jit(run)
    for i, strength in enumerate(strengths):
        assert_close(jax.tree.map(lambda leaf: leaf[i], path), alone(strength))  # noqa: B023
    if name not in (
        "schedules",
        "track_sparsity",
        "track_sparsity of leaves",
        "track_sparsity of groups",
        "reweight",
    ):  # which move it, the last three by what they see
        np.testing.assert_allclose(path[2], strengths, rtol=1e-6)


def data_parallel(tx: optax.GradientTransformation, devices: int, params: Any, batch: Any) -> Any:
    """Three updates with the gradient of a mean over a batch that is spread over devices."""

    def loss(params, x, y):
        actual = (x @ params["dense"]["kernel"] + params["dense"]["bias"]) * params["norm"]["scale"]
        return jnp.mean(jnp.square(actual - y))

    def run(params, x, y):
        def step(carry, _):
            params, state = carry
            varying = jax.tree.map(lambda p: jax.lax.pcast(p, "data", to="varying"), params)
            grads = jax.lax.pmean(jax.grad(loss)(varying, x, y), "data")
            updates, state = tx.update(grads, state, params)
            return (optax.apply_updates(params, updates), state), grads

        return jax.lax.scan(step, (params, tx.init(params)), length=3)

    mesh = Mesh(jax.devices()[:devices], ("data",))
    specs = (PartitionSpec(), PartitionSpec("data"), PartitionSpec("data"))
    return jax.jit(jax.shard_map(run, mesh=mesh, in_specs=specs, out_specs=PartitionSpec()))(
        params, *batch
    )


@once_each(CASES)
def test_eight_devices_agree_with_one(name):
    rng = np.random.default_rng(5)
    batch = (
        jnp.asarray(rng.normal(size=(32, 8)), jnp.float32),
        jnp.asarray(rng.normal(size=(32, 4)), jnp.float32),
    )
    tx = CASES[name].make()
    params = tree(0)
    one = data_parallel(tx, 1, params, batch)
    eight = data_parallel(tx, 8, params, batch)
    assert_close(eight, one, rtol=1e-4)  # parameters, gradients, moments
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a == 0, b == 0), eight[0][0], one[0][0])


@once_each(CASES)
def test_keeps_the_sharding_of_the_parameters(name):
    mesh = jax.make_mesh((8,), ("model",), axis_types=(AxisType.Explicit,))

    def axes(tree):
        return [
            [axis for axis in (x.sharding.spec if x.sharding else ()) if axis]
            for x in jax.tree.leaves(tree)
        ]

    with jax.set_mesh(mesh):  # where shardings are part of the type: nothing needs to run
        shard = {
            2: NamedSharding(mesh, PartitionSpec("model")),
            1: NamedSharding(mesh, PartitionSpec()),
        }
        params = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=shard[x.ndim]), tree(0)
        )
        tx = CASES[name].make()
        state = jax.eval_shape(tx.init, params)
        updates, new = jax.eval_shape(tx.update, params, state, params)
    assert axes(updates) == axes(params)
    assert axes(new) == axes(state)
    assert ["model"] in axes(params)


@pytest.mark.slow
def test_checkpoint_brings_every_state_back_bit_for_bit(tmp_path):
    runs = {name: run_alone(name) for name in CASES}
    with ocp.CheckpointManager(tmp_path) as manager:
        manager.save(0, args=ocp.args.StandardSave(runs))
        manager.wait_until_finished()
        shapes = jax.tree.map(ocp.utils.to_shape_dtype_struct, runs)
        restored = manager.restore(0, args=ocp.args.StandardRestore(shapes))
    assert jax.tree.structure(restored) == jax.tree.structure(runs)
    jax.tree.map(np.testing.assert_array_equal, restored, runs)


def test_every_public_transformation_is_in_the_list():
    helpers = {
        "diagnose",
        "preconditioners",
        "set_scale",
        "solution",
        "sparse_average",
        "strength",
        "rising_momentum",
    }
    reparametrisations = {"d_gating", "hadamard"}
    public = {name for name in l1jax.transforms.__all__ if name[0].islower()}
    assert public - helpers - reparametrisations == set(CASES) - VARIANTS

"""Parameters on a mesh of explicit axes get the zeros of one device, and no leaf is gathered."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from fast_cases import slow_except
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import l1jax

BLOCKS = l1jax.kernel_blocks((2, 2))
ADAM = {
    "blocks": (l1jax.group_l1(0.4, BLOCKS), False),
    "one step per block": (l1jax.group_l1(2.0, BLOCKS), True),
    "entries and blocks": (
        l1jax.sum_of(l1jax.l1(0.1), l1jax.group_l1(2.0, BLOCKS), l1jax.l2(0.1)),
        True,
    ),
    "group MCP": (l1jax.group_mcp(2.0, 3.0, BLOCKS), True),
    "maximum norm": (l1jax.linf(9.0), False),
    "L1 ball": (l1jax.l1_ball(20.0), False),
}
CASES = {
    name: l1jax.proximal_adam(0.3, penalty, per_group=group)
    for name, (penalty, group) in ADAM.items()
} | {
    "magnitude_pruning": optax.chain(optax.sgd(0.3), l1jax.magnitude_pruning(0.5)),
    "pruned together": optax.chain(optax.sgd(0.3), l1jax.magnitude_pruning(0.5, scope="global")),
    "frozen at a target": optax.chain(optax.sgd(0.3), l1jax.freeze_support(target=0.5)),
    "n_of_m": optax.chain(optax.sgd(0.3), l1jax.n_of_m(2, 4)),
    "budget": optax.chain(optax.sgd(0.3), l1jax.budget(0.5, "global")),
    "budget of blocks": optax.chain(optax.sgd(0.3), l1jax.budget(0.5, axis=BLOCKS)),
    "rigl": l1jax.rigl(optax.sgd(0.3), 0.5, every=1),
    "track_sparsity": l1jax.proximal_sgd(0.3, l1jax.l1(1.0), scale=l1jax.track_sparsity(0.5)),
}
RNG = np.random.default_rng(0)
PARAMS = {"rows": RNG.normal(size=(32, 4)), "columns": RNG.normal(size=(4, 32))}
SPECS = {"rows": PartitionSpec("model"), "columns": PartitionSpec(None, "model")}
# Each device has 4 rows or columns.
PARAMS = {name: leaf.astype(np.float32) for name, leaf in PARAMS.items()}


@pytest.mark.slow
@pytest.mark.parametrize("per_group", [False, True])
def test_matrices_of_low_rank_are_those_of_one_device(per_group):
    """A decomposition needs the whole matrix; a stack of them stays spread over the devices."""
    params = {
        "kernel": PARAMS["rows"],
        "stack": RNG.normal(size=(8, 3, 3, 2)).astype(np.float32),
    }
    penalty = l1jax.nuclear_norm(0.8, row_axes=2)
    tx = l1jax.proximal_adam(0.3, penalty, per_group=per_group)

    def step(params):
        updates, _ = tx.update(params, tx.init(params), params)
        return optax.apply_updates(params, updates)

    expected = jax.jit(step)(params)
    mesh = jax.make_mesh((8,), ("model",), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(mesh):
        actual = jax.jit(step)(jax.device_put(params, NamedSharding(mesh, PartitionSpec("model"))))
    for key, leaf in actual.items():
        np.testing.assert_allclose(leaf, expected[key], rtol=1e-4, atol=1e-5)
        assert leaf.sharding.spec[0] == "model"


FURTHER = {
    "rigl",
    "magnitude_pruning",
    "maximum norm",
    "frozen at a target",
    "budget of blocks",
    "group MCP",
    "entries and blocks",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", slow_except(CASES, *(CASES.keys() - FURTHER)))
def test_same_zeros_as_on_one_device_and_no_kernel_is_gathered(name):
    tx = CASES[name]
    rng = np.random.default_rng(1)  # for each case, whichever ran before
    grads = [
        jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), PARAMS)
        for _ in range(2)
    ]

    def run(params, state, grads):
        for g in grads:
            updates, state = tx.update(g, state, params)
            params = optax.apply_updates(params, updates)
        return params, state

    expected, _ = jax.jit(run)(PARAMS, jax.jit(tx.init)(PARAMS), grads)
    mesh = jax.make_mesh((8,), ("model",), axis_types=(AxisType.Explicit,))
    shardings = {key: NamedSharding(mesh, spec) for key, spec in SPECS.items()}
    with jax.set_mesh(mesh):
        params = jax.device_put(PARAMS, shardings)
        state = jax.jit(tx.init)(params)
        program = (
            jax.jit(run)
            .lower(params, state, [jax.device_put(g, shardings) for g in grads])
            .compile()
        )
        actual, new = program(params, state, [jax.device_put(g, shardings) for g in grads])
    for key, leaf in actual.items():
        np.testing.assert_allclose(leaf, expected[key], rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(leaf == 0, expected[key] == 0)
        assert leaf.sharding.is_equivalent_to(shardings[key], 2)
    assert any(jnp.any(leaf == 0) for leaf in actual.values()) or name == "maximum norm"
    assert all(jnp.any(leaf != 0) for leaf in actual.values())
    for leaf in jax.tree.leaves((state, new)):
        if leaf.ndim == 2:
            assert leaf.sharding.is_equivalent_to(
                shardings["rows" if leaf.shape[0] == 32 else "columns"], 2
            )
    gathered = re.findall(r"= \w+\[([\d,]+)\]\S* all-gather", program.as_text())
    assert not [shape for shape in gathered if np.prod([int(n) for n in shape.split(",")]) >= 128]


def test_blocks_that_lie_on_several_devices_have_the_same_zeros():
    mesh = jax.make_mesh((8,), ("model",), axis_types=(AxisType.Explicit,))
    penalty = l1jax.group_l1(0.4, l1jax.kernel_blocks((8, 1)))
    rows = jax.device_put(PARAMS["rows"], NamedSharding(mesh, SPECS["rows"]))
    actual = jax.jit(penalty.prox)(rows, 1.0)
    np.testing.assert_allclose(actual, penalty.prox(PARAMS["rows"], 1.0), rtol=1e-5, atol=1e-6)
    assert actual.sharding.is_equivalent_to(rows.sharding, 2)

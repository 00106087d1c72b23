"""From configuration to optimiser: every penalty, algorithm and schedule against what it names."""

import dataclasses
import math
import typing

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import l1jax
from l1jax import config
from l1jax.build_optimizer import build_optimizer, build_penalty, build_schedule
from l1jax.config import InputError, Optimizer, Pruning, Schedule
from l1jax.data.byte_tokens import VOCABULARY
from l1jax.models import transformer
from l1jax.transforms import strength
from l1jax.transforms.learning_rate import learning_rate, set_learning_rate_scale

PENALTIES = {
    config.L1(0.2): l1jax.l1(0.2),
    config.L2(0.2): l1jax.l2(0.2),
    config.ElasticNet(0.2, 0.3): l1jax.elastic_net(0.2, 0.3),
    config.NonnegativeL1(0.2): l1jax.nonnegative_l1(0.2),
    config.ReweightedL1(0.2): l1jax.l1(0.2),  # its weights are all 1 at the start
    config.L0(0.2): l1jax.l0(0.2),
    config.LHalf(0.2): l1jax.l_half(0.2),
    config.LogSum(0.2, 0.5): l1jax.log_sum(0.2, 0.5),
    config.Mcp(0.2, 2.5): l1jax.mcp(0.2, 2.5),
    config.Scad(0.2, 3.5): l1jax.scad(0.2, 3.5),
    config.GroupL1(0.2): l1jax.group_l1(0.2, l1jax.output_channels()),
    config.GroupL1(0.2, "input_channels"): l1jax.group_l1(0.2, l1jax.input_channels()),
    config.GroupL1(0.2, "blocks", (2, -1)): l1jax.group_l1(0.2, l1jax.kernel_blocks((2, -1))),
    config.SparseGroupL1(0.2, 0.3): l1jax.sparse_group_l1(0.2, 0.3, l1jax.output_channels()),
    config.GroupMcp(0.2, 2.5): l1jax.group_mcp(0.2, 2.5, l1jax.output_channels()),
    config.GroupL0(0.2): l1jax.group_l0(0.2, l1jax.output_channels()),
    config.Linf(0.2): l1jax.linf(0.2),
    config.NuclearNorm(0.2): l1jax.nuclear_norm(0.2),
    config.L1Ball(0.7): l1jax.l1_ball(0.7),
}
X = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
PARAMS = {"layer": {"kernel": jnp.asarray(X), "bias": jnp.ones(6)}}
GRADS = {"layer": {"kernel": jnp.asarray(X[::-1] / 2), "bias": jnp.full(6, 0.5)}}
RATE = 0.1
PATHS = r"(^|/)kernel$"
PENALTY = l1jax.by_path({PATHS: l1jax.l1(0.3)})
BY_HAND = {
    ("adam", "metric"): lambda: l1jax.proximal_adam(RATE, PENALTY, 0.5, 0.999),
    ("sgd", "metric"): lambda: l1jax.proximal_sgd(RATE, PENALTY),
    ("rmsprop", "metric"): lambda: l1jax.proximal_rmsprop(RATE, PENALTY, 0.999),
    ("adagrad", "metric"): lambda: l1jax.proximal_adagrad(RATE, PENALTY),
    ("rmda", "metric"): lambda: l1jax.rmda(RATE, PENALTY),
    ("ramda", "metric"): lambda: l1jax.ramda(RATE, PENALTY),
    ("adam", "plain"): lambda: optax.chain(
        optax.adam(RATE, 0.5, 0.999), l1jax.proximal(PENALTY, RATE)
    ),
    ("sgd", "plain"): lambda: optax.chain(optax.sgd(RATE), l1jax.proximal(PENALTY, RATE)),
    ("rmsprop", "subgradient"): lambda: optax.chain(
        l1jax.add_subgradient(PENALTY), optax.rmsprop(RATE, 0.999)
    ),
    ("adagrad", "subgradient"): lambda: optax.chain(
        l1jax.add_subgradient(PENALTY), optax.adagrad(RATE)
    ),
}


def after(tx, updates=3, state=None):
    params = PARAMS
    state = tx.init(PARAMS) if state is None else state
    for _ in range(updates):
        moves, state = tx.update(GRADS, state, params)
        params = optax.apply_updates(params, moves)
    return params, state


def test_every_penalty_of_the_configuration_is_tried_here():
    assert {type(penalty) for penalty in PENALTIES} == set(typing.get_args(config.Penalty))


@pytest.mark.parametrize(
    ("penalty", "expected"), PENALTIES.items(), ids=lambda value: type(value).__name__
)
def test_a_penalty_is_the_one_that_its_name_says(penalty, expected):
    built = build_penalty(penalty)
    assert type(built) is type(expected)
    np.testing.assert_array_equal(
        built.prox(jnp.asarray(X), 0.5), expected.prox(jnp.asarray(X), 0.5)
    )


@pytest.mark.parametrize(
    ("penalty", "expected"),
    [
        (config.GroupL1(0.2, "channels"), l1jax.coupled),
        (config.GroupL0(0.2, "channels"), l1jax.coupled_l0),
        (
            config.GroupMcp(0.2, 3.0, "channels"),
            lambda strength, groups: l1jax.coupled_mcp(strength, 3.0, groups),
        ),
    ],
    ids=["lasso", "L0", "MCP"],
)
def test_a_penalty_of_channels_has_the_groups_of_the_network_in_what_is_penalised(
    penalty, expected
):
    groups = {"layer/kernel": l1jax.Slices(-1), "layer/bias": l1jax.Slices(0)}
    for penalised, paths in ((PATHS, {"layer/kernel"}), ("layer", set(groups))):
        optimizer = Optimizer(0.5, "sgd", penalty=penalty, penalised=penalised)
        actual, _ = after(build_optimizer(optimizer, channels=lambda: groups), 1)
        chosen = {path: slices for path, slices in groups.items() if path in paths}
        moved = jax.tree.map(lambda p, g: p - 0.5 * g, PARAMS, GRADS)
        wanted = expected(0.2, chosen).prox(moved, 0.5)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), actual, wanted)
    with pytest.raises(InputError, match=r"`groups` \(=channels\) must be output_channels"):
        build_optimizer(Optimizer(0.5, penalty=penalty))


@pytest.mark.parametrize(("algorithm", "method"), BY_HAND)
def test_an_optimiser_is_the_one_that_its_name_says(algorithm, method):
    # By default b1 = 0.5 and b2 = 0.999.
    built = build_optimizer(
        Optimizer(RATE, algorithm, penalty=config.L1(0.3), method=method, eps=None)
    )
    actual = after(built)[0]
    expected = after(BY_HAND[algorithm, method]())[0]
    np.testing.assert_allclose(
        actual["layer"]["kernel"], expected["layer"]["kernel"], rtol=1e-6, atol=1e-7
    )
    np.testing.assert_allclose(actual["layer"]["bias"], expected["layer"]["bias"], rtol=1e-6)


def test_the_learning_rate_can_be_scaled_and_the_threshold_goes_with_it():
    tx = build_optimizer(Optimizer(0.2, "sgd", penalty=config.L1(0.3)))
    actual, state = after(tx, 1, set_learning_rate_scale(tx.init(PARAMS), 0.5))
    moved = X - 0.1 * np.asarray(GRADS["layer"]["kernel"])
    np.testing.assert_allclose(
        actual["layer"]["kernel"], np.sign(moved) * np.maximum(np.abs(moved) - 0.03, 0), atol=1e-6
    )
    np.testing.assert_allclose(learning_rate(state), 0.1, rtol=1e-6)
    assert math.isnan(learning_rate(optax.sgd(0.1).init(PARAMS)))


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Schedule(), lambda t: 1.0),
        (Schedule(warmup=4), lambda t: min((t + 1) / 4, 1)),
        (Schedule("linear", steps=10, end=0.2), lambda t: 1 - 0.8 * min(t / 10, 1)),
        (
            Schedule("linear", 2, 10, hold=4),
            lambda t: min((t + 1) / 2, 1 - (t - 6) / 4, 1) * (t < 10),
        ),
        (Schedule("linear", 4, 10), lambda t: (t + 1) / 4 if t < 4 else 1 - min((t - 4) / 6, 1)),
        (
            Schedule("cosine", 2, 10, 0.1),
            lambda t: (
                (t + 1) / 2 if t < 2 else 0.1 + 0.45 * (1 + math.cos(math.pi * min((t - 2) / 8, 1)))
            ),
        ),
    ],
)
@pytest.mark.parametrize("updates_per_step", [1, 3])
def test_a_schedule_follows_its_formula_in_steps(schedule, expected, updates_per_step):
    factor = build_schedule(schedule, updates_per_step)
    actual = [float(factor(jnp.asarray(t))) for t in range(14 * updates_per_step)]
    np.testing.assert_allclose(
        actual, [expected(t // updates_per_step) for t in range(14 * updates_per_step)], atol=1e-6
    )


def test_schedules_move_the_learning_rate_and_the_strength():
    ramp = Schedule(warmup=4)
    fall = Schedule("linear", steps=4, end=0.5)
    o = Optimizer(
        0.2, "sgd", penalty=config.L1(0.3), learning_rate_schedule=ramp, strength_schedule=fall
    )
    tx = build_optimizer(o)
    for updates in (1, 2, 4):
        _, state = after(tx, updates)
        np.testing.assert_allclose(learning_rate(state), 0.2 * updates / 4, rtol=1e-6)
        np.testing.assert_allclose(
            l1jax.strength(state), 0.3 * (1 - 0.5 * (updates - 1) / 4), rtol=1e-6
        )


@pytest.mark.slow
def test_a_target_scales_the_strength_and_weights_follow_the_entries():
    _, dense = after(
        build_optimizer(Optimizer(1e-3, penalty=config.L1(1e-3), sparsity_target=0.5)), 20
    )
    assert l1jax.strength(dense) > 1.5e-3  # no zeros yet: the strength has risen
    o = Optimizer(0.1, "sgd", penalty=config.ReweightedL1(0.3, eps=0.2, every=1))
    first, _ = after(build_optimizer(o), 1)
    second, _ = after(build_optimizer(o), 2)
    start = np.asarray(first["layer"]["kernel"])
    moved = start - 0.1 * np.asarray(GRADS["layer"]["kernel"])
    expected = np.sign(moved) * np.maximum(
        np.abs(moved) - 0.1 * 0.3 * 0.2 / (np.abs(start) + 0.2), 0
    )
    np.testing.assert_allclose(second["layer"]["kernel"], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"algorithm": "rmda", "method": "plain"}, "`method` (=plain) must be metric for rmda"),
        ({"momentum": 0.9}, "`momentum` (=0.9) must be None for adam"),
        ({"per_group": True}, "`per_group` (=True) must be False but for a group penalty"),
        ({"debias_after": 5}, "`debias_after` (=5) must be 0 but for"),
        (
            {"debias_after": 5, "penalty": config.L1(0.1), "algorithm": "rmda"},
            "`debias_after` (=5)",
        ),
        ({"sparsity_target": 0.5}, "`sparsity_target` (=0.5) must be 0 without a penalty"),
        ({"penalty": config.Mcp(0.1, 0.0)}, "`gamma` (=0.0) must be finite and greater than 0"),
        (
            {"strength_schedule": Schedule("linear", 5, 5)},
            "`steps` (=5) of a linear schedule must be greater than its",
        ),
        (
            {"learning_rate_schedule": Schedule("cosine", 1, 5, hold=4)},
            "`steps` (=5) of a cosine schedule must be greater than its `warmup` (=1) and `hold`",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(changes, words):
    with pytest.raises(InputError) as caught:
        build_optimizer(dataclasses.replace(Optimizer(), **changes))
    assert str(caught.value).startswith(words)


def final(tx, start=PARAMS):
    params = start
    state = tx.init(start)
    for _ in range(5):
        updates, state = tx.update(GRADS, state, params)
        params = optax.apply_updates(params, updates)
    return params, state


@pytest.mark.parametrize(
    "penalty", [config.L1(), config.L2(), config.ElasticNet(), config.GroupL1()]
)
@pytest.mark.parametrize("method", ["metric", "plain", "subgradient"])
def test_a_penalty_of_strength_zero_costs_nothing_and_tells_its_strength(penalty, method):
    params, state = final(build_optimizer(Optimizer(RATE, penalty=penalty, method=method)))
    expected, _ = final(optax.adam(RATE, 0.5, 0.999))
    np.testing.assert_array_equal(params["layer"]["kernel"], expected["layer"]["kernel"])
    assert all(float(value) == 0 for value in jax.tree.leaves(strength(state)))


def test_a_constraint_holds_without_a_strength():
    params, _ = final(build_optimizer(Optimizer(RATE, penalty=config.NonnegativeL1())))
    assert float(params["layer"]["kernel"].min()) == 0


def test_debiasing_keeps_the_zeros_and_no_longer_shrinks_the_rest():
    tx = build_optimizer(
        Optimizer(RATE, "sgd", penalty=config.L1(0.3), debias_after=2), updates_per_step=2
    )
    by_hand = l1jax.proximal_sgd(RATE, PENALTY)
    actual, state = after(tx, 4)
    expected, _ = after(by_hand, 4)
    # Both updates of both steps are penalised.
    jax.tree.map(np.testing.assert_array_equal, actual, expected)
    zero = actual["layer"]["kernel"] == 0
    assert 0 < np.sum(zero) < zero.size
    updates, state = tx.update(GRADS, state, actual)
    np.testing.assert_allclose(
        updates["layer"]["kernel"], np.where(zero, 0, -RATE * GRADS["layer"]["kernel"]), rtol=1e-4
    )
    assert strength(state) == 0


@pytest.mark.slow
def test_blocks_of_a_transformers_kernels_become_zero_as_a_whole():
    model = transformer(VOCABULARY, width=16, layers=1, heads=2, context=8)
    shapes, _ = jax.eval_shape(model.network.init, jax.random.key(0))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda p: rng.normal(scale=0.25, size=p.shape), shapes)
    blocks = config.GroupL1(2.4, "blocks", (4, 8))
    chosen = r"^block_.*kernel$"
    tx = build_optimizer(Optimizer(0.1, "sgd", method="plain", penalty=blocks, penalised=chosen))
    updates, _ = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
    kernels = optax.apply_updates(params, updates)["block_0"]
    layers = kernels["attention"] | kernels["feed_forward"]
    assert set(layers) == {"query", "key", "value", "output", "up", "gate", "down"}
    for layer in layers.values():
        rows, columns = layer["kernel"].shape
        in_blocks = np.asarray(layer["kernel"]).reshape(rows // 4, 4, columns // 8, 8)
        zeros = np.mean(in_blocks == 0, axis=(1, 3))
        assert set(np.unique(zeros)) <= {0.0, 1.0}
    assert 0 < l1jax.sparsity(kernels, "kernel").total < 1
    everywhere = build_optimizer(Optimizer(0.1, penalty=blocks))
    with pytest.raises(ValueError, match=r"logits/kernel of shape \(16, 257\)"):
        everywhere.init(params)  # 257 tokens are no whole number of blocks


def plain_adam():
    return optax.adam(RATE, 0.5, 0.999)


PRUNED = {
    "magnitude": (
        Optimizer(
            RATE, method="magnitude", sparsity_target=0.5, sparsity_scope="leaf",
            pruning=Pruning(every=2, begin=1, steps=4),
        ),
        lambda: optax.chain(
            plain_adam(),
            l1jax.magnitude_pruning(optax.polynomial_schedule(0.0, 0.5, 3, 4, 1), 2, PATHS),
        ),
    ),
    "rigl": (
        Optimizer(
            RATE, method="rigl", sparsity_target=0.75,
            pruning=Pruning(every=2, steps=5, drop_fraction=0.5),
        ),
        lambda: l1jax.rigl(plain_adam(), 0.75, 2, 0.5, 5, pattern=PATHS, seed=3),
    ),
    "n_of_m": (
        Optimizer(RATE, method="n_of_m", pruning=Pruning(every=3, begin=1, n=1, m=2)),
        lambda: optax.chain(plain_adam(), l1jax.n_of_m(1, 2, begin=1, every=3, pattern=PATHS)),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("optimizer", "by_hand"), PRUNED.values(), ids=PRUNED)
def test_a_pruning_method_is_the_transformation_that_its_name_says(optimizer, by_hand):
    actual = build_optimizer(optimizer, seed=3)
    expected = by_hand()
    state, wanted = actual.init(PARAMS), expected.init(PARAMS)
    params, like = PARAMS, PARAMS
    for step in range(7):
        grads = jax.tree.map(lambda g, step=step: jnp.cos(step + 9 * g), GRADS)
        updates, state = jax.jit(actual.update)(grads, state, params)
        params = optax.apply_updates(params, updates)
        updates, wanted = jax.jit(expected.update)(grads, wanted, like)
        like = optax.apply_updates(like, updates)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), params, like)
    share = np.mean(np.asarray(params["layer"]["kernel"]) == 0)
    assert share == {"magnitude": 0.5, "rigl": 0.75, "n_of_m": 0.5}[optimizer.method]
    assert np.all(np.asarray(params["layer"]["bias"]) != 0)


@pytest.mark.slow
def test_pruning_counts_training_steps_and_not_updates():
    optimizer, _ = PRUNED["magnitude"]
    tx = build_optimizer(optimizer, updates_per_step=3)
    state, params, shares = tx.init(PARAMS), PARAMS, []
    for _ in range(21):
        updates, state = tx.update(GRADS, state, params)
        params = optax.apply_updates(params, updates)
        shares.append(np.mean(np.asarray(params["layer"]["kernel"]) == 0))
    # Masks at updates 0, 6, 12 and 18, of a cubic from update 3 to update 15.
    wanted = [round(24 * 0.5 * (1 - (1 - s) ** 3)) / 24 for s in (0, 1 / 4, 3 / 4, 1)]
    np.testing.assert_allclose([shares[0], shares[6], shares[12], shares[18]], wanted)
    np.testing.assert_allclose(shares[5], wanted[0])
    np.testing.assert_allclose(shares[11], wanted[1])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"penalty": config.L1(0.1)}, r"`penalty` \(=L1.* must be one of strength 0 for `method`"),
        ({"penalty": config.L1Ball(1.0)}, r"`penalty` \(=L1Ball.* must be one of strength 0"),
        ({"algorithm": "rmda"}, r"`algorithm` \(=rmda\) must be adam, sgd"),
        ({"debias_after": 5}, r"`debias_after` \(=5\) must be 0 for magnitude"),
        ({"strength_schedule": Schedule(warmup=3)}, r"`strength_schedule` .* must be the default"),
        ({"sparsity_target": 0.0}, r"`sparsity_target` \(=0.0\) must be the share of zeros"),
        ({"method": "rigl"}, r"`pruning.steps` \(=0\) must be the step from which RigL"),
        (
            {"method": "rigl", "sparsity_scope": "group", "pruning": Pruning(steps=9)},
            r"`sparsity_scope` \(=group\) must be global for rigl",
        ),
        ({"method": "n_of_m"}, r"`sparsity_target` \(=0.5\) must be 0 for n_of_m"),
        (
            {"method": "n_of_m", "sparsity_target": 0.0, "pruning": Pruning(n=4, m=4)},
            r"`pruning.n` \(=4\) must be below `pruning.m` \(=4\)",
        ),
        (
            {"pruning": Pruning(drop_fraction=0.5)},
            r"`pruning.drop_fraction` \(=0.5\) must be 0.3 for `method` .* unlike rigl",
        ),
        (
            {"method": "metric", "sparsity_target": 0.0, "pruning": Pruning(every=5)},
            r"`pruning.every` \(=5\) must be 100 for `method` \(=metric\)",
        ),
    ],
)
def test_pruning_that_does_not_go_together_is_refused(changes, words):
    pruned = Optimizer(method="magnitude", sparsity_target=0.5)
    with pytest.raises(InputError, match=words):
        build_optimizer(dataclasses.replace(pruned, **changes))


def test_an_array_that_cannot_be_pruned_names_the_field_that_selects_it():
    tx = build_optimizer(Optimizer(method="n_of_m", pruning=Pruning(n=1, m=3)))
    with pytest.raises(InputError, match=r"`penalised` \(=.*kernel\$\) must .* n_of_m .* \(=3\)"):
        tx.init(PARAMS)

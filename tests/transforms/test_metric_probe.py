"""`preconditioned_proximal` refuses another optimiser's preconditioner or learning rate."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from fast_cases import slow_except

import l1jax
from l1jax import preconditioners
from l1jax.transforms import metric_probe

RATE = 0.01
PENALTY = l1jax.l1(0.1)
WARM_UP = optax.linear_schedule(0.0, RATE, 20)

# Optimiser and preconditioner, each with its defaults.
OPTIMIZERS = {
    "adam": (optax.adam(RATE), preconditioners.adam()),
    "yogi": (optax.yogi(RATE), preconditioners.yogi()),
    "adamax": (optax.adamax(RATE), preconditioners.adamax()),
    "radam": (optax.radam(RATE), preconditioners.radam()),
    "adopt": (optax.contrib.adopt(RATE), preconditioners.adopt()),
    "adan": (optax.adan(RATE), preconditioners.adan()),
    "ademamix": (optax.contrib.ademamix(RATE), preconditioners.ademamix()),
    "novograd": (optax.novograd(RATE), preconditioners.novograd()),
    "prodigy": (optax.contrib.prodigy(RATE), preconditioners.prodigy()),
    "amsgrad": (optax.amsgrad(RATE), preconditioners.amsgrad()),
    "adabelief": (optax.adabelief(RATE), preconditioners.adabelief()),
    "adagrad": (optax.adagrad(RATE), preconditioners.adagrad()),
    "rmsprop": (optax.rmsprop(RATE), preconditioners.rmsprop()),
    "rmsprop, centred": (
        optax.rmsprop(RATE, centered=True),
        preconditioners.rmsprop(centered=True),
    ),
    "rmsprop, corrected": (
        optax.rmsprop(RATE, bias_correction=True),
        preconditioners.rmsprop(bias_correction=True),
    ),
}


@pytest.fixture(autouse=True, scope="module")
def devices():
    """JAX's devices, which must have started for a check at construction."""
    return jax.devices()


def make(inner, preconditioner, learning_rate=RATE, **options):
    return l1jax.preconditioned_proximal(inner, preconditioner, PENALTY, learning_rate, **options)


FURTHER = {"yogi", "adamax", "radam", "adopt", "prodigy", "adabelief", "rmsprop, corrected"}


@pytest.mark.parametrize("name", slow_except(OPTIMIZERS, *(OPTIMIZERS.keys() - FURTHER)))
def test_the_own_metric_passes_and_every_other_is_refused(name):
    inner, own = OPTIMIZERS[name]
    make(inner, own)
    for other, (_, preconditioner) in OPTIMIZERS.items():
        if other != name:
            with pytest.raises(ValueError, match=r"`preconditioner`|`state`"):
                make(inner, preconditioner)


RIGHT = {
    "adamw": (optax.adamw(RATE, weight_decay=0.1), preconditioners.adamw()),
    "nadamw": (optax.nadamw(RATE, weight_decay=0.1), preconditioners.nadam()),
    "nadam, slow": (optax.nadam(RATE, b1=0.99), preconditioners.nadam()),
    "nadam, warm": (optax.nadam(WARM_UP), preconditioners.nadam(), WARM_UP),
    "adamaxw": (optax.adamaxw(RATE), preconditioners.adamaxw()),
    "moments in bfloat16": (optax.adam(RATE, mu_dtype=jnp.bfloat16), preconditioners.adam()),
    "l2": (optax.chain(optax.add_decayed_weights(0.1), optax.adam(RATE)), preconditioners.adam()),
    "clipped": (optax.chain(optax.clip(1.0), optax.adam(RATE)), preconditioners.adam()),
    "adopt, warm": (optax.contrib.adopt(WARM_UP), preconditioners.adopt(), WARM_UP),
    "adopt, nesterov": (optax.contrib.adopt(RATE, nesterov=True), preconditioners.adopt()),
    "momentum": (optax.rmsprop(RATE, momentum=0.9), preconditioners.rmsprop(), 10 * RATE),
    "momentum, nesterov": (
        optax.rmsprop(RATE, momentum=0.9, nesterov=True),
        preconditioners.rmsprop(),
        10 * RATE,
    ),
    "momentum behind the schedule": (
        optax.rmsprop(WARM_UP, momentum=0.9),
        preconditioners.rmsprop(),
        lambda count: 10 * WARM_UP(count),
    ),
    "momentum in front of the schedule": (
        optax.chain(optax.scale_by_rms(), optax.trace(0.9), optax.scale_by_learning_rate(WARM_UP)),
        preconditioners.rmsprop(),
        lambda count: 10 * WARM_UP(count),
    ),
    "accumulated": (
        optax.MultiSteps(optax.adam(RATE), 4).gradient_transformation(),
        preconditioners.adam(),
    ),
    "injected": (
        optax.inject_hyperparams(optax.adam)(learning_rate=RATE),
        preconditioners.adam(),
    ),
}


QUICK = {"adamw", "nadam, warm", "momentum, nesterov", "accumulated"}


@pytest.mark.parametrize(
    "name",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in RIGHT],
)
def test_decay_momentum_schedules_and_wrappers_pass(name):
    make(*RIGHT[name])


WRONG = {
    "b2": (optax.adam(RATE, b2=0.99), preconditioners.adam(), RATE, "1.02 to 3.16 times"),
    "b2, warm": (optax.adam(WARM_UP, b2=0.99), preconditioners.adam(), WARM_UP, "3.16 times"),
    # radam divides by nothing until its sixth step
    "b2 of radam": (optax.radam(RATE, b2=0.9), preconditioners.radam(), RATE, "after step 6"),
    # an entry of the size of the larger eps
    "eps": (optax.adam(RATE, eps=1e-7), preconditioners.adam(), RATE, "0.101 to 1 times"),
    "rate": (optax.adam(RATE), preconditioners.adam(), RATE / 3, "is 3 times"),
    "rate of a schedule": (optax.adam(WARM_UP), preconditioners.adam(), RATE, "is 0.05 times"),
    # μ = 0.9 multiplies the learning rate by 10; the first update is still right
    "momentum": (optax.rmsprop(RATE, momentum=0.9), preconditioners.rmsprop(), RATE, "step 2"),
    "trust ratio": (optax.lamb(RATE), preconditioners.adam(), RATE, "after step 1"),
    "acprop": (optax.contrib.acprop(RATE), preconditioners.adabelief(), RATE, "times"),
}


@pytest.mark.parametrize("name", WRONG)
def test_another_number_is_refused_with_the_mismatch(name):
    inner, preconditioner, rate, message = WRONG[name]
    with pytest.raises(ValueError, match=f"must be the denominator of `inner`: .*{message}"):
        make(inner, preconditioner, rate)
    make(inner, preconditioner, rate, probe=False)


def test_a_wrong_metric_in_one_leaf_is_refused():
    def matrices_only(state):
        return jax.tree.map(lambda d: d if d.ndim > 1 else 2 * d, preconditioners.adam()(state))

    with pytest.raises(ValueError, match="is 1 to 2 times the gradient"):
        make(optax.adam(RATE), matrices_only)


def test_noise_is_no_multiple_of_the_gradient():
    noisy = optax.chain(optax.add_noise(0.1, 0.55, 0), optax.adam(RATE))
    with pytest.raises(ValueError, match=r"`probe=False` leaves this check out"):
        make(noisy, preconditioners.adam())


def test_what_needs_the_real_parameters_is_not_tried():
    params = {"kernel": jnp.ones(3)}
    for inner in (
        optax.masked(optax.adam(RATE, b2=0.9), {"kernel": True}),
        optax.partition({"all": optax.adam(RATE, b2=0.9)}, {"kernel": "all"}),
    ):
        make(inner, preconditioners.adam()).init(params)


def test_a_single_update_does_not_pass_for_momentum():
    accumulated = optax.MultiSteps(optax.adam(RATE, b2=0.99), 8).gradient_transformation()
    with pytest.raises(ValueError, match="must be the denominator"):
        make(accumulated, preconditioners.adam(0.9))


def test_without_a_leaf_or_a_finite_number_nothing_is_said():
    def tensors(tree):
        return jax.tree.map(lambda leaf: leaf.ndim > 2, tree)

    make(optax.masked(optax.adam(RATE, b2=0.9), tensors), preconditioners.adam())
    make(optax.adam(RATE), lambda state: jax.tree.map(lambda nu: nu * jnp.inf, state[0].nu))


def test_a_leaf_that_the_optimiser_does_not_see_does_not_count():
    def matrices(tree):
        return jax.tree.map(lambda leaf: leaf.ndim > 1, tree)

    make(optax.masked(optax.adam(RATE), matrices), preconditioners.adam())
    with pytest.raises(ValueError, match=r"3\.16 times the gradient"):
        make(optax.masked(optax.adam(RATE, b2=0.99, eps=0), matrices), preconditioners.adam(eps=0))


@pytest.mark.parametrize("jit", [False, True])
def test_numbers_that_are_injected_or_traced_pass(jit):
    def build(learning_rate, b2):
        return make(optax.adam(learning_rate, b2=b2), preconditioners.adam(b2), learning_rate)

    tx = optax.inject_hyperparams(build)(learning_rate=RATE, b2=0.9)
    params = jnp.ones(2)
    state = tx.init(params)
    update = tx.update
    if jit:
        update = jax.jit(update)
    updates, _ = update(jnp.ones(2), state, params)
    # one step of Adam, and a threshold of RATE·0.1/1
    np.testing.assert_allclose(updates, -1.1 * RATE, rtol=1e-5)


@pytest.mark.slow
def test_it_works_while_another_function_is_traced_and_sees_mistakes_there():
    def step(params, b2):
        tx = make(optax.adam(RATE, b2=b2), preconditioners.adam(b2))
        return tx.update(params, tx.init(params), params)[0]

    jax.jit(step)(jnp.ones(2), 0.9)
    jax.vmap(step, (None, 0))(jnp.ones(2), jnp.array([0.9, 0.99]))
    with pytest.raises(ValueError, match="must be the denominator"):
        jax.jit(lambda x: make(optax.adam(RATE, b2=0.9), preconditioners.adam()).init(x))(
            jnp.ones(2)
        )


def test_the_same_optimiser_is_tried_once(monkeypatch):
    monkeypatch.setattr(metric_probe, "_records", {})
    for _ in range(3):
        make(optax.adam(RATE, b2=0.995), preconditioners.adam(0.995))
    assert len(metric_probe._records) == 1
    make(optax.adam(RATE, b2=0.9951), preconditioners.adam(0.9951))
    assert len(metric_probe._records) == 2


def test_before_jax_has_started_its_devices_init_makes_the_check(monkeypatch):
    monkeypatch.setattr(sys.modules["l1jax.transforms.proximal"], "can_probe", lambda: False)
    tx = make(optax.adam(RATE, b2=0.9), preconditioners.adam())
    with pytest.raises(ValueError, match="must be the denominator"):
        tx.init(jnp.ones(2))


@pytest.mark.slow
def test_construction_does_not_start_the_devices():
    program = (
        "import l1jax, optax; from l1jax.transforms.metric_probe import can_probe; "
        "l1jax.preconditioned_proximal("
        "optax.adam(0.1), l1jax.preconditioners.adam(), l1jax.l1(0.1), 0.1); "
        "assert not can_probe()"
    )
    subprocess.run([sys.executable, "-c", program], check=True)

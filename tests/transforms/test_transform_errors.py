"""Bad input is refused with the name, the value, what is required and the remedy."""

import inspect
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import l1jax

PENALTY = l1jax.l1(0.1)
PARAMS = {"dense": {"kernel": jnp.ones((4, 3)), "bias": jnp.ones(3)}}

NEED_PARAMS = {
    "add_subgradient": l1jax.add_subgradient(PENALTY),
    "proximal": l1jax.proximal(PENALTY, 0.1),
    "proximal_sgd": l1jax.proximal_sgd(0.1, PENALTY),
    "proximal_adam": l1jax.proximal_adam(0.1, PENALTY),
    "accelerated": l1jax.accelerated(0.1, PENALTY),
    "regularized_dual_averaging": l1jax.regularized_dual_averaging(0.1, PENALTY),
    "rmda": l1jax.rmda(0.1, PENALTY),
    "ramda": l1jax.ramda(0.1, PENALTY),
    "freeze_support": l1jax.freeze_support(),
    "magnitude_pruning": l1jax.magnitude_pruning(0.5),
    "n_of_m": l1jax.n_of_m(1, 2),
    "rigl": l1jax.rigl(optax.sgd(0.1), 0.5),
    "sparse_ema": l1jax.sparse_ema(0.9),
    "track_sparsity": l1jax.track_sparsity(0.5),
    "reweight": l1jax.reweight(10),
}


@pytest.mark.parametrize("name", NEED_PARAMS)
def test_update_without_params(name):
    tx = NEED_PARAMS[name]
    params = jnp.ones((4, 4))
    with pytest.raises(ValueError, match=r"`params` \(=None\) must be given to `update`: "):
        tx.update(params, tx.init(params))


PATTERNED = {
    "freeze_support": l1jax.freeze_support,
    "magnitude_pruning": lambda pattern: l1jax.magnitude_pruning(0.5, pattern=pattern),
    "n_of_m": lambda pattern: l1jax.n_of_m(1, 2, pattern=pattern),
    "rigl": lambda pattern: l1jax.rigl(optax.sgd(0.1), 0.5, pattern=pattern),
}


@pytest.mark.parametrize("name", PATTERNED)
def test_pattern_that_matches_nothing_lists_the_paths(name):
    with pytest.raises(
        ValueError, match=r"`pattern` \(='kernels'\) must match .* \['dense/bias', 'dense/kernel'\]"
    ):
        PATTERNED[name]("kernels").init(PARAMS)
    PATTERNED[name]("kernels").init({})  # an empty subtree of a partition


@pytest.mark.parametrize("name", PATTERNED)
def test_a_pattern_must_be_a_regular_expression(name):
    with pytest.raises(ValueError, match=r"`pattern` \(='\('\) must be a regular expression"):
        PATTERNED[name]("(").init(PARAMS)


@pytest.mark.parametrize(
    "make",
    [
        lambda penalty: l1jax.add_subgradient(penalty),
        lambda penalty: l1jax.proximal(penalty, 0.1),
        lambda penalty: l1jax.proximal_rmsprop(0.1, penalty),
        lambda penalty: l1jax.proximal_adagrad(0.1, penalty),
        lambda penalty: l1jax.accelerated(0.1, penalty),
        lambda penalty: l1jax.ramda(0.1, penalty),
    ],
)
def test_penalty_that_matches_nothing_lists_the_paths(make):
    tx = make(l1jax.by_path({"kernels": PENALTY}))
    with pytest.raises(
        ValueError, match=r"\['kernels'\] must match .* \['dense/bias', 'dense/kernel'\]"
    ):
        tx.init(PARAMS)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: l1jax.proximal_sgd(0.1, PENALTY, momentum=1.0),
            r"`momentum` \(=1.0\) must be at least 0 and below 1",
        ),
        (
            lambda: l1jax.proximal_rmsprop(0.1, PENALTY, momentum=-0.1),
            r"`momentum` \(=-0.1\) must be",
        ),
        (
            lambda: l1jax.rmda(0.1, PENALTY, momentum=0.0),
            r"`momentum` \(=0.0\) must be above 0 and at most 1",
        ),
        (lambda: l1jax.ramda(0.1, PENALTY, momentum=1.5), r"`momentum` \(=1.5\) must be"),
        (lambda: l1jax.rising_momentum(2.0), r"`momentum` \(=2.0\) must be"),
        (
            lambda: l1jax.ramda(0.1, PENALTY, restarts=(5, 5)),
            r"`restarts` \(=\(5, 5\)\) must be positive and rise",
        ),
        (
            lambda: l1jax.rmda(0.1, PENALTY, restarts=(0, 5)),
            r"`restarts` \(=\(0, 5\)\) must be positive",
        ),
        (
            lambda: l1jax.ramda(0.1, PENALTY, eps=0.0),
            r"`eps` \(=0.0\) must be finite and greater than 0",
        ),
        (lambda: l1jax.track_sparsity(1.0), r"`target` \(=1.0\) must be a share of zeros"),
        (lambda: l1jax.track_sparsity(-0.1), r"`target` \(=-0.1\) must be"),
        (
            lambda: l1jax.track_sparsity(0.5, horizon=10),
            r"`horizon` \(=10\) must be finite and at least 20 updates",
        ),
        (
            lambda: l1jax.track_sparsity(0.5, bounds=(0.0, 1.0)),
            r"`bounds` \(=0.0\) must be finite and greater than 0",
        ),
        (lambda: l1jax.reweight(0), r"`every` \(=0\) must be at least 1"),
        (lambda: l1jax.reweight(5, eps=0.0), r"`eps` \(=0.0\) must be finite and greater than 0"),
        (lambda: l1jax.sparse_ema(1.0), r"`decay` \(=1.0\) must be at least 0 and below 1"),
        (lambda: l1jax.magnitude_pruning(1.5), r"`schedule` \(=1.5\) must be a share of zeros"),
        (lambda: l1jax.magnitude_pruning(0.5, every=0), r"`every` \(=0\) must be at least 1"),
        (lambda: l1jax.n_of_m(3, 2), r"`n` \(=3\) must be at least 1 and at most `m` \(=2\)"),
        (lambda: l1jax.n_of_m(0, 2), r"`n` \(=0\) must be"),
        (
            lambda: l1jax.n_of_m(1, 3).init(PARAMS),
            r"`axis` \(=-2\) of a leaf of shape .* must be a multiple of `m` \(=3\)",
        ),
        (lambda: l1jax.rigl(optax.sgd(0.1), 1.0), r"`sparsity` \(=1.0\) must be a share of zeros"),
        (
            lambda: l1jax.rigl(optax.sgd(0.1), 0.5, drop_fraction=2.0),
            r"`drop_fraction` \(=2.0\) must be",
        ),
        (
            lambda: l1jax.rigl(optax.sgd(0.1), 0.5, every=0),
            r"`every` \(=0\) and `stop` .* must be at least 1",
        ),
        (
            lambda: l1jax.rigl(optax.sgd(0.1), 0.5, densities="even"),
            r"`densities` \(='even'\) must be one of uniform",
        ),
        (
            lambda: l1jax.track_sparsity(jnp.array(1.5)),
            r"`target` \(=1.5\) must be a share of zeros",
        ),
        (
            lambda: l1jax.track_sparsity(0.5, horizon=math.inf),
            r"`horizon` \(=inf\) must be finite and at least 20 updates",
        ),
        (
            lambda: l1jax.proximal_sgd(0.1, PENALTY, momentum=np.float32(1)),
            r"`momentum` \(=1.0\) must be",
        ),
        (
            lambda: l1jax.d_gating(2).split(PARAMS),
            r"`axis` \(=2\) must be in \[-1, 0\] for dense/bias",
        ),
        (
            lambda: l1jax.d_gating(l1jax.kernel_blocks((2,))),
            r"`axis` \(=Blocks.*\) must name whole axes",
        ),
        (
            lambda: l1jax.proximal_sgd(0.1, l1jax.l1_ball(1.0), scale=l1jax.track_sparsity(0.5)),
            r"`scale` .* has no strength to move in `penalty` \(=L1Ball",
        ),
        (
            lambda: l1jax.proximal_sgd(0.1, PENALTY, scale=-1.0),
            r"`scale` \(=-1.0\) must be finite and at least 0; or",
        ),
        (
            lambda: l1jax.set_scale(l1jax.proximal_sgd(0.1, PENALTY).init(PARAMS), math.nan),
            r"`scale` \(=nan\) must be",
        ),
        (
            lambda: l1jax.solution(l1jax.rmda(0.1, PENALTY).init(PARAMS), jnp.ones(3)),
            r"`params` \(leaves \[''\]\) must",
        ),
        (
            lambda: l1jax.preconditioned_proximal(
                optax.sgd(0.1), l1jax.preconditioners.adam(), PENALTY, 0.1
            ).init(PARAMS),
            r"exactly one part with the fields .*not 0: give `inner` and `preconditioner` of the",
        ),
        (
            lambda: l1jax.proximal_sgd(0.1, PENALTY, momentum=1 - 1e-9),
            r"`momentum` .* at least 0 and below 1 in float32",
        ),
        (
            lambda: l1jax.proximal_adam(0.1, PENALTY, b2=1.0),
            r"`b2` \(=1.0\) must be at least 0 and below 1",
        ),
        (
            lambda: l1jax.proximal_adam(0.1, PENALTY, b1=-0.5),
            r"`b1` \(=-0.5\) must be at least 0 and below 1",
        ),
        (
            lambda: l1jax.proximal_adam(0.1, PENALTY, eps=1e39),
            r"`eps` \(=1e\+39\) must be finite .* in float32",
        ),
        (
            lambda: l1jax.proximal_rmsprop(0.1, PENALTY, decay=1.0),
            r"`decay` \(=1.0\) must be at least 0 and below 1",
        ),
        (
            lambda: l1jax.proximal_adagrad(0.1, PENALTY, -1.0),
            r"`initial_accumulator_value` \(=-1.0\) must be",
        ),
        (lambda: l1jax.sparse_ema(1 - 1e-9), r"`decay` .* at least 0 and below 1 in float32"),
        (
            lambda: l1jax.ramda(0.1, PENALTY, eps=1e-50),
            r"`eps` \(=1e-50\) must be finite and greater than 0 in float32",
        ),
        (
            lambda: l1jax.rmda(0.1, PENALTY, momentum=1e-50),
            r"`momentum` \(=1e-50\) must be above 0",
        ),
        (
            lambda: l1jax.reweight(5, eps=1e39),
            r"`eps` \(=1e\+39\) must be finite and greater than 0 in float32",
        ),
        (
            lambda: l1jax.track_sparsity(0.5, bounds=(1e-6, 1e39)),
            r"`bounds` \(=1e\+39\) must be finite",
        ),
        (
            lambda: l1jax.proximal_sgd(0.1, PENALTY, scale=1e39),
            r"`scale` \(=1e\+39\) must be finite .* in float32",
        ),
        (lambda: l1jax.hadamard(depth=1), r"`depth` \(=1\) must be at least 2"),
        (lambda: l1jax.d_gating(0, "("), r"`pattern` \(='\('\) must be a regular expression"),
        (lambda: l1jax.hadamard("kernels").split(PARAMS), r"`pattern` \(='kernels'\) must match"),
        (
            lambda: l1jax.strength(optax.adam(0.1).init(PARAMS)),
            r"`opt_state` \(=tuple\) must come from a chain",
        ),
        (
            lambda: l1jax.set_scale(optax.EmptyState(), 1.0),
            r"`opt_state` \(=EmptyState\) must come from",
        ),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


RATED = {
    "proximal": lambda rate, penalty: l1jax.proximal(penalty, rate),
    "proximal_sgd": l1jax.proximal_sgd,
    "proximal_adam": l1jax.proximal_adam,
    "proximal_rmsprop": l1jax.proximal_rmsprop,
    "proximal_adagrad": l1jax.proximal_adagrad,
    "accelerated": l1jax.accelerated,
    "regularized_dual_averaging": l1jax.regularized_dual_averaging,
    "rmda": l1jax.rmda,
    "ramda": l1jax.ramda,
}


@pytest.mark.parametrize("name", RATED)
def test_learning_rate_must_be_finite_and_not_negative(name):
    for rate in (-0.1, math.nan, 1e39):
        shown = re.escape(str(rate))
        with pytest.raises(
            ValueError, match=rf"`learning_rate` \(={shown}\) must be finite and at least 0"
        ):
            RATED[name](rate, PENALTY)


def test_what_is_no_penalty_is_refused_where_it_is_given():
    with pytest.raises(
        ValueError, match=r"`penalty` \(=0.1\) must be a penalty, such as `l1jax.l1\(1e-4\)`"
    ):
        inspect.unwrap(l1jax.proximal)(0.1, 0.1)  # without a type checker, as users have it
    with pytest.raises(
        ValueError, match=r"`learning_rate` \(=L1\(strength=0.1\)\) must be a number"
    ):
        inspect.unwrap(l1jax.proximal_adam)(PENALTY, 0.1)


# These change a number, or add two first.
OTHERS = (
    "sparse_ema",
    "magnitude_pruning",
    "n_of_m",
    "track_sparsity",
    "reweight",
)


@pytest.mark.parametrize("name", [name for name in NEED_PARAMS if name not in OTHERS])
def test_updates_that_are_not_like_the_parameters(name):
    tx = NEED_PARAMS[name]
    params = {"a": jnp.ones((4, 4)), "b": jnp.ones((4, 4))}
    state = tx.init(params)
    for updates, message in (
        ({"a": jnp.ones((4, 4))}, r"have nothing where these have b of shape \(4, 4\)"),
        (
            {"a": jnp.ones((4, 4)), "b": jnp.ones(4)},
            r"have b of shape \(4,\) where these have b of shape \(4, 4\)",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            tx.update(updates, state, params)


@pytest.mark.parametrize("name", [*RATED, "add_subgradient"])
def test_penalty_that_reaches_an_integer_leaf_names_its_path(name):
    make = RATED.get(name, lambda rate, penalty: l1jax.add_subgradient(penalty))
    params = {"kernel": jnp.ones(2), "step": jnp.int32(3)}
    with pytest.raises(
        ValueError, match=r"^step has dtype int32, but a penalised leaf must be of floating point; "
    ):
        make(0.1, PENALTY).init(params)


def test_keys_among_the_parameters_are_left_alone():
    params = {"kernel": jnp.ones(2), "key": jax.random.key(0)}
    no_gradient = np.zeros((), jax.dtypes.float0)
    for make in RATED.values():
        tx = make(0.1, l1jax.by_path({"kernel": PENALTY}))
        if make is not RATED["proximal"]:
            updates, _ = tx.update(
                {"kernel": jnp.ones(2), "key": no_gradient}, tx.init(params), params
            )
            assert updates["key"] is no_gradient


def test_proximal_adam_leaves_an_integer_leaf_as_optax_adam_does():
    params = {"k": jnp.ones(2), "step": jnp.int32(3)}
    grads = {"k": jnp.ones(2), "step": jnp.int32(0)}
    for tx in (optax.adam(0.1), l1jax.proximal_adam(0.1, l1jax.by_path({"k": PENALTY}))):
        updates, _ = jax.jit(tx.update)(grads, tx.init(params), params)
        moved = optax.apply_updates(params, updates)["step"]
        assert moved == 3
        assert moved.dtype == jnp.int32


@pytest.mark.parametrize("name", ["magnitude_pruning", "n_of_m", "rigl"])
def test_integer_leaves_are_not_pruned(name):
    params = {"kernel": jnp.ones((4, 4)), "count": jnp.ones((4, 4), int)}
    with pytest.raises(
        ValueError,
        match=r"count has dtype int32, but must be of floating point; leave the leaf out by",
    ):
        PATTERNED[name]("").init(params)
    assert PATTERNED[name]("kernel").init(params).mask["count"] is None
    with pytest.raises(ValueError, match=r"count has dtype int32"):
        l1jax.hadamard().split(params)


def test_scale_per_entry_is_refused_for_groups_in_sums_and_for_whole_leaves():
    params = jnp.ones((4, 3))
    for penalty in (l1jax.sum_of(l1jax.group_l1(0.1, 0), l1jax.l1(0.1)), l1jax.linf(0.1)):
        tx = l1jax.proximal_sgd(0.1, penalty, scale=l1jax.reweight(2))
        with pytest.raises(ValueError, match=rf"must be one number for {type(penalty).__name__}"):
            tx.update(params, tx.init(params), params)

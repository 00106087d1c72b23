"""Every bad input gets one clear error: the name, the value, what is wanted and what to do."""

import inspect
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import l1jax

STRENGTHS = {
    "l1": l1jax.l1,
    "l2": l1jax.l2,
    "nonnegative_l1": l1jax.nonnegative_l1,
    "weighted_l1": lambda s: l1jax.weighted_l1(s, 1.0),
    "elastic_net": lambda s: l1jax.elastic_net(s, 1.0),
    "l0": l1jax.l0,
    "l_half": l1jax.l_half,
    "mcp": lambda s: l1jax.mcp(s, 3.0),
    "scad": l1jax.scad,
    "log_sum": lambda s: l1jax.log_sum(s, 0.1),
    "group_l1": lambda s: l1jax.group_l1(s, 0),
    "sparse_group_l1": lambda s: l1jax.sparse_group_l1(s, 1.0, 0),
    "group_mcp": lambda s: l1jax.group_mcp(s, 3.0, 0),
    "linf": l1jax.linf,
}


@pytest.mark.parametrize(
    "strength", [-1.0, math.nan, math.inf, -1, np.float32(-2), jnp.array([1.0, -3.0])]
)
@pytest.mark.parametrize("name", STRENGTHS)
def test_strength_must_be_finite_and_not_negative(name, strength):
    with pytest.raises(
        ValueError, match=r"^`strength` \(=(-[123](\.0)?|nan|inf)\) must be finite and at least 0"
    ):
        STRENGTHS[name](strength)


@pytest.mark.parametrize("name", STRENGTHS)
def test_strength_must_be_finite_in_float32(name):
    for strength in (1e39, np.float64(1e300), np.array([0.1, 3.5e38])):
        with pytest.raises(
            ValueError, match=r"^`strength` \(=.*e\+3.*\) must be finite and at least 0 in float32"
        ):
            STRENGTHS[name](strength)
    STRENGTHS[name](3.4e38)
    STRENGTHS[name](1e-50)  # 0 in float32, and no different from it


@pytest.mark.parametrize("name", STRENGTHS)
def test_good_and_traced_strengths_pass(name):
    for strength in (
        0,
        0.0,
        1,
        0.5,
        np.float32(1),
        np.float64(1),
        jnp.array(0.5),
        jnp.array([0.1, 0.2]),
    ):
        STRENGTHS[name](strength)
    x = jnp.ones(2)
    jax.jit(lambda s: STRENGTHS[name](s).prox(x, 1.0))(-1.0)  # cannot be looked at


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: l1jax.elastic_net(1.0, -1.0),
            "`l2_strength` (=-1.0) must be finite and at least 0",
        ),
        (
            lambda: l1jax.sparse_group_l1(1.0, math.nan, 0),
            "`group_strength` (=nan) must be finite and at least 0",
        ),
        (
            lambda: l1jax.mcp(1.0, 0.0),
            "`gamma` (=0.0) must be finite and greater than 0; 3 is usual",
        ),
        (lambda: l1jax.mcp(1.0, math.inf), "`gamma` (=inf) must be finite and greater than 0"),
        (
            lambda: l1jax.group_mcp(1.0, -1.0, 0),
            "`gamma` (=-1.0) must be finite and greater than 0",
        ),
        (
            lambda: l1jax.scad(1.0, 2.0),
            "`a` (=2.0) must be finite and greater than 2; 3.7 is usual",
        ),
        (lambda: l1jax.scad(1.0, math.nan), "`a` (=nan) must be finite and greater than 2"),
        (lambda: l1jax.log_sum(1.0, 0.0), "`eps` (=0.0) must be finite and greater than 0"),
        (
            lambda: l1jax.mcp(1.0, 1e-50),
            "`gamma` (=1e-50) must be finite and greater than 0 in float32; 3 is usual",
        ),
        (
            lambda: l1jax.group_mcp(1.0, 1e39, 0),
            "`gamma` (=1e+39) must be finite and greater than 0 in float32",
        ),
        (
            lambda: l1jax.scad(1.0, 2.00000001),
            "`a` (=2.00000001) must be finite and greater than 2 in float32",
        ),
        (
            lambda: l1jax.log_sum(1.0, 1e-40),
            "`eps` (=1e-40) must be finite and greater than 0 in float32",
        ),
        (lambda: l1jax.l1_ball(1e39), "`radius` (=1e+39) must be finite and at least 0 in float32"),
        (
            lambda: l1jax.elastic_net(1.0, 1e39),
            "`l2_strength` (=1e+39) must be finite and at least 0 in float32",
        ),
        (
            lambda: l1jax.weighted_l1(1.0, [1.0, 1e39]),
            "`weights` (=1e+39) must be finite and at least 0 in float32",
        ),
        (
            lambda: l1jax.l1(-1e-50),
            "`strength` (=-1e-50) must be finite and at least 0; 0 switches",
        ),
        (lambda: l1jax.l1_ball(-1.0), "`radius` (=-1.0) must be finite and at least 0"),
        (
            lambda: l1jax.weighted_l1(1.0, {"w": np.array([1.0, -2.0])}),
            "`weights` (=-2.0) must be finite",
        ),
        (
            lambda: l1jax.kernel_blocks(()),
            "`shape` (=()) must be a tuple of at least one length, each at least 1",
        ),
        (
            lambda: l1jax.kernel_blocks((4, 0)),
            "`shape` (=(4, 0)) must be a tuple of at least one length, each at",
        ),
        (
            lambda: l1jax.kernel_blocks((4, -2)),
            "`shape` (=(4, -2)) must be a tuple of at least one length, each at",
        ),
        (
            lambda: l1jax.by_path({}),
            "`penalties` (={}) must be a mapping with at least one pattern",
        ),
        (
            lambda: l1jax.by_path({"(": l1jax.l1(1.0)}),
            "`penalties` has '(', which must be a regular expression",
        ),
        (lambda: l1jax.l1(jnp.array(1j)), "`strength` (of dtype complex64) must be real numbers"),
    ],
)
def test_bad_constructions(build, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        build()


@pytest.mark.parametrize(
    ("build", "argument", "message"),
    [
        (l1jax.kernel_blocks, 16, "`shape` (=16) must be a tuple of at least one length"),
        (
            l1jax.kernel_blocks,
            (2, 1.5),
            "`shape` (=(2, 1.5)) must be a tuple of at least one length",
        ),
        (
            l1jax.by_path,
            [l1jax.l1(1.0)],
            "`penalties` (=[L1(strength=1.0)]) must be a mapping with at least one",
        ),
        (
            l1jax.by_path,
            {3: l1jax.l1(1.0)},
            "`penalties` has 3, which must be a regular expression",
        ),
        (
            l1jax.by_path,
            {"w": 0.1},
            "`penalties['w']` (=0.1) must be a penalty, such as `l1jax.l1(1e-4)`",
        ),
        (
            l1jax.l1,
            np.sqrt,
            "`strength` (=<ufunc 'sqrt'>) must be a number; give a schedule to the transformation",
        ),
        (l1jax.l1, "0.1", "`strength` (='0.1') must be a number or an array of numbers"),
        (l1jax.l2, 1j, "`strength` (=1j) must be a number or an array of numbers"),
    ],
)
def test_wrong_types_without_a_type_checker(build, argument, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        inspect.unwrap(build)(argument)  # as users have it


def test_numbers_and_axes_of_another_type_are_refused():
    with pytest.raises((ValueError, TypeError), match=r"strength"):
        l1jax.l1("0.1")  # pyright: ignore
    for axis in (None, "channels", (0, 1.5)):
        with pytest.raises((ValueError, TypeError), match=r"axis"):
            l1jax.group_l1(1.0, axis)  # pyright: ignore


KERNEL = jnp.ones((4, 6))
BIAS = jnp.ones(6)
PARAMS = {"params": {"hidden": {"kernel": KERNEL, "bias": BIAS, "count": jnp.ones(6, int)}}}
FLOATS = {"hidden": {"kernel": KERNEL, "bias": BIAS}}


@pytest.mark.parametrize(
    ("penalty", "params", "message"),
    [
        (
            l1jax.l1(1.0),
            PARAMS,
            "hidden/count has dtype int32, but a penalised leaf must be of floating point; choose",
        ),
        (
            l1jax.by_path({"count": l1jax.l1(1.0)}),
            PARAMS,
            "hidden/count has dtype int32, but a penalised leaf must",
        ),
        (
            l1jax.l1(1.0),
            jnp.ones(3, bool),
            "the array has dtype bool, but a penalised leaf must be of floating point",
        ),
        (
            l1jax.l1(1.0),
            jnp.ones(3, complex),
            "the array has dtype complex64, but a penalised leaf must be",
        ),
        (
            l1jax.group_l1(1.0, 1),
            FLOATS,
            "`axis` (=1) must be in [-1, 0] for hidden/bias of shape (6,); choose the",
        ),
        (
            l1jax.group_l1(1.0, 0),
            jnp.ones(()),
            "`axis` (=0) must name axes, but there are none in the array of shape ()",
        ),
        (
            l1jax.l1(np.ones(2)),
            BIAS,
            "`strength` of shape (2,) must broadcast to the array of shape (6,); give one "
            "number; what entries weigh beside it goes to `weighted_l1`, and several strengths "
            "to `vmap`.",
        ),
        (
            l1jax.group_l1(np.ones(4), 0),
            KERNEL,
            "`strength` of shape (4,) must broadcast to the groups of the array of shape (1, 6)",
        ),
        (
            l1jax.sum_of(l1jax.l2(1.0), l1jax.l1(np.ones(2))),
            BIAS,
            "`strength` of shape (2,) must broadcast to the array",
        ),
        (l1jax.group_l1(1.0, (0, 2)), KERNEL, "`axis` (=(0, 2)) must be in [-2, 1] for the array"),
        (l1jax.group_l1(1.0, -3), KERNEL, "`axis` (=-3) must be in [-2, 1] for the array"),
        (l1jax.group_l1(1.0, (0, -2)), KERNEL, "`axis` (=(0, -2)) must name each axis of the"),
        (
            l1jax.sparse_group_l1(1.0, 1.0, 1),
            FLOATS,
            "`axis` (=1) must be in [-1, 0] for hidden/bias",
        ),
        (l1jax.group_mcp(1.0, 3.0, 1), FLOATS, "`axis` (=1) must be in [-1, 0] for hidden/bias"),
        (
            l1jax.sum_of(l1jax.l1(1.0), l1jax.group_l1(1.0, 1)),
            FLOATS,
            "`axis` (=1) must be in [-1, 0] for hidden/bias",
        ),
        (
            l1jax.group_l1(1.0, l1jax.output_channels()),
            FLOATS,
            "`axis` (=output_channels()) must meet arrays of at",
        ),
        (
            l1jax.group_l1(1.0, l1jax.input_channels()),
            FLOATS,
            "`axis` (=input_channels()) must meet arrays of at",
        ),
        (
            l1jax.group_l1(1.0, l1jax.scales()),
            FLOATS,
            "`axis` (=scales()) must meet arrays of exactly 1",
        ),
        (
            l1jax.group_l1(1.0, l1jax.kernel_blocks((2, 4))),
            KERNEL,
            "`kernel_blocks` of shape (2, 4) must",
        ),
        (
            l1jax.group_l1(1.0, l1jax.kernel_blocks((2, 2))),
            FLOATS,
            "`kernel_blocks` of shape (2, 2) must divide",
        ),
        (
            l1jax.weighted_l1(1.0, np.ones(4)),
            BIAS,
            "`weights` of shape (4,) must broadcast to the array",
        ),
        (l1jax.weighted_l1(1.0, np.ones((1, 6))), BIAS, "`weights` of shape (1, 6) must broadcast"),
        (
            l1jax.weighted_l1(1.0, {"a": 1.0}),
            FLOATS,
            "`weights` (PyTreeDef({'a': *})) must be one array or",
        ),
        (
            l1jax.by_path({"scale$": l1jax.l1(1.0)}),
            FLOATS,
            "`by_path` patterns ['scale$'] must match",
        ),
        (
            l1jax.by_path({"ke": l1jax.l1(1.0), "kernal": l1jax.l2(1.0)}),
            FLOATS,
            "`by_path` patterns ['kernal'] must each match at least one parameter path; the paths "
            "are ['hidden/bias', 'hidden/kernel']. Correct them, or give `allow_unmatched=True` if "
            "they are for other trees.",
        ),
        (
            l1jax.by_path({"ke": l1jax.l1(1.0), "hid": l1jax.l2(1.0)}),
            FLOATS,
            "`by_path` patterns ['ke', 'hid'] all match",
        ),
    ],
)
def test_leaves_must_fit_the_penalty(penalty, params, message):
    for function in (
        penalty.value,
        penalty.subgradient,
        lambda x: penalty.prox(x, 1.0),
        lambda x: penalty.distance(x, x),
        lambda x: l1jax.penalties.leaf_penalties(penalty, x),
    ):
        with pytest.raises(ValueError, match="^" + re.escape(message)):
            function(params)


def test_an_array_of_strengths_has_no_value_and_the_error_names_the_weighted_norm():
    for penalty in (
        l1jax.l1(np.ones(6)),
        l1jax.l2(np.ones(6)),
        l1jax.by_path({"": l1jax.l1(np.ones(6))}),
    ):
        with pytest.raises(
            ValueError, match=r"`strength` of shape \(6,\) must be one number; .* to `weighted_l1`"
        ):
            penalty.value(BIAS)


def test_patterns_of_by_path_may_match_nothing_where_allowed_or_in_a_part_that_is_hidden():
    both = {"kernel": l1jax.l1(0.25), "scale$": l1jax.l2(1.0)}
    allowed = l1jax.by_path(both, allow_unmatched=True)
    assert allowed.value(FLOATS) == 6
    assert jax.tree.structure(allowed) != jax.tree.structure(l1jax.by_path(both))
    with pytest.raises(ValueError, match=r"\['scale\$'\] must each match"):
        l1jax.by_path(both).value(FLOATS)
    with pytest.raises(ValueError, match=r"must match at least one"):
        l1jax.by_path({"scale$": l1jax.l2(1.0)}, allow_unmatched=True).value(FLOATS)
    hidden = {"hidden": {"kernel": KERNEL, "bias": optax.MaskedNode()}, "norm": optax.MaskedNode()}
    assert l1jax.by_path(both).value(hidden) == 6  # `norm` may stand for norm/scale
    assert l1jax.by_path(both).value({"kernel": KERNEL, "scale": None}) == 6
    tx = optax.partition(
        {"sparse": l1jax.proximal_sgd(0.1, l1jax.by_path(both)), "rest": optax.sgd(0.1)},
        {"hidden": {"kernel": "sparse", "bias": "rest"}, "norm": "rest"},
    )
    tx.init({"hidden": {"kernel": KERNEL, "bias": BIAS}, "norm": {"scale": BIAS}})
    with pytest.raises(ValueError, match=r"\['scale\$'\] must each match"):
        l1jax.proximal_sgd(0.1, l1jax.by_path(both)).init(FLOATS)


def test_an_error_lists_a_few_paths_and_counts_the_others():
    many = {f"layer_{i:02}": jnp.ones(2) for i in range(30)}
    for call in (
        lambda: l1jax.sparsity(many, "x"),
        lambda: l1jax.by_path({"x": l1jax.l1(1.0)}).value(many),
    ):
        with pytest.raises(
            ValueError, match=r"the paths are \['layer_00', .* 'layer_09'\] and 20 more\."
        ):
            call()


def test_by_path_leaves_the_others_free_whatever_their_dtype():
    penalty = l1jax.by_path({r"(^|/)kernel$": l1jax.l1(0.25)})
    y = penalty.prox(PARAMS, 1.0)["params"]["hidden"]
    assert y["count"].dtype == jnp.int32
    assert np.all(y["kernel"] == 0.75)
    assert np.all(y["bias"] == 1)
    assert penalty.value(PARAMS) == 6
    assert not np.any(penalty.subgradient(PARAMS)["params"]["hidden"]["bias"])
    grads = jax.tree.map(lambda leaf: jnp.full(leaf.shape, -0.25), FLOATS)
    # The distance is the gradient of the bias.
    np.testing.assert_allclose(penalty.distance(FLOATS, grads), 0.25 * np.sqrt(6), rtol=1e-6)
    assert penalty.value({}) == 0
    grads = jax.grad(lambda params: jnp.sum(params["params"]["hidden"]["bias"]), allow_int=True)(
        PARAMS
    )
    # 1 for each bias, ¼ for each entry of the kernel; the counter has no gradient.
    expected = np.sqrt(6 + 24 / 16)
    np.testing.assert_allclose(penalty.distance(PARAMS, grads), expected, rtol=1e-6)


@pytest.mark.parametrize("part", [l1jax.l1(1.0), l1jax.group_l1(1.0, 0), l1jax.linf(1.0)])
@pytest.mark.parametrize("argument", ["step", "grad"])
def test_steps_and_gradients_must_be_like_x(argument, part):
    shape = rf"^`{argument}` of shape \(4, 1, 6\) must broadcast to .* of shape \(4, 6\)"
    structure = rf"^`{argument}` \(PyTreeDef.*\) must be one array or a tree like the parameters"
    for penalty in (part, l1jax.by_path({"w": part})):
        function = penalty.prox if argument == "step" else penalty.distance
        with pytest.raises(ValueError, match=shape):
            function({"w": KERNEL}, {"w": jnp.ones((4, 1, 6))})
        with pytest.raises(ValueError, match=structure):
            function({"w": KERNEL}, {"v": KERNEL})


def test_a_pattern_of_sparsity_that_matches_nothing_lists_the_paths():
    with pytest.raises(
        ValueError, match=r"`pattern` \(='scale'\) must match .*\['hidden/bias', 'hidden/kernel'\]"
    ):
        l1jax.sparsity(FLOATS, "scale")
    with pytest.raises(ValueError, match=r"`pattern` \(='\('\) must be a regular expression"):
        l1jax.sparsity(FLOATS, "(")
    assert l1jax.sparsity({}, "scale").total == 0

"""Every leaf that does not fit its penalty gets one clear error, with its path."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import l1jax

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

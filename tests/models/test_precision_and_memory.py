"""bfloat16 compute, gradient checkpointing, and what every network keeps to."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from on_devices import drawn, gradient

from l1jax import l1
from l1jax.models import dcgan, mlp_gan, r3gan, sn_resnet
from l1jax.models.network import AXIS
from l1jax.penalties import by_path

FACTORIES = {
    "mlp": partial(mlp_gan, (16, 16, 3), 5, (8, 8), (4, 8), (8,), spectral_norm=True),
    "dcgan": partial(dcgan, (16, 16, 3), 5, 4),
    "sn_resnet": partial(sn_resnet, (32, 32, 3), 5, 4, 4, classes=3),
    "r3gan": partial(r3gan, (16, 16, 3), 5, 8, blocks=2, classes=3),
}
NETWORKS = [(name, part) for name in FACTORIES for part in ("generator", "discriminator")]
# Those of SN-ResNet and R3GAN take the longest to trace.
LONGEST = NETWORKS[4:]
LARGE_ARE_SLOW = [
    pytest.param(*network, marks=pytest.mark.slow if network in LONGEST else ())
    for network in NETWORKS
]
LABEL = jnp.arange(8) % 3


def pick(name, part, **options):
    gan, rng = FACTORIES[name](**options), np.random.default_rng(0)
    network = gan.generator.network if part == "generator" else gan.discriminator
    shape = (8, 5) if part == "generator" else (8, *gan.generator.image_shape)
    return network, jnp.asarray(rng.normal(size=shape), jnp.float32)


@pytest.mark.parametrize(("name", "part"), LARGE_ARE_SLOW)
def test_bfloat16_is_computed_in_and_all_that_is_kept_or_returned_is_float32(name, part):
    network, x = pick(name, part, dtype="bfloat16")
    params, statistics = drawn(network)
    found = jax.eval_shape(partial(gradient, network), params, statistics, x, LABEL)
    assert {leaf.dtype for leaf in jax.tree.leaves((params, statistics, found))} == {
        jnp.dtype("float32")
    }
    jaxpr = jax.make_jaxpr(partial(network.apply, train=False))(params, statistics, x, label=LABEL)
    products = re.findall(r":(\w+)\[.* = (?:dot_general|conv_general_dilated)\[", str(jaxpr))
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    kernels = sum("kernel" in path for path in paths)
    assert products.count("bf16") >= max(
        kernels - 4, 1
    )  # the logit, the projection and class tables are not
    jaxpr = jax.make_jaxpr(partial(pick(name, part)[0].apply, train=False))(
        params, statistics, x, label=LABEL
    )
    assert "bf16" not in str(jaxpr)


@pytest.mark.parametrize("part", ["generator", "discriminator"])
def test_bfloat16_is_close_to_float32(part):
    outputs = []
    for dtype in ("float32", "bfloat16"):
        network, x = pick("dcgan", part, dtype=dtype)
        params, statistics = drawn(network)
        outputs.append(jax.jit(partial(network.apply, train=False))(params, statistics, x)[0])
    exact, rounded = outputs
    assert (
        1e-4 < np.linalg.norm(exact - rounded) / np.linalg.norm(exact) < 0.03
    )  # bfloat16 has 8 bits


@pytest.mark.slow
@pytest.mark.parametrize(("name", "part"), [("dcgan", "discriminator"), ("r3gan", "generator")])
def test_checkpointing_changes_neither_outputs_nor_statistics_nor_gradients(name, part):
    options = (
        {"norm": "batch", "spectral_norm": True, "dropout": 0.3}
        if name == "dcgan"
        else {"blocks": 1}
    )
    (plain, x), (thrifty, _) = (
        pick(name, part, checkpointing=on, **options) for on in (False, True)
    )
    params, statistics = drawn(plain)
    found, expected = (
        gradient(n, params, statistics, x, LABEL, jax.random.key(0)) for n in (thrifty, plain)
    )
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.max(np.abs(b)))


@pytest.mark.parametrize(("name", "part"), LARGE_ARE_SLOW[1:])
def test_checkpointing_keeps_less_for_the_backward_pass(name, part):
    def kept(**options):
        network, x = pick(name, part, **options)
        x, label = jnp.tile(x, (4,) + (1,) * (x.ndim - 1)), jnp.tile(LABEL, 4)
        params, statistics = drawn(network)

        def outputs(params):
            return jax.vmap(
                lambda x: network.apply(params, statistics, x, True, label)[0], axis_name=AXIS
            )(x[None])

        residuals = jax.eval_shape(lambda params: jax.vjp(outputs, params)[1], params)
        return sum(leaf.size for leaf in jax.tree.leaves(residuals)) - sum(
            leaf.size for leaf in jax.tree.leaves(params)
        )

    assert kept(checkpointing=True) < 0.75 * kept()


@pytest.mark.parametrize(("name", "part"), NETWORKS)
def test_the_penalised_pattern_catches_every_kernel_and_nothing_else(name, part):
    params, _ = drawn(pick(name, part)[0])
    params = jax.tree.map(jnp.ones_like, params)
    caught = by_path({r"(^|/)kernel$": l1(1.0)}).value(params)
    leaves = {
        jax.tree_util.keystr(p, simple=True, separator="/"): v
        for p, v in jax.tree_util.tree_leaves_with_path(params)
    }
    norms = {
        path: leaf
        for path, leaf in leaves.items()
        if re.search(r"(^|/)norm[_\d]*/(scale|bias)$", path)
    }
    biases = {
        path: leaf for path, leaf in leaves.items() if path not in norms and path.endswith("bias")
    }
    assert caught == sum(leaf.size for leaf in leaves.values()) - sum(
        leaf.size for leaf in (norms | biases).values()
    )
    assert all(leaf.ndim == 1 for leaf in biases.values())


@pytest.mark.parametrize(
    ("name", "part", "norm"),
    [
        ("dcgan", "generator", "none"),
        pytest.param("sn_resnet", "generator", "none", marks=pytest.mark.slow),
        pytest.param("dcgan", "discriminator", "batch", marks=pytest.mark.slow),
        pytest.param("sn_resnet", "discriminator", "batch", marks=pytest.mark.slow),
        pytest.param("mlp", "discriminator", "batch", marks=pytest.mark.slow),
    ],
)
@pytest.mark.usefixtures("x64")
def test_no_bias_is_without_effect(name, part, norm):
    """A bias in front of batch norm has a gradient of exactly zero.

    Adam would turn the rounding noise of such a gradient into steps.
    """
    network, x = pick(name, part, norm=norm)
    params, statistics = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), drawn(network))
    _, _, grads = gradient(network, params, statistics, x.astype(jnp.float64), LABEL)
    for path, leaf in jax.tree_util.tree_leaves_with_path(grads):
        assert np.linalg.norm(leaf) > 1e-9, path

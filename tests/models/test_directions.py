"""Directions of latent space against NumPy's decomposition of the first layers' kernels."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from generators import FAMILIES, generator

from l1jax.compaction import compact
from l1jax.models import Generator
from l1jax.models.directions import sefa_directions
from l1jax.models.network import linen_network

# Name of the layer that takes the latents.
FIRST = {
    "mlp": "hidden_0",
    "points": "hidden_0",
    "dcgan": "project",
    "sn_resnet": "project",
    "r3gan": "project",
    "dense": "hidden_0",
    "vae": "hidden_0",
    "conv_vae": "hidden_0",
}


def check(found, matrix):
    """Compare with the singular vectors of a matrix of latents × outputs."""
    _, scales, vectors = np.linalg.svd(np.asarray(matrix, np.float64).T)
    size = len(matrix)
    wanted = np.concatenate([scales, np.zeros(size - len(scales))])
    np.testing.assert_allclose(found.scales, wanted, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.vectors @ found.vectors.T, np.eye(size), atol=1e-6)
    clear = np.flatnonzero(scales > 1e-3)
    cosines = np.sum(found.vectors[clear] * vectors[clear], axis=1)
    np.testing.assert_allclose(np.abs(cosines), 1, atol=1e-5)
    assert (np.max(found.vectors, axis=1) >= -np.min(found.vectors, axis=1)).all()


@pytest.mark.parametrize(
    ("family", "classes"), [("mlp", 0), ("mlp", 3), ("dcgan", 3), ("conv_vae", 0), ("r3gan", 3)]
)
def test_directions_are_singular_vectors_of_the_first_kernel(family, classes):
    own = generator(family, classes)
    latents = own.generator.latent_size
    kernel = own.params[FIRST[family]]["kernel"]
    check(sefa_directions(own.generator, own.params, own.batch_stats), kernel[:latents])


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_directions(family):
    own = generator(family)
    check(
        sefa_directions(own.generator, own.params, own.batch_stats),
        own.params[FIRST[family]]["kernel"],
    )


@pytest.mark.parametrize("family", ["mlp", pytest.param("dcgan", marks=pytest.mark.slow)])
def test_a_compacted_network_has_the_directions_of_its_smaller_kernel(family):
    own = generator(family, 3)
    name = FIRST[family]
    kernel = np.array(own.params[name]["kernel"])
    kernel[:, ::2] = 0
    first = {**own.params[name], "kernel": jnp.asarray(kernel)}
    if "bias" in first:
        first["bias"] = first["bias"].at[::2].set(0)
    small = compact(own.generator, {**own.params, name: first}, own.batch_stats)
    assert small.layout
    latents = own.generator.latent_size
    check(
        sefa_directions(small.generator, small.params, small.batch_stats),
        small.params[name]["kernel"][:latents],
    )
    assert small.params[name]["kernel"].shape[1] < kernel.shape[1]


def of_module(module, latents=5):
    made = linen_network(module, (latents,))
    params, statistics = made.init(jax.random.key(2))
    return Generator(made, latents, (2, 2, 1), (-1.0, 1.0)), params, statistics


class Skips(nn.Module):
    """Latents enter at two depths, the second time a part of them, and beside what they made."""

    @nn.compact
    def __call__(self, latents, train):
        def hidden(latents):
            return nn.relu(nn.Dense(7, name="first")(latents))

        x = hidden(latents)
        again = nn.Dense(6, name="second")(2 * jnp.flip(latents[:, :3], 1))
        x = nn.Dense(6, name="third")(jnp.concatenate([x, latents], 1)) + again
        return nn.ConvTranspose(1, (2, 2), (2, 2))(x[:, None, None])


@pytest.mark.slow
def test_all_layers_that_take_the_latents_count():
    generator, params, statistics = of_module(Skips())
    second = np.zeros((5, 6))
    second[:3] = 2 * np.asarray(params["second"]["kernel"])[::-1]
    matrix = np.concatenate([params["first"]["kernel"], second], axis=1)
    check(sefa_directions(generator, params, statistics), matrix)


class Convolved(nn.Module):
    """The latents are an image of one pixel."""

    @nn.compact
    def __call__(self, latents, train):
        x = nn.ConvTranspose(3, (2, 2), padding="VALID", name="first")(latents[:, None, None])
        return nn.Conv(1, (1, 1))(nn.remat(lambda _, x: nn.relu(x))(self, x))


@pytest.mark.slow
def test_a_convolution_of_the_latents_is_a_first_layer():
    generator, params, statistics = of_module(Convolved())
    matrix = params["first"]["kernel"].transpose(2, 0, 1, 3).reshape(5, 12)
    check(sefa_directions(generator, params, statistics), matrix)


class Narrow(nn.Module):
    """A first layer with fewer outputs than latents."""

    @nn.compact
    def __call__(self, latents, train):
        return nn.Dense(4)(nn.Dense(2, name="first")(latents)).reshape(-1, 2, 2, 1)


def test_fewer_outputs_than_latents_leave_directions_of_scale_zero():
    generator, params, statistics = of_module(Narrow())
    found = sefa_directions(generator, params, statistics)
    check(found, params["first"]["kernel"])
    np.testing.assert_array_equal(found.scales[2:], 0)


class Normalised(nn.Module):
    """The latents are put on a sphere first."""

    @nn.compact
    def __call__(self, latents, train):
        x = latents / jnp.linalg.norm(latents, axis=1, keepdims=True)
        return nn.Dense(4)(x).reshape(-1, 2, 2, 1)


def test_latents_that_are_changed_first_are_refused():
    with pytest.raises(ValueError, match="`generator` must have a layer that multiplies the lat"):
        sefa_directions(*of_module(Normalised()))

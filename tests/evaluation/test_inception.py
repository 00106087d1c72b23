"""Beside torch-fidelity, with the same random weights; the public ones are not needed for that."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from fidelity import network, resized
from random_inception_weights import random_tensors

from l1jax.evaluation.features import extract_all
from l1jax.evaluation.inception import inception_features, resize
from l1jax.evaluation.inception_weights import convert_weights

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """The PyTorch file, and the converted one."""
    folder = tmp_path_factory.mktemp("weights")
    source, converted = folder / "weights.pth", folder / "weights.safetensors"
    torch.save({name: torch.from_numpy(value) for name, value in random_tensors().items()}, source)
    convert_weights(source, converted, any_weights=True)
    return source, converted


@pytest.fixture(scope="module")
def oracle(weights):
    return network(weights[0])


def smooth(n, side, channels, contrast):
    """Images with large and small structures, as photographs have."""
    coarse = (
        RNG.integers(0, 256, (n, 7, 7, channels)).repeat(-(-side // 7), 1).repeat(-(-side // 7), 2)
    )
    noise = RNG.normal(0, 20, (n, side, side, channels))
    return np.clip(128 + contrast * (coarse[:, :side, :side] - 128) + noise, 0, 255).astype(
        np.uint8
    )


def fid(a, b):
    """The Fréchet distance of the Gaussians with their means and covariances.

    Of centred samples A and B, tr √(AᵀA BᵀB) is the sum of the singular values of ABᵀ.
    """
    (m, x), (n, y) = (
        (s.mean(0), (s - s.mean(0)) / np.sqrt(len(s) - 1)) for s in map(np.float64, (a, b))
    )
    return np.sum((m - n) ** 2) + np.sum(x**2) + np.sum(y**2) - 2 * np.linalg.norm(x @ y.T, "nuc")


@pytest.mark.slow
@pytest.mark.usefixtures("optimised")
@pytest.mark.parametrize(("side", "channels", "bias"), [(28, 1, True), (300, 3, False)])
def test_features_logits_and_distance_are_those_of_torch_fidelity(
    weights, oracle, side, channels, bias
):
    features, found, expected = inception_features(weights[1], bias), [], []
    for contrast in (0.9, 0.6):
        x = smooth(6, side, channels, contrast)
        found.append(extract_all(features, x, 8))
        pooled, unbiased, biased = oracle(np.broadcast_to(x, (*x.shape[:3], 3)).copy())
        assert np.abs(biased - unbiased).max() > 0.1
        expected.append((pooled, biased if bias else unbiased))
        for ours, theirs in zip(found[-1], expected[-1], strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5 * np.abs(theirs).max())
    ours, theirs = (fid(*(s[0] for s in seen)) for seen in (found, expected))
    assert theirs > 0.1
    assert ours == pytest.approx(theirs, rel=1e-4)


@pytest.mark.parametrize(
    ("height", "width"), [(28, 28), (32, 33), (64, 64), (150, 97), (299, 299), (300, 298)]
)
def test_images_are_resized_as_torch_fidelity_does(height, width):
    x = RNG.integers(0, 256, (2, height, width, 3)).astype(np.uint8)
    np.testing.assert_allclose(resize(jnp.asarray(x)), resized(x), atol=1e-3)  # of 255

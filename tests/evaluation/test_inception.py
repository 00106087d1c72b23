"""Beside torch-fidelity, with the same random weights; the public ones are not needed for that."""

import numpy as np
import pytest
import torch
from cleanfid.resize import build_resizer
from fidelity import network, pytorch_fid_network
from random_inception_weights import random_tensors

from l1jax.evaluation.features import extract_all
from l1jax.evaluation.inception import inception_features
from l1jax.evaluation.weight_files import convert_weights

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


@pytest.mark.slow
@pytest.mark.usefixtures("optimised")
def test_features_are_those_of_pytorch_fid_and_of_clean_fids_pixels(weights, monkeypatch):
    extract = pytorch_fid_network(weights[0], monkeypatch)
    x = smooth(4, 64, 3, 0.9)
    found = extract_all(inception_features(weights[1], resizing="pytorch-fid"), x, 4).features
    expected = extract(x)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())

    clean = np.stack([build_resizer("clean")(image) for image in x])
    of_clean = extract((clean - 128) / 128 * 127.5 + 127.5)  # what pytorch-fid makes (x − 128)/128
    found = extract_all(inception_features(weights[1], resizing="clean"), x, 4).features
    np.testing.assert_allclose(found, of_clean, rtol=1e-4, atol=1e-4 * np.abs(of_clean).max())
    assert np.abs(of_clean - expected).max() > 1e-2 * np.abs(expected).max()


@pytest.mark.slow
def test_an_unknown_resizing_is_refused(weights):
    with pytest.raises(ValueError, match=r"`resizing` .*'bicubic'.* one of legacy-tf"):
        inception_features(weights[1], resizing="bicubic")

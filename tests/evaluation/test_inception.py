"""Beside torch-fidelity, with the same random weights; the public ones are not needed for that."""

import numpy as np
import pytest
import torch
from cleanfid.resize import build_resizer
from fidelity import network, pytorch_fid_network
from PIL import Image
from prdc import compute_prdc
from random_inception_weights import random_tensors

from l1jax.evaluation.features import extract_all
from l1jax.evaluation.inception import inception_features
from l1jax.evaluation.weight_files import convert_weights
from l1jax.image_evaluation import compare

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
@pytest.mark.parametrize(("side", "channels", "bias"), [(28, 1, False)])
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


SIDES = (28, 32, 64, 75, 299, 300, 512, 64)


def write_pictures(folder, contrast):
    """JPEG and PNG files of several sizes, half of them grey."""
    folder.mkdir()
    for i in range(16):
        side = SIDES[i // 2]
        image = smooth(1, side, 3, contrast)[0]
        picture = Image.fromarray(image if i % 2 else image[..., 0])
        picture.save(folder / f"{i:02d}.{'jpg' if i % 4 < 2 else 'png'}")
    return folder


def unbiased_kernel(a, b):
    """The squared MMD with the cubic kernel, by its definition."""
    within = []
    for x in (a, b):
        gram = (x @ x.T / x.shape[1] + 1) ** 3
        within.append((gram.sum() - np.trace(gram)) / (len(x) * (len(x) - 1)))
    return sum(within) - 2 * np.mean((a @ b.T / a.shape[1] + 1) ** 3)


@pytest.mark.slow
@pytest.mark.usefixtures("optimised")
def test_two_folders_have_the_scores_of_torch_fidelitys_features(weights, oracle, tmp_path):
    """Files of all sizes and kinds, from the folder to the scores."""
    folders = [write_pictures(tmp_path / f"{c}", c) for c in (0.9, 0.6)]
    networks = {"inception": inception_features(weights[1])}
    found = compare(*folders, networks=networks)["features"]["inception"]
    expected = []
    for folder in folders:
        pictures = [
            np.array(Image.open(path).convert("RGB"))[None] for path in sorted(folder.iterdir())
        ]
        expected.append(np.concatenate([oracle(picture)[0] for picture in pictures]))
    distance = fid(*expected)
    assert distance > 0.1
    assert found["frechet_distance"]["mean"] == pytest.approx(distance, rel=1e-4)
    real, generated = map(np.float64, expected)
    kernel = unbiased_kernel(real, generated)
    assert found["kernel_distance"]["mean"] == pytest.approx(kernel, rel=1e-3)
    for name, value in compute_prdc(real, generated, nearest_k=5).items():
        assert found[name]["mean"] == pytest.approx(value)


@pytest.mark.slow
def test_an_unknown_resizing_is_refused(weights):
    with pytest.raises(ValueError, match=r"`resizing` .*'bicubic'.* one of legacy-tf"):
        inception_features(weights[1], resizing="bicubic")

"""Files of means and covariances: those of other packages are read, and these read ours."""

import numpy as np
import pytest

from l1jax.config import InputError
from l1jax.evaluation import (
    Gaussian,
    Statistics,
    frechet_distance,
    gaussian,
    load_statistics,
    moments,
    save_statistics,
)
from l1jax.evaluation.statistics_files import holds_statistics

RNG = np.random.default_rng(0)
REAL = RNG.normal(size=(90, 6))
GENERATED = RNG.normal(size=(40, 6)) + 0.5


def save_as_pytorch_fid(path, features):
    """As `save_fid_stats` of pytorch-fid 0.3.0 and `make_custom_stats` of clean-fid 0.1.35 do."""
    mu = np.mean(features, axis=0)
    sigma = np.cov(features, rowvar=False)
    np.savez_compressed(path, mu=mu, sigma=sigma)


def test_a_file_of_another_package_stands_for_its_features(tmp_path):
    save_as_pytorch_fid(tmp_path / "real.npz", REAL)
    assert holds_statistics(tmp_path / "real.npz")
    ((name, found),) = load_statistics(tmp_path / "real.npz").items()
    assert (name, found.count, found.protocol) == ("", None, "")
    expected = frechet_distance(REAL, GENERATED)
    np.testing.assert_allclose(frechet_distance(found.gaussian, GENERATED), expected, rtol=1e-10)
    np.testing.assert_allclose(frechet_distance(GENERATED, found.gaussian), expected, rtol=1e-10)


def test_other_packages_read_mu_and_sigma_of_the_inception_features(tmp_path):
    of_random = Statistics(gaussian(moments(GENERATED[:, :3])), 40, "random")
    of_inception = Statistics(gaussian(moments(REAL)), 90, "Inception-v3")
    both = {"random": of_random, "inception": of_inception}
    save_statistics(tmp_path / "a.npz", both)
    with np.load(tmp_path / "a.npz") as file:  # as `compute_statistics_of_path` of pytorch-fid
        np.testing.assert_allclose(file["mu"][:], REAL.mean(0), rtol=1e-12)
        np.testing.assert_allclose(file["sigma"][:], np.cov(REAL, rowvar=False), rtol=1e-12)
    found = load_statistics(tmp_path / "a.npz")
    assert found.keys() == both.keys()
    for own, read in zip(both.values(), [found["random"], found["inception"]], strict=True):
        np.testing.assert_array_equal(read.gaussian.covariance, own.gaussian.covariance)
        assert read[1:] == own[1:]


def test_moments_and_their_gaussian_are_one():
    a = moments(REAL)
    np.testing.assert_allclose(gaussian(a).covariance, np.cov(REAL, rowvar=False), rtol=1e-12)
    with pytest.raises(InputError, match="moments of 1 rows"):
        gaussian(moments(REAL[:1]))


IDENTITY = np.eye(3)
NOT_A_NUMBER = np.where(IDENTITY, np.nan, 0)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"mu": np.zeros(3)}, "mu and sigma"),
        ({"sigma": IDENTITY}, "shapes (0,) and (3, 3)"),
        ({"mu": np.zeros(2), "sigma": IDENTITY}, "shapes (2,) and (3, 3)"),
        ({"mu": np.zeros(3), "sigma": np.ones(3)}, "shapes (3,) and (3,)"),
        ({"mu": np.zeros(0), "sigma": np.zeros((0, 0))}, "(0,)"),
        ({"mu": np.zeros(3), "sigma": NOT_A_NUMBER}, "3 of `mu` and `sigma` are NaN"),
        ({"mu": np.zeros(3), "sigma": np.triu(np.ones((3, 3)))}, "symmetric"),
        ({"mu": np.zeros(3), "sigma": -IDENTITY}, "negative variance"),
        ({"mu": np.zeros(3), "sigma": IDENTITY.astype(str)}, "real numbers"),
        ({"mu": np.array([{}] * 3), "sigma": IDENTITY}, "cannot be read"),
    ],
)
def test_what_is_no_mean_and_covariance_is_refused(tmp_path, arrays, words):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError) as refusal:
        load_statistics(tmp_path / "a.npz")
    assert words in str(refusal.value)
    assert "a.npz" in str(refusal.value)


def test_damaged_and_missing_files_are_refused(tmp_path):
    save_as_pytorch_fid(tmp_path / "a.npz", REAL)
    content = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "short.npz").write_bytes(content[: len(content) // 2])
    (tmp_path / "folder.npz").mkdir()
    for name in ("short.npz", "none.npz", "folder.npz"):
        assert not holds_statistics(tmp_path / name)
        with pytest.raises(InputError, match="cannot be read as a file of statistics"):
            load_statistics(tmp_path / name)
    with pytest.raises(InputError, match="`statistics` is empty"):
        save_statistics(tmp_path / "b.npz", {})


def test_samples_of_different_features_are_refused():
    two = Gaussian(np.zeros(2), np.eye(2))
    with pytest.raises(InputError, match="features of the same function"):
        frechet_distance(two, Gaussian(np.zeros(3), np.eye(3)))

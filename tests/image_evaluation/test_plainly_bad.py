"""The default table and the sentences below it show noise, copies and missing classes as such."""

import json

import numpy as np
import pytest
from sklearn.datasets import load_digits

from l1jax import evaluate
from l1jax.image_evaluation import compare

pytestmark = pytest.mark.usefixtures("one_device")

DIGITS = load_digits()
IMAGES = np.round(DIGITS.images * (255 / 16)).astype(np.uint8)
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    np.save("real.npy", IMAGES[:120])


def blurred():
    """As images after a hundred steps are: near the mean, with some noise."""
    noise = IMAGES[:120].mean(axis=0) + RNG.normal(scale=8, size=(120, 8, 8))
    return np.clip(np.round(noise), 0, 255).astype(np.uint8)


@pytest.mark.slow
def test_noise_and_the_first_images_of_a_training_are_shown_as_bad(capsys):
    np.save("noise.npy", RNG.integers(0, 256, (120, 8, 8)).astype(np.uint8))
    assert evaluate.main(["--real=real.npy", "--generated=noise.npy"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "the generated images are unlike the real ones" in said
    with open("evaluation.json", encoding="utf-8") as file:
        features = json.load(file)["features"]
    for scores in features.values():
        real = scores["real_against_real"]
        assert scores["precision"]["mean"] < 0.05 < 0.8 < real["precision"]
        assert scores["coverage"]["mean"] < 0.05 < 0.8 < real["coverage"]
        assert scores["frechet_distance"]["mean"] > 10 * real["frechet_distance"]
    np.save("blurred.npy", blurred())
    remarks = compare("real.npy", "blurred.npy")["remarks"]
    assert any("unlike the real ones" in remark for remark in remarks)


@pytest.mark.slow
def test_a_copy_of_the_training_set_is_shown_as_memorised():
    np.save("copied.npy", IMAGES[:80])
    copied = compare("real.npy", "copied.npy")
    np.save("new.npy", IMAGES[1_000:1_080])
    new = compare("real.npy", "new.npy")
    for name in ("pixels", "random"):
        assert copied["features"][name]["near_copies"]["mean"] == 1
        assert copied["features"][name]["authenticity"]["mean"] == 0
        assert new["features"][name]["near_copies"]["mean"] < 0.05
        assert new["features"][name]["authenticity"]["mean"] > 0.4
    assert any("copies of training images" in remark for remark in copied["remarks"])
    assert not any("copies of training images" in remark for remark in new.get("remarks", []))


@pytest.mark.slow
def test_half_the_classes_missing_is_shown_as_missing(capsys):
    np.savez("real.npz", images=IMAGES[:900], labels=DIGITS.target[:900])
    kept = DIGITS.target[900:] < 5
    np.savez("five.npz", images=IMAGES[900:][kept], labels=DIGITS.target[900:][kept])
    assert evaluate.main(["--real=real.npz", "--generated=five.npz", "--accuracy-score"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    with open("evaluation.json", encoding="utf-8") as file:
        result = json.load(file)
    modes = result["modes"]
    shares = {own["label"]: own["generated"][0] for own in modes["classes"]}
    assert sum(shares[label] for label in range(5, 10)) < 0.1
    assert "missing class" in said or modes["modes"]["mean"] < 10
    assert modes["conditional_accuracy"]["mean"] > 0.8  # the labels of five.npz
    view = result["features"]["classifier"]
    share = np.mean(DIGITS.target[:900] < 5)
    assert 0.8 * share < view["accuracy_score"]["mean"] <= share  # no more can be learned from five
    assert view["real_against_real"]["accuracy_score"] == view["accuracy"]
    assert "CAS ↑" in said
    assert "frechet_by_class" not in view

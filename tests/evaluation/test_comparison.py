"""What several kinds of features say of images, of noise and of images that are all alike."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits

from l1jax.evaluation import clip_distance, frechet_by_class, spectrum_distance
from l1jax.evaluation.classifier import Classifier
from l1jax.evaluation.classifier_training import ClassifierSettings, train_classifier
from l1jax.evaluation.comparison import (
    SeedImages,
    choose_extractors,
    compare,
    count_different,
    seed_statistics,
)
from l1jax.evaluation.features import custom_features, pixel_features, random_features
from l1jax.evaluation.trust import describe_repetition, warn_of_misleading_precision

RNG = np.random.default_rng(0)
SHAPE = (8, 8, 1)


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    return np.round(data.images * (255 / 16)).astype(np.uint8)[..., None], data.target


@pytest.fixture(scope="module")
def extractors(digits):
    images, labels = digits
    return choose_extractors(
        SHAPE, train_classifier(images[:500], labels[:500], ClassifierSettings(steps=60))
    )


@pytest.mark.slow
def test_random_convolutions_stand_beside_a_classifier_whose_accuracy_is_reported(
    extractors, digits
):
    assert list(extractors) == ["pixels", "classifier", "random"]
    images, _ = digits
    result = compare(extractors, images[:100], [SeedImages(0, images[100:200])])
    of_classifier = result["features"]["classifier"]
    assert 0 < of_classifier["accuracy"] <= 1
    assert of_classifier["chance"] >= 0.1
    assert of_classifier["held_out"] > 20
    assert "accuracy" not in result["features"]["random"]
    assert result["images"]["different"]["each"] == [100]


def test_extractors_suit_the_image_shape():
    of_digits = Classifier({}, 10, (28, 28, 1), 0.9, "", 100, 0.1)
    assert list(choose_extractors((28, 28, 3), of_digits)) == ["pixels", "random"]
    own = custom_features("mean", lambda images: images.mean(axis=(1, 2)))
    assert list(choose_extractors(None, of_digits, {"own": own})) == ["own"]
    assert list(choose_extractors((64, 64, 3), None, count=2**20)) == ["random"]
    assert list(choose_extractors((1_025, 8, 3), None, {"inception": own})) == [
        "pixels",
        "inception",
    ]


def test_noise_is_visibly_bad_beside_real_images(digits):
    """As a generator's first images are, which a classifier can take for its own."""
    images, _ = digits
    noise = RNG.integers(0, 256, (200, *SHAPE)).astype(np.uint8)
    found = compare({"random": random_features()}, images[:200], [SeedImages(0, noise)])["features"]
    random = found["random"]
    halves = random["real_against_real"]
    assert random["precision"]["mean"] < 0.05 < 0.5 < halves["precision"]
    assert random["coverage"]["mean"] < 0.05 < 0.8 < halves["coverage"]
    assert random["frechet_distance"]["mean"] > 5 * halves["frechet_distance"]
    assert warn_of_misleading_precision(found) == []


@pytest.mark.slow
def test_noise_around_the_mean_of_real_images_has_a_high_precision_and_is_reported(
    extractors, digits
):
    """As images after a hundred steps have, in the middle of the balls around real ones."""
    images, _ = digits
    noise = images.mean(axis=0) + RNG.normal(scale=8, size=(200, *SHAPE))
    drawn = SeedImages(0, np.clip(np.round(noise), 0, 255).astype(np.uint8))
    found = compare(extractors, images[:200], [drawn])["features"]
    random = found["random"]
    halves = random["real_against_real"]
    assert random["precision"]["mean"] > 0.9
    assert random["recall"]["mean"] < 0.05 < 0.5 < halves["recall"]
    assert random["kernel_distance"]["mean"] > 10 * abs(halves["kernel_distance"])
    (said,) = warn_of_misleading_precision(found)
    assert said.startswith("precision alone misleads here: on the features ")
    assert "random" in said.split(" it is as high")[0]
    good = compare(extractors, images[:200], [SeedImages(0, images[200:400])])["features"]
    assert warn_of_misleading_precision(good) == []


def test_rows_that_not_all_features_have():
    rng = np.random.default_rng(0)
    real, drawn = (rng.integers(0, 256, (60, 4, 4, 1)).astype(np.uint8) for _ in range(2))
    labels, asked = np.arange(60) % 3, np.arange(60)[::-1] % 3

    def unit(images):
        flat = images.reshape(len(images), -1).astype(np.float32)
        return flat / jnp.linalg.norm(flat, axis=1, keepdims=True)

    views = {"pixels": pixel_features(), "clip": custom_features("unit", unit)}
    views["clip"] = views["clip"]._replace(is_clip=True)
    found = compare(views, real, [SeedImages(0, drawn, asked)], labels=labels)["features"]
    clip, pixels = found["clip"], found["pixels"]
    flat = [images.reshape(60, -1) / 127.5 - 1 for images in (real, drawn)]
    expected = frechet_by_class(flat[0], labels, flat[1], asked).mean
    assert pixels["frechet_by_class"]["mean"] == pytest.approx(expected, rel=1e-4)
    assert pixels["spectrum_distance"]["mean"] == spectrum_distance(real, drawn)
    assert pixels["real_against_real"]["spectrum_distance"] == spectrum_distance(
        real[30:], real[:30]
    )
    embedded = [np.asarray(unit(images)) for images in (real, drawn)]
    expected = clip_distance(*embedded)
    assert clip["clip_distance"]["mean"] == pytest.approx(expected, rel=1e-4)
    assert clip["clip_distance"]["deviation"] > 0
    assert clip["real_against_real"]["clip_distance"] > 0
    assert "clip_distance" not in pixels
    assert "spectrum_distance" not in clip
    plain = compare({"pixels": views["pixels"]}, real, [SeedImages(0, drawn)], labels=labels)
    assert "frechet_by_class" not in plain["features"]["pixels"]


def numbers(value):
    """All numbers in a result."""
    if isinstance(value, dict):
        return [number for part in value.values() for number in numbers(part)]
    if isinstance(value, list):
        return [number for part in value for number in numbers(part)]
    return [value] if isinstance(value, int | float) else []


@pytest.mark.parametrize("grey", [0, 200])
def test_images_that_are_all_equal_have_finite_scores_and_no_diversity(extractors, digits, grey):
    same = np.full((60, *SHAPE), grey, np.uint8)
    result = compare(extractors, digits[0][:60], [SeedImages(0, same), SeedImages(1, same)])
    assert all(map(math.isfinite, numbers(result)))
    assert result["images"]["different"]["each"] == [1, 1]
    assert result["images"]["ms_ssim"]["mean"] == pytest.approx(1)
    for scores in result["features"].values():
        assert scores["recall"]["mean"] == 0
        assert scores["coverage"]["mean"] <= 0.5
    assert result["features"]["classifier"]["inception_score"]["mean"] == pytest.approx(1)


def test_real_images_that_are_all_equal_have_finite_scores(extractors):
    same = np.full((60, *SHAPE), 7, np.uint8)
    result = compare(
        extractors, same, [SeedImages(0, RNG.integers(0, 256, (60, *SHAPE)).astype(np.uint8))]
    )
    assert all(map(math.isfinite, numbers(result)))


def test_different_images_are_counted():
    images = RNG.integers(0, 256, (10, *SHAPE)).astype(np.uint8)
    assert count_different(images) == 10
    assert count_different(images[[0, 1, 0, 2, 2]]) == 3


@pytest.mark.parametrize(
    ("different", "real", "words"),
    [
        ([100, 100], 50, []),
        (
            [1, 1],
            50,
            ["all 100 generated images of each seed are equal: the generator draws one image"],
        ),
        ([10, 10], 50, ["of the 100 generated images of each seed only 10 differ"]),
        ([98, 100], 50, ["of the 100 generated images of each seed only 98 to 100 differ"]),
        ([100], 1, ["all real images are equal"]),
    ],
)
def test_repetition_is_said(different, real, words):
    found = describe_repetition(different, 100, real)
    assert len(found) == len(words)
    assert all(word in sentence for word, sentence in zip(words, found, strict=True))


def test_statistics_are_taken_over_the_seeds():
    found = seed_statistics([{"a": 1.0}, {"a": 4.0}])["a"]
    assert found == {
        "mean": 2.5,
        "deviation": pytest.approx(np.std([1, 4], ddof=1)),
        "each": [1, 4],
    }
    assert seed_statistics([{"a": 1.0}])["a"]["deviation"] is None

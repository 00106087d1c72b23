"""How often the class that was asked for is the one that is read, before and after sound."""

import numpy as np
import pytest

from l1jax.evaluation import evaluate_samples
from l1jax.evaluation.classifier import Classifier
from l1jax.evaluation.comparison import SeedImages
from l1jax.evaluation.evaluate_samples import conditional_accuracies

CLASSIFIER = Classifier({}, 3, (4, 4, 1), 0.9, "", 10, 1 / 3)
LABELS = np.array([0, 1, 2, 0])


def of_classes(*classes):
    """Images whose pixels are all their class."""
    return np.array(classes, np.uint8)[:, None, None, None] * np.ones((4, 4, 1), np.uint8)


@pytest.fixture(autouse=True)
def read_pixels(monkeypatch):
    monkeypatch.setattr(evaluate_samples, "predict", lambda _, images: images[:, 0, 0, 0])


def accuracies_of(drawn, through_sound=None):
    read = drawn.images[:, 0, 0, 0].astype(int)
    return conditional_accuracies(CLASSIFIER, drawn, read, through_sound)


def test_the_share_of_classes_that_are_read_as_asked():
    drawn = SeedImages(0, of_classes(0, 1, 1, 2), LABELS)
    assert accuracies_of(drawn) == {"conditional_accuracy": 0.5}


def test_sound_has_a_share_of_its_own():
    drawn = SeedImages(0, of_classes(0, 1, 2, 0), LABELS)
    accuracies = accuracies_of(drawn, lambda images: np.minimum(images, 1))
    assert accuracies == {"conditional_accuracy": 1.0, "conditional_accuracy_of_sound": 0.75}


def test_without_classes_or_for_images_of_another_shape_there_is_none():
    assert accuracies_of(SeedImages(0, of_classes(0))) == {}
    other = SeedImages(0, of_classes(0)[:, :2], np.array([0]))
    assert accuracies_of(other) == {}

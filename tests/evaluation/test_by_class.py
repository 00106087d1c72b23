"""Scores within classes."""

import numpy as np
import pytest

from l1jax.config import InputError
from l1jax.evaluation import classification_accuracy_score, frechet_by_class, frechet_distance
from l1jax.evaluation.by_class import within_classes
from l1jax.evaluation.classifier_training import ClassifierSettings

RNG = np.random.default_rng(0)
LABELS = np.arange(300) % 3


def sample(labels):
    """Features whose mean is that of their class."""
    return RNG.normal(size=(len(labels), 4)) + 5 * labels[:, None]


def test_it_is_the_mean_of_the_distances_within_each_class():
    a, b = sample(LABELS), sample(LABELS) + 0.3
    found = frechet_by_class(a, LABELS, b, LABELS)
    each = {k: frechet_distance(a[k == LABELS], b[k == LABELS]) for k in range(3)}
    assert found.each == pytest.approx(each)
    assert found.mean == pytest.approx(np.mean(list(each.values())))


def test_it_sees_a_generator_that_ignores_the_class():
    a, b = sample(LABELS), sample(LABELS)
    asked = RNG.permutation(LABELS)
    assert frechet_distance(a, b) < 0.5
    assert frechet_by_class(a, LABELS, b, LABELS).mean < 0.5
    assert frechet_by_class(a, LABELS, b, asked).mean > 10


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (LABELS[:-1], r"`generated_labels` \(=int64\[299\]\).*300 rows"),
        (LABELS.astype(float), "`generated_labels`.*float64.*whole number"),
        (np.minimum(LABELS, 1), "100 and 0 rows of the class 2"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels, words):
    with pytest.raises(InputError, match=words):
        frechet_by_class(sample(LABELS), LABELS, sample(LABELS), labels)


def test_classes_with_too_few_images_have_no_distance():
    a, b = sample(LABELS), sample(LABELS)
    found = within_classes(a, LABELS, b, LABELS)
    assert found == {"frechet_by_class": frechet_by_class(a, LABELS, b, LABELS).mean}
    assert within_classes(a, None, b, LABELS) == within_classes(a, LABELS, b, None) == {}
    alone = np.where(np.arange(300) == 0, 3, LABELS)
    assert within_classes(a, alone, b, LABELS) == {}
    assert within_classes(a, LABELS, b, alone) == {}


def bars(labels):
    """Noisy images, brighter in the third of the rows that their class tells."""
    x = RNG.integers(0, 60, (len(labels), 9, 9, 1))
    for image, label in zip(x, labels, strict=True):
        image[3 * label : 3 * label + 3] += 150
    return x.astype(np.uint8)


@pytest.mark.slow
def test_a_classifier_learns_from_good_images_and_not_from_confused_ones():
    settings = ClassifierSettings(steps=60, batch_size=32, hidden=16)
    real = bars(LABELS)
    good = classification_accuracy_score(
        bars(LABELS),
        LABELS,
        real,
        LABELS,
        training=bars(LABELS),
        training_labels=LABELS,
        settings=settings,
    )
    assert good.accuracy > 0.95
    assert good.between_real > 0.95
    confused = classification_accuracy_score(
        bars(LABELS), (LABELS + 1) % 3, real, LABELS, settings=settings
    )
    assert confused.accuracy < 0.1
    assert np.isnan(confused.between_real)

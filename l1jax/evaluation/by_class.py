"""Scores of class-conditional generators: within each class, and by what a classifier learns."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Int, Shaped

from l1jax.config import InputError
from l1jax.evaluation.frechet import frechet_distance
from l1jax.evaluation.pairwise import Features, Rows, feature_matrix

if TYPE_CHECKING:
    from l1jax.evaluation.classifier_training import ClassifierSettings

Images = Shaped[np.ndarray, "_count height width channels"]
Labels = Shaped[np.ndarray, "..."]
"""What is no whole number for each row is refused with a message, not with a type error."""


class FrechetByClass(NamedTuple):
    """The Fréchet distance within each class."""

    mean: float
    """Over the classes, each counting the same."""
    each: dict[int, float]
    """By class."""


class AccuracyScore(NamedTuple):
    """How well a classifier does on real images that learned from generated ones alone."""

    accuracy: float
    """Share of the real images that it classifies correctly."""
    between_real: float
    """The same of a classifier that learned from as many other real images; NaN without them."""


def frechet_by_class(
    real: Features,
    real_labels: Labels,
    generated: Features,
    generated_labels: Labels,
) -> FrechetByClass:
    """Measure the Fréchet distance within each class, and average over classes.

    The distance of all images together hardly sees a generator that ignores the class it is asked
    for. This one does. It needs more images: those of one class should be many more than there are
    features.

    Args:
        real: features of the real sample, a row each; at least two for each class.
        real_labels: class of each.
        generated: features of the generated sample; at least two for each class.
        generated_labels: the class that each was asked to be of.

    Raises:
        InputError: if labels and rows do not fit, or a class has fewer than two rows in one sample.

    Source: Miyato and Koyama, "cGANs with projection discriminator", ICLR 2018, section 5.1
    (intra-FID).
    """
    a = feature_matrix(real, "real", least=2)
    b = feature_matrix(generated, "generated", least=2)
    of_real = _check_labels(real_labels, a, "real_labels")
    of_generated = _check_labels(generated_labels, b, "generated_labels")
    each = {}
    for label in np.union1d(of_real, of_generated).tolist():
        rows = (a[of_real == label], b[of_generated == label])
        if min(map(len, rows)) < 2:
            raise InputError(
                f"`real_labels` and `generated_labels` (with {len(rows[0]):,} and "
                f"{len(rows[1]):,} rows of the class {label}) must have at least two of each class."
            )
        each[label] = frechet_distance(*rows)
    return FrechetByClass(float(np.mean(list(each.values()))), each)


def within_classes(
    real: Features,
    real_labels: Labels | None,
    generated: Features,
    generated_labels: Labels | None,
) -> dict[str, float]:
    """Return the mean of `frechet_by_class` by that name, where both sides have enough of a class.

    Args:
        real: as there.
        real_labels: as there; None without classes.
        generated: as there.
        generated_labels: as there; None without classes.

    Returns:
        Nothing without classes, or if one has fewer than two rows on a side.
    """
    if real_labels is None or generated_labels is None:
        return {}
    classes, index = np.unique(np.concatenate([real_labels, generated_labels]), return_inverse=True)
    for part in (index[: len(real_labels)], index[len(real_labels) :]):
        if np.bincount(part, minlength=len(classes)).min() < 2:
            return {}
    found = frechet_by_class(real, real_labels, generated, generated_labels)
    return {"frechet_by_class": found.mean}


def classification_accuracy_score(
    generated: Images,
    generated_labels: Labels,
    real: Images,
    real_labels: Labels,
    *,
    training: Images | None = None,
    training_labels: Labels | None = None,
    settings: "ClassifierSettings | None" = None,
) -> AccuracyScore:
    """Train a classifier on generated images and test it on real ones.

    It sees what distances miss: classes that are confused, and variety within a class that real
    images have and generated ones lack.

    Args:
        generated: uint8 images, of sides from 8 to 128 pixels.
        generated_labels: the class that each was asked to be of.
        real: real images that neither the generator nor `training` has.
        real_labels: their classes.
        training: real images to train a second classifier on, as the best that can be reached. It
            should be as many as `generated`; where it is more, the first of them are taken.
        training_labels: their classes.
        settings: of the training; None for `ClassifierSettings()`.

    Raises:
        ValueError: if images and labels do not fit, or a class is missing.

    Source: Ravuri and Vinyals, "Classification accuracy score for conditional generative models",
    NeurIPS 2019.
    """

    # Only here, because the rest of l1jax.evaluation needs no extra.
    from l1jax.evaluation.classifier import predict
    from l1jax.evaluation.classifier_training import train_classifier

    def accuracy(images: Images, labels: Labels) -> float:
        classifier = train_classifier(images, labels, settings)
        return float(np.mean(predict(classifier, real) == real_labels))

    between_real = float("nan")
    if training is not None and training_labels is not None:
        count = len(generated)
        between_real = accuracy(training[:count], training_labels[:count])
    return AccuracyScore(accuracy(generated, generated_labels), between_real)


def _check_labels(labels: Labels, rows: Rows, name: str) -> Int[np.ndarray, " count"]:
    array = np.asarray(labels)
    if array.shape != (len(rows),) or array.dtype.kind not in "iu":
        raise InputError(
            f"`{name}` (={array.dtype}{list(array.shape)}) must be a whole number for each of the "
            f"{len(rows):,} rows."
        )
    return array.astype(np.int64)

"""Which classes images are of, as a classifier of a run's own training images sees them."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Shaped

from l1jax import config
from l1jax.config import InputError
from l1jax.data.cache import cache_folder
from l1jax.data.opening import open_source
from l1jax.data.source import Source, take
from l1jax.evaluation import class_coverage
from l1jax.evaluation.chance import doubt
from l1jax.evaluation.classifier import (
    SIDES,
    Classifier,
    predict,
    stacked_classes,
    train_classifier,
)

Images = Shaped[np.ndarray, "count height width channels"]
Say = Callable[[str], None]


def make_classifier(experiment: config.Config, source: Source, say: Say) -> Classifier | None:
    """A classifier of the labelled training images, kept in the cache.

    Args:
        experiment: that names the images; those of stacked digits are classified one digit at a time.
        source: the training images.
        say: told why there is none, where there are labels.

    Returns:
        None without labels of at least two classes, where images are too small or too large for it, or where it may be
        no better than guessing.
    """
    data = experiment.data
    if isinstance(data, config.StackedData):
        source = open_source(config.IdxData(data.path, data.split, data.image_size))
    if source.labels is None or len(np.unique(source.labels)) < 2:
        return None
    low, high = SIDES
    if not all(low <= side <= high for side in source.image_shape[:2]):
        shape = "×".join(map(str, source.image_shape[:2]))
        say(
            f"there is no classifier of these labels: images of {shape} pixels are not from {low} to {high} a side."
        )
        return None
    images = take(source, np.arange(source.length))
    try:
        classifier = load_or_train_classifier(images, source.labels, experiment.cache)
    except ValueError as error:
        say(f"there is no classifier of these labels: {str(error).rstrip('.')}.")
        return None
    why = doubt(classifier)
    if why:
        say(why)
        return None
    return classifier


def load_or_train_classifier(images: Images, labels: np.ndarray, cache: bool) -> Classifier:
    """A classifier from the cache folder, or trained and kept there where that can be.

    Raises:
        ValueError: if these images and labels cannot train one.
    """
    folder = cache_folder() if cache else None
    try:
        return train_classifier(images, labels, folder=folder)
    except InputError:  # there can be no such folder
        if folder is None:
            raise
        return train_classifier(images, labels, folder=None)


def class_scores(classifier: Classifier, generated: Images, source: Source) -> dict[str, float]:
    """Which classes the generated images reach, and how far their shares are from the real ones'."""
    stacked = classifier.shape != generated.shape[1:]
    found = (stacked_classes if stacked else predict)(classifier, generated)
    most = classifier.classes ** (generated.shape[-1] if stacked else 1)
    counts = np.bincount(np.asarray(source.labels), minlength=most)
    return {
        name: float(value)
        for name, value in class_coverage(found, counts)._asdict().items()
        if name != "high_quality"  # which needs a confidence
    }

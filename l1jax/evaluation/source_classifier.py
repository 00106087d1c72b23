"""Count the classes of generated images with a classifier of the run's own training images."""

import numpy as np
from jaxtyping import Int, Shaped

from l1jax import config
from l1jax.config import InputError
from l1jax.data.cache import cache_folder
from l1jax.data.opening import open_source
from l1jax.data.source import Source, take
from l1jax.evaluation import class_coverage
from l1jax.evaluation.chance import near_chance_warning
from l1jax.evaluation.classifier import (
    SIDES,
    Classifier,
    predict,
    stacked_classes,
)
from l1jax.evaluation.classifier_training import train_classifier
from l1jax.evaluation.pictures import ImageSet
from l1jax.terminal import Say

Images = Shaped[np.ndarray, "count height width channels"]


def make_classifier(experiment: config.Config, source: Source, say: Say) -> Classifier | None:
    """Make a classifier of the labelled training images of an experiment.

    Args:
        experiment: the experiment that names the images. Stacked digits are classified one digit at
            a time.
        source: the training images.
        say: prints a sentence; is called if there are labels and yet no classifier.

    Returns:
        As `classifier_of`.
    """
    data = experiment.data
    if isinstance(data, config.StackedData):
        source = open_source(config.IdxData(data.path, data.split, data.image_size))
    return classifier_of(source, say, cache=experiment.cache)


def classifier_of(source: Source, say: Say, *, cache: bool = True) -> Classifier | None:
    """Make a classifier of labelled images, which is kept in the cache.

    Args:
        source: the images.
        say: prints a sentence; is called if there are labels and yet no classifier.
        cache: whether to use the cache folder.

    Returns:
        The classifier. None if there are no labels of at least two classes, the images are too
        small or too large for it, or it may be no better than guessing.
    """
    if source.labels is None or len(np.unique(source.labels)) < 2:
        return None
    low, high = SIDES
    height, width, _ = source.image_shape
    if not (low <= height <= high and low <= width <= high):
        say(
            f"there is no classifier of these labels: images of {height}×{width} pixels are not "
            f"from {low} to {high} a side."
        )
        return None
    images = take(source, np.arange(source.length))
    try:
        classifier = load_or_train_classifier(images, source.labels, cache)
    except ValueError as error:
        say(f"there is no classifier of these labels: {str(error).rstrip('.')}.")
        return None
    warning = near_chance_warning(classifier)
    if warning:
        say(warning)
        return None
    return classifier


def load_or_train_classifier(images: Images, labels: np.ndarray, cache: bool) -> Classifier:
    """Load a classifier from the cache folder, or train one and keep it there if that is possible.

    Args:
        images: the training images.
        labels: class of each.
        cache: whether to use the cache folder.

    Raises:
        ValueError: if these images and labels cannot train one.
    """
    folder = cache_folder() if cache else None
    try:
        return train_classifier(images, labels, folder=folder)
    except InputError:  # such a folder cannot be made
        if folder is None:
            raise
        return train_classifier(images, labels, folder=None)


def read_classes(classifier: Classifier, generated: ImageSet) -> Int[np.ndarray, " count"]:
    """Return the class that a classifier reads in each image.

    Args:
        classifier: of the training images, or of the digits in each of their channels.
        generated: the generated images, which have a common shape.
    """
    pictures = generated.common
    assert pictures is not None
    if classifier.shape != pictures.shape:
        return np.asarray(stacked_classes(classifier, pictures.blocks()))
    return np.asarray(predict(classifier, pictures.blocks()))


def class_scores(
    classifier: Classifier, read: Int[np.ndarray, " count"], source: Source
) -> dict[str, float]:
    """Measure which classes the generated images reach, and how far their shares are off.

    Args:
        classifier: of the training images, or of the digits in each of their channels.
        read: the class of each generated image, as `read_classes` returns them.
        source: the real images, with labels.

    Returns:
        The fields of `ClassCoverage` by name, without the one that needs a confidence.
    """
    num_classes = classifier.classes
    if classifier.shape != source.image_shape:
        num_classes = classifier.classes ** source.image_shape[-1]
    counts = np.bincount(np.asarray(source.labels), minlength=num_classes)
    scores = class_coverage(read, counts)._asdict()
    del scores["high_quality"]
    return {name: float(value) for name, value in scores.items()}

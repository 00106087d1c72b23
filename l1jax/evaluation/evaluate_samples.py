"""The parts of an evaluation: points of a mixture, and images."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, Shaped

from l1jax.data.mixture_source import Mixture
from l1jax.data.source import Source
from l1jax.evaluation.by_class import classification_accuracy_score
from l1jax.evaluation.class_balance import class_balance
from l1jax.evaluation.classifier import Classifier, predict
from l1jax.evaluation.comparison import (
    MAX_RANDOM_SIDE,
    SeedImages,
    Training,
    choose_extractors,
    compare,
    count_different,
    seed_statistics,
)
from l1jax.evaluation.coverage import mode_coverage
from l1jax.evaluation.features import FeatureExtractor
from l1jax.evaluation.pictures import ImageSet, as_image_set
from l1jax.evaluation.source_classifier import class_scores, read_classes
from l1jax.evaluation.trust import (
    describe_repetition,
    verdicts,
    warn_of_misleading_precision,
    warnings_of,
)
from l1jax.terminal import Say

Images = Shaped[np.ndarray, "count height width channels"]
JsonObject: TypeAlias = dict[str, Any]  # values that JSON can hold


class ImageReference(NamedTuple):
    """What generated images are compared with."""

    real: Images | ImageSet
    """Real images in a random order."""
    source: Source
    """Where they are from, with the labels of all images there if it has any."""
    classifier: Classifier | None
    """Classifier of the labels, or None."""
    networks: Mapping[str, FeatureExtractor] = MappingProxyType({})
    """Name → features of networks such as Inception-v3."""
    through_sound: Callable[[Images], Images] | None = None
    """(spectrograms) → those of the sound that is made of them; None if images are no sound."""
    held_out_labels: Int[np.ndarray, " count"] | None = None
    """Class of each real image; None if they have none, or the generator was trained on them."""
    training: Training | None = None
    """Images that copies are looked for among; None for the real ones."""
    labels: Int[np.ndarray, " count"] | None = None
    """Class of each real image; None if they have none."""
    with_accuracy_score: bool = False
    """Whether a classifier is trained on generated images and tested on the real ones."""


def evaluate_points(points: Iterable[Float[np.ndarray, "count 2"]], mixture: Mixture) -> JsonObject:
    """Measure which modes of the mixture the generated points reach.

    Args:
        points: generated points of each seed.
        mixture: the distribution of the training points.

    Returns:
        `modes`: their number and the statistics over the seeds of every field of `ModeCoverage`.
    """
    means = jnp.asarray(mixture.means)
    scores = []
    for of_seed in points:
        coverage = mode_coverage(jnp.asarray(of_seed), means, mixture.deviation)._asdict()
        scores.append({name: float(value) for name, value in coverage.items()})
    return {"modes": {"of": len(mixture.means), **seed_statistics(scores)}}


def evaluate_images(
    generated: Iterable[SeedImages],
    num_generated: int,
    reference: ImageReference,
    say: Say,
) -> JsonObject:
    """Measure distances, coverage and diversity of generated images.

    Args:
        generated: generated images of each seed. Only one seed's images are held at a time.
        num_generated: number of images per seed.
        reference: what they are compared with.
        say: takes a sentence about what the numbers cannot show.

    Returns:
        The result of `compare`, and `modes` if there is a classifier, with the `class_balance`.
    """
    source = reference.source
    classifier = reference.classifier
    real = as_image_set(reference.real)
    shape = None if real.common is None else real.common.shape
    largest = max(len(real.own), num_generated)
    extractors = choose_extractors(shape, classifier, reference.networks, largest)
    if shape is not None and "random" not in extractors:
        say(
            "the features of random convolutions are left out for images of more than "
            f"{MAX_RANDOM_SIDE:,} pixels a side."
        )
    if shape is not None and "pixels" not in extractors:
        say("the pixels are left out as features: they would take over 1 GiB of memory.")
    scores_of_classes = []
    read_of_seeds = []
    asked_of_seeds = []
    accuracy_scores: list[float] = []

    def with_class_scores() -> Iterator[SeedImages]:
        for of_seed in generated:
            if classifier is not None and source.labels is not None:
                read = read_classes(classifier, as_image_set(of_seed.images))
                scores = class_scores(classifier, read, source)
                scores |= conditional_accuracies(classifier, of_seed, read, reference.through_sound)
                read_of_seeds.append(read)
                asked_of_seeds.append(of_seed.labels)
                scores_of_classes.append(scores)
                if reference.with_accuracy_score and len(read_of_seeds) == 1:
                    accuracy_scores.extend(accuracy_score(classifier, of_seed, reference, say))
            yield of_seed

    result = compare(extractors, real, with_class_scores(), reference.training, reference.labels)
    if accuracy_scores and classifier is not None:
        view = result["features"]["classifier"]
        (view["accuracy_score"],) = seed_statistics([{"": accuracy_scores[0]}]).values()
        view["real_against_real"]["accuracy_score"] = classifier.accuracy
    elif reference.with_accuracy_score and not scores_of_classes:
        say("the accuracy score is left out: the real images have no classifier.")
    num_different = result["images"]["different"]["each"]
    num_different_real = count_different(real)
    for sentence in describe_repetition(num_different, num_generated, num_different_real):
        say(sentence)
    for sentence in (
        *verdicts(result["features"]),
        *warn_of_misleading_precision(result["features"]),
        *warnings_of(result["features"], len(real.own), num_generated),
    ):
        say(sentence)
    if scores_of_classes and classifier is not None:
        result["modes"] = {
            "of": len(np.unique(np.asarray(source.labels))),
            "accuracy": classifier.accuracy,
            **seed_statistics(scores_of_classes),
            **class_balance(read_of_seeds, asked_of_seeds, source),
        }
        labels = reference.held_out_labels
        if labels is not None and real.common is not None and classifier.shape == shape:
            is_right = predict(classifier, real.common.blocks()) == labels
            result["modes"]["accuracy_on_held_out"] = float(np.mean(is_right))
    return result


def accuracy_score(
    classifier: Classifier, generated: SeedImages, reference: ImageReference, say: Say
) -> list[float]:
    """Train a classifier on generated images, and return its accuracy on the real ones.

    Args:
        classifier: of the real images, for their shape.
        generated: the images of one seed, with their classes.
        reference: the real images, with theirs.
        say: takes a sentence if that is not possible.

    Returns:
        One number, or none.
    """
    drawn = as_image_set(generated.images).common
    real = as_image_set(reference.real).common
    if generated.labels is None or reference.labels is None:
        say("the accuracy score is left out: both sides must have classes.")
        return []
    if drawn is None or real is None or drawn.shape != classifier.shape:
        say("the accuracy score is left out: the classifier sees parts of an image.")
        return []
    images = (drawn.take(range(len(drawn))), real.take(range(len(real))))
    try:
        found = classification_accuracy_score(
            images[0], generated.labels, images[1], reference.labels
        )
    except ValueError as error:
        say(f"the accuracy score is left out: {str(error).rstrip('.')}.")
        return []
    return [found.accuracy]


def conditional_accuracies(
    classifier: Classifier,
    generated: SeedImages,
    read: Int[np.ndarray, " count"],
    through_sound: Callable[[Images], Images] | None,
) -> dict[str, float]:
    """Measure how often a classifier reads the class that was asked for.

    Args:
        classifier: of the labels.
        generated: the images, with the classes that were asked for.
        read: the classes that it reads in them.
        through_sound: as in `ImageReference`.

    Returns:
        `conditional_accuracy`, and `conditional_accuracy_of_sound` if the images are spectrograms;
        nothing if no classes were asked for, or the classifier is not of such images.
    """
    labels = generated.labels
    pictures = as_image_set(generated.images).common
    if pictures is None or labels is None or classifier.shape != pictures.shape:
        return {}
    accuracies = {"conditional_accuracy": float(np.mean(read == labels))}
    if through_sound is not None and pictures.array is not None:
        heard = predict(classifier, through_sound(pictures.array))
        accuracies["conditional_accuracy_of_sound"] = float(np.mean(heard == labels))
    return accuracies

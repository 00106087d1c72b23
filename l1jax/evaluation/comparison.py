"""Compare generated images with real ones by several feature extractors."""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Int, Shaped

from l1jax.evaluation.baseline import copies, real_against_real
from l1jax.evaluation.by_class import within_classes
from l1jax.evaluation.classifier import Classifier, classifier_features
from l1jax.evaluation.diversity import pair_similarity
from l1jax.evaluation.features import (
    Extracted,
    FeatureExtractor,
    pixel_features,
    random_features,
)
from l1jax.evaluation.manifold import neighbourhood
from l1jax.evaluation.pictures import ImageSet, Pictures, as_image_set, extract_set
from l1jax.evaluation.resampling import resampled_deviations
from l1jax.evaluation.scores import feature_scores, reference_of
from l1jax.evaluation.spectrum import Spectrum, decibels_between, radial_spectrum

MAX_RANDOM_SIDE = 1_024  # pixels, of images that the random convolutions take
NUM_PAIRS = 500  # of images, whose similarity is averaged
COPIES = ("pixels", "random")  # features on which copies are looked for among other images
MIN_SPECTRUM_SIDE = 4  # pixels, of images that have a spectrum
MAX_PAIRED = 1_000  # images that pairs are drawn from
MAX_PIXEL_VALUES = 2**28  # of a set, 1 GiB of float32, up to which pixels are features

Images = Shaped[np.ndarray, "count height width channels"]
JsonObject: TypeAlias = dict[str, Any]  # values that JSON can hold


class SeedImages(NamedTuple):
    """The images that were generated from one seed's latents."""

    seed: int
    images: Images | ImageSet
    labels: Int[np.ndarray, " count"] | None = None
    """The class that each was asked to be of; None without classes."""


class Training(NamedTuple):
    """The images that a generator was trained on, if the real ones are not all of them.

    images: these, or some of them.
    includes_real: whether the real images may be among them.
    """

    images: ImageSet
    includes_real: bool


class SeedStatistics(NamedTuple):
    """One number of every seed, and their mean and standard deviation."""

    mean: float
    deviation: float | None  # None for a single seed
    each: list[float]


def choose_extractors(
    image_shape: tuple[int, ...] | None,
    classifier: Classifier | None,
    networks: Mapping[str, FeatureExtractor] = MappingProxyType({}),
    count: int = 0,
) -> dict[str, FeatureExtractor]:
    """Choose the feature extractors that suit images of this shape.

    Random convolutions are among them wherever they take such images, even beside a classifier. A
    classifier sees only what tells its own classes apart, and can mistake noise for real images.

    Args:
        image_shape: height, width and channels of an image; None if they have several shapes, for
            which there are only features that bring images to one size.
        classifier: classifier of the labelled images. It is left out if it takes another shape.
        networks: name → features of networks such as Inception-v3, which are always taken.
        count: number of images of the larger set. The pixels are left out if they are too many.

    Returns:
        Name → extractor, in the order in which they are shown.
    """
    extractors: dict[str, FeatureExtractor] = {}
    if image_shape is not None:
        if count * math.prod(image_shape) <= MAX_PIXEL_VALUES:
            extractors["pixels"] = pixel_features()
        if classifier is not None and classifier.shape == image_shape:
            extractors["classifier"] = classifier_features(classifier)
        if max(image_shape[:2]) <= MAX_RANDOM_SIDE:
            extractors["random"] = random_features()
    return extractors | dict(networks)


def compare(
    extractors: Mapping[str, FeatureExtractor],
    real: Images | ImageSet,
    generated: Iterable[SeedImages],
    training: Training | None = None,
    labels: Int[np.ndarray, " count"] | None = None,
) -> JsonObject:
    """Score generated images against real ones, and real ones against others, too.

    Several processes share the extraction of features, so all of them must call it.

    Args:
        extractors: name → feature extractor.
        real: real images in a random order.
        generated: generated images of each seed. Only one seed's images are held at a time.
        training: images that copies are looked for among, on pixels and random convolutions; None
            for the real ones, on all features.
        labels: class of each real image, for the distances within classes; None without any.

    Returns:
        `features`: extractor's name → its protocol, details and `dimensions`, `real_against_real`,
        and the mean, deviation and values over the seeds of every score. The deviation of a single
        seed is that of `resampled_deviations`. The pixels have the distance of the spectra, too.
        `images`: the similarity of pairs
        of generated images and how many of them are different, and the similarity of real pairs.
        The similarities are left out if images have several sizes.
    """
    real = as_image_set(real)
    real_features = {name: extract_set(extractor, real) for name, extractor in extractors.items()}
    references = {name: reference_of(features) for name, features in real_features.items()}
    known = {}
    for name in COPIES if training is not None else ():
        if name in extractors and training is not None:
            features = extract_set(extractors[name], training.images).features
            known[name] = neighbourhood(features, 1, "training")
    scores: dict[str, list[dict[str, float]]] = {name: [] for name in extractors}
    image_scores: list[dict[str, float]] = []
    first_features: dict[str, Extracted] = {}
    num_generated = 0
    real_spectrum = None
    if "pixels" in extractors and has_spectrum(real):
        real_spectrum = spectrum_of(real)
    for seed, drawn, asked in generated:
        images = as_image_set(drawn)
        num_generated = len(images.own)
        for name, extractor in extractors.items():
            own = extract_set(extractor, images)
            first_features.setdefault(name, own)
            of_seed = feature_scores(references[name], own, seed, is_clip=extractor.is_clip)
            of_seed |= within_classes(real_features[name].features, labels, own.features, asked)
            if name == "pixels" and real_spectrum is not None:
                spectrum = spectrum_of(images)
                of_seed["spectrum_distance"] = decibels_between(real_spectrum, spectrum)
            if training is None:
                of_seed |= copies(own, references[name].neighbourhood)
            elif name in known:
                others = None if training.includes_real else real_features[name]
                of_seed |= copies(own, known[name], others)
            scores[name].append(of_seed)
        image_scores.append({"different": count_different(images), **similarity_of(images, seed)})
    of_features: JsonObject = {}
    for name, extractor in extractors.items():
        statistics = seed_statistics(scores[name])
        if len(scores[name]) == 1:
            deviations = resampled_deviations(
                references[name], first_features[name], is_clip=extractor.is_clip
            )
            for score, deviation in deviations.items():
                statistics[score]["deviation"] = deviation
        baseline = real_against_real(
            real_features[name],
            num_generated,
            labels if "frechet_by_class" in statistics else None,
            is_clip=extractor.is_clip,
        )
        if "spectrum_distance" in statistics:
            baseline["spectrum_distance"] = spectrum_of_real(real, num_generated)
        of_features[name] = {
            "protocol": extractor.protocol,
            **extractor.details,
            "dimensions": int(np.shape(real_features[name].features)[1]),
            "real_against_real": baseline,
            **statistics,
        }
    of_images: JsonObject = seed_statistics(image_scores)
    of_real = similarity_of(real, 0)
    if of_real:
        of_images = {"ms_ssim_of_real": of_real["ms_ssim"], **of_images}
    return {"features": of_features, "images": of_images}


def similarity_of(images: ImageSet, seed: int) -> dict[str, float]:
    """Measure the similarity of pairs of a thousand images, `ms_ssim`.

    Args:
        images: the set.
        seed: of the pairs, and of the images that they are drawn from.

    Returns:
        Nothing if the images have several sizes.
    """
    pictures = images.common
    if pictures is None:
        return {}
    chosen = np.arange(len(pictures))
    if len(pictures) > MAX_PAIRED:
        chosen = np.sort(np.random.default_rng(seed).permutation(len(pictures))[:MAX_PAIRED])
    similarity = pair_similarity(pictures.take(chosen), pairs=NUM_PAIRS, seed=seed)
    return {"ms_ssim": float(similarity.mean)}


def has_spectrum(images: ImageSet) -> bool:
    """Return whether images in the common shape are large enough for a spectrum."""
    pictures = images.common
    if pictures is None or pictures.shape is None:
        return False
    return min(pictures.shape[:2]) >= MIN_SPECTRUM_SIDE


def spectrum_of(images: ImageSet, start: int = 0, stop: int | None = None) -> Spectrum:
    """Return the spectrum of some images in the common shape.

    Args:
        images: the set, which has a common shape.
        start: the first image.
        stop: the image after the last; None for all.
    """
    pictures = images.common
    assert pictures is not None
    stop = len(pictures) if stop is None else stop
    return radial_spectrum(pictures.take(range(start, stop)))


def spectrum_of_real(real: ImageSet, num_generated: int) -> float:
    """Return the distance between the spectra of the parts of `real_against_real`."""
    size = min(num_generated, len(real.own) // 2)
    return decibels_between(spectrum_of(real, size), spectrum_of(real, 0, size))


def count_different(images: Images | ImageSet) -> int:
    """Count the images that differ from each other."""
    pictures: Pictures = as_image_set(images).own
    hashes = set()
    for i, shape in enumerate(pictures.shapes.tolist()):
        hashed = hashlib.sha256(pictures.read(i).tobytes())
        hashes.add((*shape, hashed.digest()))
    return len(hashes)


def seed_statistics(values: Sequence[Mapping[str, float]]) -> dict[str, JsonObject]:
    """Compute the mean and the standard deviation of every number over the seeds.

    Args:
        values: name → number, for each seed; at least one seed.

    Returns:
        Name → the fields of `SeedStatistics`.
    """
    statistics = {}
    for name in values[0]:
        each = [float(value[name]) for value in values]
        deviation = None
        if len(each) > 1:
            deviation = float(np.std(each, ddof=1))
        statistics[name] = SeedStatistics(float(np.mean(each)), deviation, each)._asdict()
    return statistics

"""Compare sets of which at least one is known by the mean and covariance of its features alone."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from l1jax.config import InputError
from l1jax.evaluation.comparison import seed_statistics
from l1jax.evaluation.features import FeatureExtractor
from l1jax.evaluation.frechet import frechet_distance, gaussian, moments
from l1jax.evaluation.pictures import ImageSet, extract_set
from l1jax.evaluation.statistics_files import MAIN, MAX_FEATURES, UNKNOWN, Statistics
from l1jax.terminal import Say

JsonObject: TypeAlias = dict[str, Any]  # values that JSON can hold
StatisticsByName: TypeAlias = Mapping[str, Statistics]
UNKNOWN_PROTOCOL = "of a protocol that the file of statistics does not say"


def statistics_of(
    extractors: Mapping[str, FeatureExtractor], images: ImageSet, say: Say
) -> dict[str, Statistics]:
    """Compute the mean and the covariance of a set's features.

    Args:
        extractors: name → feature extractor.
        images: the set.
        say: takes a sentence about features that are left out because they are too many.

    Returns:
        Name of the features → their statistics.
    """
    statistics = {}
    for name, extractor in extractors.items():
        features = extract_set(extractor, images).features
        if features.shape[1] > MAX_FEATURES:
            say(
                f"the covariance of {name} is left out: it would be of {features.shape[1]:,} "
                f"features, and {MAX_FEATURES:,} are the most."
            )
            continue
        own = moments(features)
        statistics[name] = Statistics(gaussian(own), own.count, extractor.protocol)
    return statistics


def fitting_extractors(
    statistics: StatisticsByName, extractors: Mapping[str, FeatureExtractor], origin: str
) -> dict[str, FeatureExtractor]:
    """Choose the extractors whose features a file of statistics is of.

    Args:
        statistics: name of the features → their statistics, as `load_statistics` returns them.
        extractors: name → feature extractor.
        origin: what an error calls the file.

    Raises:
        InputError: if a file's features have the name of an extractor and another protocol, or
            none are of any extractor.
    """
    fitting = {}
    for name, own in named(statistics).items():
        extractor = extractors.get(name)
        if extractor is None:
            continue
        if own.protocol and own.protocol != extractor.protocol:
            raise InputError(
                f"{origin} holds statistics of {name} of another protocol ({own.protocol}) than "
                f"the images are seen with ({extractor.protocol}): make it again with these."
            )
        fitting[name] = extractor
    if not fitting:
        has = " and ".join(named(statistics))
        remedy = ""
        if MAIN in named(statistics) and MAIN not in extractors:
            remedy = "; --inception gives those of Inception-v3"
        raise InputError(
            f"{origin} holds statistics of {has}, and of the images there are "
            f"{' and '.join(extractors) or 'no features'}: they must share one{remedy}."
        )
    return fitting


def named(statistics: StatisticsByName) -> dict[str, Statistics]:
    """Return statistics with those of unknown features as those of Inception-v3."""
    return {MAIN if name == UNKNOWN else name: own for name, own in statistics.items()}


def compare_statistics(
    real: StatisticsByName, generated: Iterable[StatisticsByName], origin: str
) -> JsonObject:
    """Measure the Fréchet distances between statistics of the same features.

    Args:
        real: name of the features → their statistics.
        generated: the same for each seed.
        origin: what an error calls the two sides.

    Returns:
        Name of the features → their protocol, the number of images on either side if it is known,
        and the mean, deviation and values over the seeds of `frechet_distance`.

    Raises:
        InputError: if there are no common features, or they are not the same on both sides.
    """
    real = named(real)
    distances: dict[str, list[dict[str, float]]] = {}
    counts: dict[str, int | None] = {}
    for of_seed in generated:
        others = named(of_seed)
        common = [name for name in real if name in others]
        if not common:
            raise InputError(
                f"{origin} have no features in common: the real ones are of "
                f"{' and '.join(real)}, the generated ones of {' and '.join(others)}."
            )
        for name in common:
            _check_pair(name, real[name], others[name], origin)
            distance = frechet_distance(real[name].gaussian, others[name].gaussian)
            distances.setdefault(name, []).append({"frechet_distance": distance})
            counts[name] = others[name].count
    features = {}
    for name, of_seeds in distances.items():
        features[name] = {
            "protocol": real[name].protocol or UNKNOWN_PROTOCOL,
            "dimensions": len(real[name].gaussian.mean),
            "num_real": real[name].count,
            "num_generated": counts[name],
            **seed_statistics(of_seeds),
        }
    return features


def _check_pair(name: str, a: Statistics, b: Statistics, origin: str) -> None:
    if len(a.gaussian.mean) != len(b.gaussian.mean):
        raise InputError(
            f"{origin} must be of the same features, and those of {name} have "
            f"{len(a.gaussian.mean):,} and {len(b.gaussian.mean):,} dimensions."
        )
    if a.protocol and b.protocol and a.protocol != b.protocol:
        raise InputError(
            f"{origin} must be of the same features, and those of {name} are {a.protocol!r} and "
            f"{b.protocol!r}."
        )

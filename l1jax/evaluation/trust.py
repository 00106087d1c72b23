"""Sentences about numbers that are not to be trusted, and about images that are plainly bad."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from l1jax.evaluation.frechet import MIN_SAMPLE_ROWS

JsonObject: TypeAlias = Mapping[str, Any]

FEW_CLASSES = 5  # below which a classifier tells too little apart
FEW_IMAGES = 100  # below which one image moves precision and coverage by over 1 %
BAD_COVERAGE = 0.2  # share of the real images' coverage below which images are plainly bad
HIGH_PRECISION = 0.9  # share of real images' precision from which a precision counts as high
LOW_RECALL = 0.1  # share of real images' recall below which a recall is suspiciously low
MANY_COPIES = 0.1  # share of near copies from which images count as memorised


def warnings_of(features: Mapping[str, JsonObject], num_real: int, num_generated: int) -> list[str]:
    """Say which numbers are not to be trusted.

    Args:
        features: the `features` of a result of `compare`.
        num_real: number of real images.
        num_generated: number of generated images.
    """
    sentences = []
    fewest = min(num_real, num_generated)
    biased = [
        f"{name} ({scores['dimensions'] * MIN_SAMPLE_ROWS:,})"
        for name, scores in features.items()
        if fewest < scores["dimensions"] * MIN_SAMPLE_ROWS
    ]
    if biased:
        sentences.append(
            f"the Fréchet distances of {fewest:,} images are too large on these features, which "
            f"need ten images for each dimension: {', '.join(biased)}. Read them beside real "
            "against real."
        )
    for scores in features.values():
        classes = scores.get("classes", FEW_CLASSES)
        if classes < FEW_CLASSES:
            sentences.append(
                f"the classifier tells only {classes:.0f} classes apart, so its scores say little "
                "of anything else."
            )
    if fewest < FEW_IMAGES:
        sentences.append(
            f"precision, recall, density and coverage of {fewest} images are rough: one image is "
            f"{1 / fewest:.1%} of them."
        )
    return sentences


def verdicts(features: Mapping[str, JsonObject]) -> list[str]:
    """Say of which features the images are plainly bad, or copies.

    Args:
        features: the `features` of a result of `compare`.
    """
    far = []
    copied = []
    for name, scores in features.items():
        real = scores["real_against_real"]
        coverage = scores["coverage"]["mean"]
        if coverage < BAD_COVERAGE * real["coverage"]:
            far.append(f"{name} ({coverage:.2g}, of real ones {real['coverage']:.2g})")
        copies = scores.get("near_copies")
        if copies is not None and copies["mean"] >= MANY_COPIES:
            copied.append(f"{name} ({copies['mean']:.0%})")
    sentences = []
    if far:
        sentences.append(
            "the generated images are unlike the real ones: few real images have one nearby "
            f"(coverage) on the features {', '.join(far)}."
        )
    if copied:
        sentences.append(
            "the generated images are copies of training images, or nearly so: nearer to one than "
            f"99 % of other real images are, on the features {', '.join(copied)}."
        )
    return sentences


def describe_repetition(
    num_different: Sequence[float], num_generated: int, num_different_real: int
) -> list[str]:
    """Describe how often images repeat, which scores alone may not show.

    Args:
        num_different: number of different generated images, for each seed.
        num_generated: number of generated images per seed.
        num_different_real: number of different real images.

    Returns:
        Sentences for the user. The list is empty if nothing repeats.
    """
    sentences = []
    fewest = min(num_different)
    most = max(num_different)
    if most == 1:
        sentences.append(
            f"all {num_generated:,} generated images of each seed are equal: the generator draws "
            "one image from every latent. Its precision says nothing about the other images it "
            "should draw."
        )
    elif fewest < num_generated:
        counts = f"{int(fewest):,}"
        if most > fewest:
            counts += f" to {int(most):,}"
        sentences.append(
            f"of the {num_generated:,} generated images of each seed only {counts} differ from "
            "each other."
        )
    if num_different_real == 1:
        sentences.append(
            "all real images are equal, so their recall, coverage and novelty mean nothing."
        )
    return sentences


def warn_of_misleading_precision(features: Mapping[str, JsonObject]) -> list[str]:
    """Warn where precision is high only because the images lie in the middle of the real ones.

    Args:
        features: the `features` of a result of `compare`.

    Returns:
        At most one sentence for the user.
    """
    names = []
    recalls = []
    real_recalls = []
    for name, scores in features.items():
        real_halves = scores["real_against_real"]
        precision = scores["precision"]["mean"]
        recall = scores["recall"]["mean"]
        is_precise = precision >= HIGH_PRECISION * real_halves["precision"]
        if is_precise and recall < LOW_RECALL * real_halves["recall"]:
            names.append(name)
            recalls.append(f"{recall:.2g}")
            real_recalls.append(f"{real_halves['recall']:.2g}")
    if not names:
        return []
    return [
        f"precision alone misleads here: on the features {' and '.join(names)} it is as high as "
        f"that of real images, but recall is {' and '.join(recalls)} where that of real images is "
        f"{' and '.join(real_recalls)}. Noise, blur, and copies near the mean of the real images "
        "score like this, so look at samples."
    ]

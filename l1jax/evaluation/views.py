"""Generated images beside real ones, as several kinds of features see them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped

from l1jax.evaluation.classifier import Classifier, classifier_features
from l1jax.evaluation.diversity import pair_similarity
from l1jax.evaluation.features import (
    Extracted,
    Features,
    extract_all,
    pixel_features,
    random_features,
)
from l1jax.evaluation.scores import feature_scores

LARGEST = 1_024  # pixels a side, of images that random convolutions take
HIGH, LOW = 0.9, 0.1  # shares of the real halves' precision and recall that together are suspicious
PAIRS = 500  # of images, whose similarity is taken

Images = Shaped[np.ndarray, "count height width channels"]


class View(NamedTuple):
    """A kind of features, and what is known of it beside its protocol."""

    features: Features
    facts: Mapping[str, Any]


class Drawn(NamedTuple):
    """The images that one seed's latents gave."""

    seed: int
    images: Images


def make_views(
    shape: tuple[int, ...], classifier: Classifier | None, inception: Features | None
) -> dict[str, View]:
    """The kinds of features that images are seen in.

    Random convolutions are always among them where they take such images: a classifier sees only what tells its own
    classes apart, and can take noise for real images.

    Args:
        shape: of an image.
        classifier: of labelled images; left out where it is of another shape.
        inception: those of Inception-v3.
    """
    views = {"pixels": View(pixel_features(), {})}
    if classifier is not None and classifier.shape == shape:
        known = ("accuracy", "held_out", "chance")
        facts = {name: getattr(classifier, name) for name in known}
        views["classifier"] = View(classifier_features(classifier), facts)
    if max(shape[:2]) <= LARGEST:
        views["random"] = View(random_features(), {})
    if inception is not None:
        views["inception"] = View(inception, {})
    return views


def compare(views: Mapping[str, View], real: Images, drawn: Iterable[Drawn]) -> dict[str, Any]:
    """Score generated images against real ones in every view, beside the real ones' two halves.

    Args:
        views: by name.
        real: images, in an order that is random.
        drawn: generated images of each seed, of which one at a time is kept.

    Returns:
        `features`: name of the view → its protocol, what is known of it, `between_real_halves`, and each score's mean,
        deviation and values over the seeds; `images`: of the generated ones themselves, how alike pairs are, and how
        many differ from all others.
    """
    half = len(real) // 2
    seen = {name: extract_all(view.features, real) for name, view in views.items()}
    by_view: dict[str, list[dict[str, float]]] = {name: [] for name in views}
    own: list[dict[str, float]] = []
    for seed, images in drawn:
        for name, view in views.items():
            scores = feature_scores(seen[name], extract_all(view.features, images), seed)
            by_view[name].append(scores)
        similarity = pair_similarity(images, pairs=PAIRS, seed=seed).mean
        own.append({"ms_ssim": similarity, "different": count_different(images)})
    features = {
        name: {
            "protocol": view.features.protocol,
            **view.facts,
            "between_real_halves": feature_scores(
                _rows(seen[name], 0, half), _rows(seen[name], half, len(real))
            ),
            **spread(by_view[name]),
        }
        for name, view in views.items()
    }
    of_real = float(pair_similarity(real, pairs=PAIRS).mean)
    return {"features": features, "images": {"ms_ssim_of_real": of_real, **spread(own)}}


def count_different(images: Images) -> int:
    """How many different images there are among these."""
    return len({image.tobytes() for image in images})


def sameness(different: Sequence[float], generated: int, real: int) -> list[str]:
    """Say where images repeat, which scores alone may not show.

    Args:
        different: how many of each seed's images differ.
        generated: images of a seed.
        real: how many of the real images differ.
    """
    found = []
    if max(different) == 1:
        found.append(
            f"all {generated:,} generated images of each seed are equal: the generator draws one image from every "
            "latent, whose precision says nothing of the others it should draw."
        )
    elif min(different) < generated:
        low, high = (f"{int(count):,}" for count in (min(different), max(different)))
        counts = low if low == high else f"{low} to {high}"
        found.append(
            f"of the {generated:,} generated images of each seed only {counts} differ from each other."
        )
    if real == 1:
        found.append(
            "all real images are equal, so that their recall, coverage and novelty say nothing."
        )
    return found


def misleading_precision(features: Mapping[str, Any]) -> list[str]:
    """Say where precision is high only because the images lie in the middle of the real ones.

    Args:
        features: of `compare`.
    """
    names, recalls, real_recalls = [], [], []
    for name, view in features.items():
        halves = view["between_real_halves"]
        recall = view["recall"]["mean"]
        high = view["precision"]["mean"] >= HIGH * halves["precision"]
        if high and recall < LOW * halves["recall"]:
            names.append(name)
            recalls.append(f"{recall:.2g}")
            real_recalls.append(f"{halves['recall']:.2g}")
    if not names:
        return []
    many = " and ".join(names)
    return [
        f"precision alone misleads here: seen through {many} it is as high as that of real images, but recall is "
        f"{' and '.join(recalls)} where theirs is {' and '.join(real_recalls)}. Noise, blur or copies near the mean "
        "of the real images score like this: look at samples."
    ]


def spread(values: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Mean and deviation over the seeds, and each of them."""
    found = {}
    for name in values[0]:
        each = [float(value[name]) for value in values]
        deviation = float(np.std(each, ddof=1)) if len(each) > 1 else None
        found[name] = {"mean": float(np.mean(each)), "deviation": deviation, "each": each}
    return found


def _rows(seen: Extracted, start: int, stop: int) -> Extracted:
    logits = None if seen.logits is None else np.asarray(seen.logits)[start:stop]
    return Extracted(np.asarray(seen.features)[start:stop], logits)

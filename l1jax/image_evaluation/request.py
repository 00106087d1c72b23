"""What two sets of images are compared, and how, as one value."""

from dataclasses import dataclass
from typing import Any

from l1jax.data.float_pixels import Floats
from l1jax.evaluation.features import FeatureExtractor


@dataclass(frozen=True)
class Request:
    """How sets of images are read and compared.

    Attributes:
        samples: generated images that are compared; 0 for all of a set, and for as many of a
            generator's as there are real ones, at most 5,000.
        real_samples: real images that are compared; 0 for all.
        seeds: sets of latents that a generator draws from.
        networks: name → features besides pixels, random convolutions and the classifier.
        image_size: height and width that all images are cropped and resized to; 0 for those that
            they have.
        array: name of the array of images in an `.npz`; empty for the one that there is.
        floats: range of pixels that are floats.
        split: of IDX files, train or test.
        step: which checkpoint of a run; None for the newest good one.
        accuracy_score: whether a classifier of generated images is tested on the real ones.
        path_length: whether the path length of a generator is measured.
        sampler: fields of a flow model's sampler, with their new values; see `with_sampler`.
        cache: whether decoded images and classifiers are kept in the cache folder.
    """

    samples: int = 0
    real_samples: int = 0
    seeds: int = 3
    networks: tuple[tuple[str, FeatureExtractor], ...] = ()
    image_size: int = 0
    array: str = ""
    floats: Floats = "auto"
    split: str = "train"
    step: int | None = None
    accuracy_score: bool = False
    path_length: bool = False
    sampler: tuple[tuple[str, Any], ...] = ()
    cache: bool = True

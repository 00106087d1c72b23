"""Compare any generated images with any real ones, as `l1jax.evaluate` does."""

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from l1jax.cli.flag_errors import rename_flags
from l1jax.config import InputError
from l1jax.evaluation.comparison import JsonObject
from l1jax.evaluation.features import FeatureExtractor
from l1jax.image_evaluation.inputs import side_inputs
from l1jax.image_evaluation.real_images import MIN_IMAGES
from l1jax.image_evaluation.recognise import recognise
from l1jax.image_evaluation.request import Request
from l1jax.image_evaluation.sets import compare_sides
from l1jax.image_evaluation.sides import open_side

ARGUMENTS = {
    "--real": "real",
    "--generated": "generated",
    "--image-size": "image_size",
    "--floats": "floats",
    "--array": "array",
    "--split": "split",
    "--samples": "samples",
    "--real-samples": "real_samples",
    "--step": "step",
}
NO_NETWORKS: Mapping[str, FeatureExtractor] = MappingProxyType({})


def compare(
    real: str | os.PathLike[str],
    generated: str | os.PathLike[str],
    *,
    networks: Mapping[str, FeatureExtractor] = NO_NETWORKS,
    **options: Any,
) -> JsonObject:
    """Compare generated images with real ones.

    Args:
        real: a folder or an archive of images, `.npz`, `.npy`, IDX files, the name of a set that
            TFDS has prepared, a run for the images that it was trained on, or a file of statistics.
        generated: the same, or a run or an exported model that draws them.
        networks: name → features, such as `{"inception": inception_features(path)}`. Pixels,
            random convolutions and, where the real images have labels, a classifier are always
            there.
        options: fields of `Request`, such as `samples=1_000` or `image_size=64`.

    Returns:
        What `evaluation.json` holds: `features`, whose every entry has the scores on one kind of
        features with `mean`, `deviation` and `each`, the `protocol`, and `remarks`.

    Raises:
        InputError: if images cannot be read or compared.
        TypeError: if there is no such option.
    """
    request = Request(networks=tuple(networks.items()), **options)
    for name in ("samples", "real_samples"):
        count = getattr(request, name)
        if count and count < MIN_IMAGES:
            raise InputError(f"`{name}` (={count}) must be at least {MIN_IMAGES}, or 0 for all.")
    try:
        real_side = open_side(recognise("--real", os.fspath(real)), request, _ignore)
        place = recognise("--generated", os.fspath(generated))
        generated_side = open_side(place, request, _ignore)
        result = compare_sides(real_side, generated_side, request)
    except InputError as error:
        raise InputError(rename_flags(str(error), ARGUMENTS)) from error
    result["protocol"]["inputs"] = side_inputs(real_side, generated_side)
    return result


def _ignore(sentence: str) -> None:
    """Pass over a sentence for the terminal."""


__all__ = ["Request", "compare"]

"""Statistics of a side, and the comparison of sides that are known by their statistics alone."""

import dataclasses
from collections.abc import Mapping

from l1jax.config import InputError
from l1jax.evaluation.comparison import JsonObject, choose_extractors
from l1jax.evaluation.pictures import ImageSet, as_image_set
from l1jax.evaluation.statistics_comparison import (
    compare_statistics,
    fitting_extractors,
    statistics_of,
)
from l1jax.evaluation.statistics_files import Statistics
from l1jax.image_evaluation.preparation import Prepared, prepare
from l1jax.image_evaluation.request import Request
from l1jax.image_evaluation.sides import Side
from l1jax.terminal import Say


def compare_by_statistics(
    real: Side, generated: Side, prepared: Prepared, networks: Mapping
) -> JsonObject:
    """Compare two sides of which one is known by its statistics alone.

    Args:
        real: the real side.
        generated: the generated side.
        prepared: their images, as far as there are any.
        networks: name → features besides those of pixels and random convolutions.

    Returns:
        Name of the features → their distance.
    """
    extractors = choose_extractors(prepared.shape, None, networks)
    origin = f"`{real.place.flag}` and `{generated.place.flag}`"

    def of_images(images: ImageSet, other: Side) -> dict[str, Statistics]:
        assert other.statistics is not None
        where = f"`{other.place.flag}` (={other.place.value})"
        return statistics_of(
            fitting_extractors(other.statistics, extractors, where), images, lambda _: None
        )

    if real.statistics is not None and generated.statistics is not None:
        return compare_statistics(real.statistics, [generated.statistics], origin)
    if real.statistics is not None:
        assert prepared.generated is not None
        of_seeds = (
            of_images(as_image_set(of_seed.images), real) for of_seed in prepared.generated()
        )
        return compare_statistics(real.statistics, of_seeds, origin)
    assert prepared.real is not None
    assert generated.statistics is not None
    of_real = of_images(prepared.real, generated)
    return compare_statistics(of_real, [generated.statistics], origin)


def side_statistics(side: Side, request: Request, say: Say) -> dict[str, Statistics]:
    """Compute the statistics of one side alone; of a generator, of the images of the seed 0.

    Args:
        side: images or a generator.
        request: how they are read.
        say: prints a sentence about what is left out.

    Raises:
        InputError: if the side is a file of statistics, or its images have several sizes and there
            are no features that resize them.
    """
    if side.statistics is not None:
        raise InputError(
            f"`{side.place.flag}` (={side.place.value}) is a file of statistics already: copy it."
        )
    one_seed = dataclasses.replace(request, seeds=1)
    prepared = prepare(side, side, one_seed)
    for remark in prepared.remarks:
        say(remark)
    images = prepared.real
    if side.loaded is not None and prepared.generated is not None:
        (drawn,) = prepared.generated()
        images = as_image_set(drawn.images)
    assert images is not None
    extractors = choose_extractors(prepared.shape, None, dict(request.networks))
    if not extractors:
        raise InputError(
            f"`{side.place.flag}` (={side.place.value}) holds images of several sizes: give "
            "--image-size to crop and resize all of them, or --inception."
        )
    return statistics_of(extractors, images, say)

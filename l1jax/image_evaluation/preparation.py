"""Bring two sides of a comparison to one shape."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from l1jax.evaluation.comparison import SeedImages
from l1jax.evaluation.pictures import ImageSet, as_image_set
from l1jax.image_evaluation.drawing import draw_for_seeds
from l1jax.image_evaluation.matching_classes import classes_of_set, draws_classes_of
from l1jax.image_evaluation.real_images import MAX_IMAGES
from l1jax.image_evaluation.request import Request
from l1jax.image_evaluation.shapes import Shape, as_set, common_shape
from l1jax.image_evaluation.sides import Side


class Prepared(NamedTuple):
    """Both sides, opened and brought to one shape.

    real: its images; None if only their statistics are known.
    generated: the images of each seed; None likewise.
    num_generated: number of images per seed.
    shape: in which they are compared.
    remarks: sentences about what was done to them.
    """

    real: ImageSet | None
    generated: Callable[[], Iterator[SeedImages]] | None
    num_generated: int
    shape: Shape | None
    remarks: list[str]


def prepare(real: Side, generated: Side, request: Request) -> Prepared:
    """Bring both sides to one shape, and say how the generated images of each seed are had.

    Args:
        real: the real side.
        generated: the generated side.
        request: how many are drawn, and the size.
    """
    remarks: list[str] = []
    for side in (real, generated):
        if side.opened is not None:
            remarks += side.opened.remarks
    sized = [side.sized for side in (real, generated)]
    image_size = request.image_size
    if generated.loaded is not None:
        image_size = image_size or generated.loaded.generator.image_shape[0]
    shape, of_shape = common_shape([one for one in sized if one is not None], image_size)
    remarks += of_shape
    only_common = bool(image_size)
    real_set = None
    if real.opened is not None:
        real_set = as_set(real.opened.pictures, shape, only_common=only_common)
    if generated.opened is not None:
        own = as_set(generated.opened.pictures, shape, only_common=only_common)
        count = len(own.own)
        labels = None
        if real.opened is not None:
            labels = classes_of_set(real.opened.source, generated.opened.source, remarks.append)
        if labels is not None:
            labels = labels[generated.opened.index]
        drawn = SeedImages(0, own, labels)
        return Prepared(real_set, lambda: iter([drawn]), count, shape, remarks)
    loaded = generated.loaded
    if loaded is None:
        return Prepared(real_set, None, 0, shape, remarks)
    count = request.samples
    if not count:
        count = MAX_IMAGES if real_set is None else min(len(real_set.own), MAX_IMAGES)

    has_same_classes = draws_classes_of(real, generated)

    def draw() -> Iterator[SeedImages]:
        for of_seed in draw_for_seeds(loaded, request.seeds, count):
            drawn = as_set(as_image_set(of_seed.images).own, shape, only_common=True)
            labels = of_seed.labels if has_same_classes else None
            yield of_seed._replace(images=drawn, labels=labels)

    return Prepared(real_set, draw, count, shape, remarks)

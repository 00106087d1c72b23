"""The one shape in which two sets of images are compared, and images in that shape."""

from typing import NamedTuple

import numpy as np

from l1jax.data.preprocessing import preprocess
from l1jax.data.source import to_pillow
from l1jax.evaluation.pictures import ImageSet, Picture, Pictures, pictures_of

MAX_HELD_BYTES = 2**30  # of resized images that are kept in memory
Shape = tuple[int, int, int]


class CommonShape(NamedTuple):
    """The shape that images of two sets are brought to.

    shape: height, width and channels; None if there is none.
    remarks: sentences about what that does to the images.
    """

    shape: Shape | None
    remarks: list[str]


class Sized(NamedTuple):
    """The images of one set, or the shape of those that a generator draws.

    name: of the set, for sentences.
    shape: of all its images; None if they have several.
    channels: of its images.
    """

    name: str
    shape: Shape | None
    channels: int


def common_shape(sets: list[Sized], image_size: int) -> CommonShape:
    """Choose the shape in which sets are compared.

    It is the square of `image_size` if that is given; the size that all images have; or that of
    the last set whose images are squares of one size, to which the other's are cropped and resized.

    Args:
        sets: the real images and the generated ones, one of them, or none.
        image_size: height and width, or 0.
    """
    if not sets:
        return CommonShape(None, [])
    channels = max(one.channels for one in sets)
    sizes = [None if one.shape is None else one.shape[:2] for one in sets]
    if image_size:
        return CommonShape((image_size, image_size, channels), [])
    if sizes[0] is not None and all(size == sizes[0] for size in sizes):
        height, width = sizes[0]
        return CommonShape((height, width, channels), [])
    for size in reversed(sizes):
        if size is not None and size[0] == size[1]:
            side = size[0]
            names = [one.name for one, own in zip(sets, sizes, strict=True) if own != size]
            remark = (
                f"for pixels, random convolutions and a classifier the {' and the '.join(names)} "
                f"images are cropped to squares and resized to {side}×{side} pixels; --image-size "
                "chooses another size, for all features."
            )
            return CommonShape((side, side, channels), [remark])
    return CommonShape(
        None,
        [
            "pixels and random convolutions are left out, because the images have several sizes: "
            "give --image-size to crop and resize all of them."
        ],
    )


def as_set(pictures: Pictures, shape: Shape | None, *, only_common: bool) -> ImageSet:
    """Return images in their own sizes and in a common one.

    Args:
        pictures: the images.
        shape: the common one; None if there is none.
        only_common: whether features that resize images themselves take the common form, too.
    """
    if shape is None:
        return ImageSet(None, pictures)
    common = in_shape(pictures, shape)
    return ImageSet(common, common if only_common else pictures)


def in_shape(pictures: Pictures, shape: Shape) -> Pictures:
    """Crop images to the largest square and resize them, as training does; keep those that fit."""
    if pictures.shape == shape:
        return pictures
    side, _, channels = shape

    def read(i: int) -> Picture:
        pixels = pictures.read(i)
        if pixels.shape[:2] == shape[:2]:
            return np.broadcast_to(pixels, shape)
        return preprocess(to_pillow(np.ascontiguousarray(pixels)), side, channels)

    count = len(pictures)
    resized = Pictures(np.broadcast_to(np.array(shape), (count, 3)), read)
    if count * side * side * channels <= MAX_HELD_BYTES:
        return pictures_of(resized.take(range(count)))
    return resized

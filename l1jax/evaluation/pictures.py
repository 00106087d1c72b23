"""Images of any number and of any sizes, which are decoded only when they are needed."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Int, Shaped, UInt8

from l1jax.config import InputError
from l1jax.evaluation.features import Extracted, FeatureExtractor, extract_all, extract_one_by_one
from l1jax.processes.agreement import divide_rows

BLOCK = 256  # images that are decoded at once, and that one of several processes takes at least

Picture: TypeAlias = UInt8[np.ndarray, "height width channels"]
Images: TypeAlias = Shaped[np.ndarray, "count height width channels"]


@dataclass(frozen=True)
class Pictures:
    """Images by index.

    Attributes:
        shapes: height, width and channels of each; all have the same channels.
        read: index → the image.
        array: all images, if they are in memory and of one shape; else None.
    """

    shapes: Int[np.ndarray, "count 3"]
    read: Callable[[int], Picture]
    array: Images | None = None

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.shapes)

    @property
    def shape(self) -> tuple[int, int, int] | None:
        """The shape of every image; None if they have several."""
        if not len(self.shapes) or (self.shapes != self.shapes[0]).any():
            return None
        height, width, channels = self.shapes[0].tolist()
        return height, width, channels

    def take(self, index: Sequence[int] | Int[np.ndarray, " n"] | range) -> Images:
        """Return images of one shape at these indices."""
        if self.array is not None:
            return self.array[np.asarray(index)]
        return np.stack([self.read(int(i)) for i in index])

    def blocks(self, start: int = 0, stop: int | None = None) -> Iterator[Images]:
        """Yield the images from `start` to before `stop`, in blocks of one shape."""
        stop = len(self) if stop is None else stop
        for first in range(start, stop, BLOCK):
            yield self.take(range(first, min(first + BLOCK, stop)))


class ImageSet(NamedTuple):
    """One set of images in the forms in which features are taken of them.

    common: in the shape in which both sets are compared; None if there is no such shape.
    own: each image in its own size, for features that bring all images to one.
    """

    common: Pictures | None
    own: Pictures

    def of(self, features: FeatureExtractor) -> Pictures:
        """Return the images in the form that an extractor takes.

        Raises:
            InputError: if it needs images of one shape, and there are none.
        """
        if features.prepare is not None:
            return self.own
        if self.common is None:
            raise InputError(
                f"The features {features.protocol!r} need images of one size, and these have "
                "several."
            )
        return self.common


def pictures_of(images: Images) -> Pictures:
    """Return images that are in memory as pictures."""
    shapes = np.broadcast_to(np.array(images.shape[1:]), (len(images), 3))
    return Pictures(shapes, lambda i: images[i], images)


def as_image_set(images: Images | ImageSet) -> ImageSet:
    """Return images of one shape as a set; a set is returned as it is."""
    if isinstance(images, ImageSet):
        return images
    pictures = pictures_of(images)
    return ImageSet(pictures, pictures)


def extract_set(features: FeatureExtractor, images: ImageSet) -> Extracted:
    """Extract the features of a set, each process those of its share of the images.

    Args:
        features: the extractor.
        images: the set, the same in all processes.

    Raises:
        ValueError: as `extract_all`.
        InputError: if an image cannot be read, or the set has no common shape and needs one.
    """
    pictures = images.of(features)

    def extract(start: int, stop: int) -> list[np.ndarray]:
        if pictures.array is not None:
            extracted = extract_all(features, pictures.array[start:stop])
        elif pictures.shape is not None:
            extracted = extract_all(features, pictures.blocks(start, stop))
        else:
            extracted = extract_one_by_one(features, map(pictures.read, range(start, stop)))
        return [np.asarray(rows) for rows in extracted if rows is not None]

    return Extracted(*divide_rows(len(pictures), BLOCK, extract))

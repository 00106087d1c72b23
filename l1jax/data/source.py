"""What a data set is to everything else: examples by index, and what identifies them."""

import hashlib
import json
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int, Int32, Shaped, UInt8
from PIL import Image

from l1jax import config
from l1jax.config import InputError
from l1jax.data.faults import unusable
from l1jax.data.images import PIXELS, preprocess, reason

THREADS = 8  # that read and decode at a time; decoding releases the GIL
Pixels = UInt8[np.ndarray, "height width channels"]


class Source(NamedTuple):
    """Real images by index."""

    length: int
    image_shape: tuple[int, int, int]
    """Height, width, channels."""
    example: Callable[[int], Pixels | Float32[np.ndarray, "1 1 2"]]
    """The image at 0 ≤ index < length, as values from 0 to 255, or a point; thread safe."""
    fingerprint: str
    """SHA-256 in hexadecimal over what identifies the examples and their preprocessing."""
    labels: Int32[np.ndarray, " length"] | None = None
    """Class of each example, from 0 on; None where the source has none."""
    dtype: type = np.uint8
    """Of the examples: uint8, or float32 for points."""
    content: Callable[[int], bytes] | None = None
    """What an example is before its preprocessing, such as an encoded image; None where that is `example`."""
    gather: (
        Callable[[Int[np.ndarray, " n"]], Shaped[np.ndarray, "n height width channels"]] | None
    ) = None
    """Many examples at once, where there is a faster way than one by one."""
    stamp: str | None = None
    """Where examples are decoded: changes, unlike the fingerprint, with each write to them; None elsewhere."""
    reopen: Callable[[], "Source"] | None = None
    """Opens the same source in another process; it can be pickled."""
    skipped: tuple[str, ...] = ()
    """Sentences on what was left out because it could not be used."""
    classes: tuple[str, ...] = ()
    """The classes' names in the order of the labels; empty where they have none."""
    question: str = ""
    """What must be settled before anything is trained, where it is not clear what the labels are."""


def take(
    source: Source, index: Int[np.ndarray, " n"]
) -> Shaped[np.ndarray, "n height width channels"]:
    """The examples at these indices."""
    if source.gather is not None:
        return source.gather(index)
    found = np.empty((len(index), *source.image_shape), source.dtype)
    for row, i in zip(found, index.tolist(), strict=True):
        row[...] = source.example(i)
    return found


def subset(source: Source, index: Int[np.ndarray, " n"]) -> Source:
    """The examples at these indices, in this order, as a source of its own.

    Its fingerprint is the source's own if nothing is left out.
    """
    if np.array_equal(index, np.arange(source.length)):
        return source
    gather, content, reopen = source.gather, source.content, source.reopen
    return source._replace(
        length=len(index),
        example=lambda i: source.example(int(index[i])),
        fingerprint=fingerprint("subset", source.fingerprint, digest(np.asarray(index, np.int64))),
        labels=None if source.labels is None else source.labels[index],
        content=content and (lambda i: content(int(index[i]))),
        gather=gather and (lambda chosen: gather(index[chosen])),
        reopen=reopen and partial(_reopen_subset, reopen, index),
    )


def _reopen_subset(reopen: Callable[[], Source], index: Int[np.ndarray, " n"]) -> Source:
    return subset(reopen(), index)


def fingerprint(*identity: Any) -> str:
    """SHA-256 in hexadecimal over JSON values."""
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()


def digest(*arrays: np.ndarray) -> str:
    """SHA-256 in hexadecimal over arrays' values, but not their shapes."""
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(np.ascontiguousarray(array).data)
    return sha.hexdigest()


def of_arrays(
    images: UInt8[np.ndarray, "n ..."],
    labels: Int32[np.ndarray, " n"] | None,
    side: int,
    channels: int,
    identity: str,
) -> Source:
    """Images that are there as pixels, cropped to the largest square, converted and resized where they must be."""
    shape = (side, side, channels)
    as_they_are = images.reshape(len(images), *images.shape[1:3], -1).shape[1:] == shape

    def example(i: int) -> Pixels:
        image = np.asarray(images[i])
        if as_they_are:
            return np.array(image).reshape(shape)
        return preprocess(
            Image.fromarray(image[..., 0] if image.shape[2:] == (1,) else image), side, channels
        )

    def gather(index: Int[np.ndarray, " n"]) -> UInt8[np.ndarray, "n height width channels"]:
        return np.asarray(images[index]).reshape(len(index), *shape)

    return Source(
        len(images),
        shape,
        example,
        identity,
        labels,
        content=lambda i: np.asarray(images[i]).tobytes(),
        gather=gather if as_they_are else None,
    )


def of_images(
    data: config.ImageData | config.TfdsData,
    origin: str,
    length: int,
    read: Callable[[int], Any],
    decode: Callable[[Any, str], Image.Image],
    name_of: Callable[[int], str],
    identity: list[Any],
) -> Source:
    """Images that must be decoded; whatever goes wrong with one of them is a sentence with its name.

    Args:
        data: how they are preprocessed.
        origin: the field that they come from, with its value.
        length: how many there are.
        read: the encoded image, or the array, at an index.
        decode: makes a Pillow image of that and of the example's name.
        name_of: what a message calls an example.
        identity: what the fingerprint is made of besides the preprocessing.
    """

    def checked(i: int, use: Callable[[Any], Any]) -> Any:
        try:
            return use(read(i))
        except (InputError, MemoryError):
            raise
        except Exception as error:  # whatever damaged bytes lead Pillow, an archive or TFDS to
            raise unusable(origin, name_of(i), reason(error)) from error

    def example(i: int) -> Pixels:
        name = name_of(i)
        return checked(i, lambda encoded: preprocess(decode(encoded, name), *arguments, name))

    def content(i: int) -> bytes:
        return checked(
            i,
            lambda encoded: (
                encoded if isinstance(encoded, bytes) else np.asarray(encoded).tobytes()
            ),
        )

    if data.most_pixels > PIXELS and Image.MAX_IMAGE_PIXELS is not None:
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, data.most_pixels)
    arguments = (data.image_size, data.channels, data.crop)
    shape = (data.image_size, data.image_size, data.channels)
    return Source(length, shape, example, fingerprint(identity, *arguments), content=content)

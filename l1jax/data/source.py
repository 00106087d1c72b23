"""What a data set is to everything else: examples by index, and what identifies them."""

import hashlib
import json
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float32, Int, Int32, Shaped, UInt8
from PIL import Image

from l1jax import config
from l1jax.config import InputError
from l1jax.data.decoding import MAX_PIXELS
from l1jax.data.preprocessing import preprocess
from l1jax.data.skipped_files import first_line, unusable_file_error

THREADS = 8  # that read and decode at a time; decoding releases the GIL
Pixels = UInt8[np.ndarray, "height width channels"]
Encoded = TypeVar("Encoded")
Result = TypeVar("Result")


class Source(NamedTuple):
    """Real images, or points, by index."""

    length: int
    """Number of examples."""
    image_shape: tuple[int, int, int]
    """Height, width, channels."""
    example: Callable[[int], Pixels | Float32[np.ndarray, "1 1 2"]]
    """(0 ≤ index < length) → the image with values from 0 to 255, or the point. Thread safe."""
    fingerprint: str
    """SHA-256 in hexadecimal over what identifies the examples and their preprocessing."""
    labels: Int32[np.ndarray, " length"] | None = None
    """Class of each example, from 0 on; None if the source has none."""
    dtype: type = np.uint8
    """Type of the examples: uint8 for images, float32 for points."""
    content: Callable[[int], bytes] | None = None
    """(index) → the example before its preprocessing, such as an encoded image.

    None if that is `example` itself."""
    gather: (
        Callable[[Int[np.ndarray, " n"]], Shaped[np.ndarray, "n height width channels"]] | None
    ) = None
    """(indices) → these examples; None if there is no faster way than one by one."""
    stamp: str | None = None
    """Changes, unlike the fingerprint, with each write to the files.

    None if the examples need no decoding."""
    reopen: Callable[[], "Source"] | None = None
    """() → the same source, opened in another process. Can be pickled."""
    skipped: tuple[str, ...] = ()
    """Sentences about what was left out because it could not be used."""
    classes: tuple[str, ...] = ()
    """The classes' names in the order of the labels; empty if they have none."""
    groups: tuple[str, ...] = ()
    """What each example belongs to, such as its speaker: a split keeps a group on one side.

    Empty if every example stands for itself."""
    picture: Callable[[int], Image.Image] | None = None
    """(index) → the image before its preprocessing, in its own size and mode.

    None if that is `example` itself, or the examples are no images."""
    label_ambiguity: str = ""
    """What the user must settle before training, if it is not clear what the labels are."""


def take(
    source: Source, index: Int[np.ndarray, " n"]
) -> Shaped[np.ndarray, "n height width channels"]:
    """Return the examples at these indices."""
    if source.gather is not None:
        return source.gather(index)
    examples = np.empty((len(index), *source.image_shape), source.dtype)
    for row, i in zip(examples, index.tolist(), strict=True):
        row[...] = source.example(i)
    return examples


def subset(source: Source, index: Int[np.ndarray, " n"]) -> Source:
    """Make a source of the examples at these indices, in this order.

    Its fingerprint is that of `source` if nothing is left out.
    """
    if np.array_equal(index, np.arange(source.length)):
        return source
    gather = source.gather
    content = source.content
    picture = source.picture
    reopen = source.reopen
    index_hash = hash_arrays(np.asarray(index, np.int64))
    return source._replace(
        length=len(index),
        example=lambda i: source.example(int(index[i])),
        fingerprint=fingerprint("subset", source.fingerprint, index_hash),
        labels=None if source.labels is None else source.labels[index],
        groups=tuple(source.groups[i] for i in index.tolist() if source.groups),
        content=content and (lambda i: content(int(index[i]))),
        picture=picture and (lambda i: picture(int(index[i]))),
        gather=gather and (lambda chosen: gather(index[chosen])),
        reopen=reopen and partial(_reopen_subset, reopen, index),
    )


def _reopen_subset(reopen: Callable[[], Source], index: Int[np.ndarray, " n"]) -> Source:
    return subset(reopen(), index)


def fingerprint(*identity: object) -> str:
    """Return the SHA-256 of JSON values in hexadecimal."""
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()


def hash_arrays(*arrays: np.ndarray) -> str:
    """Return the SHA-256 of arrays' values, but not of their shapes, in hexadecimal."""
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(np.ascontiguousarray(array).data)
    return sha.hexdigest()


def source_from_arrays(
    images: UInt8[np.ndarray, "n ..."],
    labels: Int32[np.ndarray, " n"] | None,
    side: int,
    channels: int,
    identity: str,
) -> Source:
    """Make a source of images that are held as pixels.

    Images of another size or number of channels are cropped to the largest square, converted and
    resized.

    Args:
        images: the pixels, [n, height, width] or [n, height, width, channels].
        labels: class of each image, or None.
        side: height and width of the examples in pixels.
        channels: 1 for grey, 3 for RGB.
        identity: the source's fingerprint.
    """
    shape = (side, side, channels)
    unchanged = images.reshape(len(images), *images.shape[1:3], -1).shape[1:] == shape

    def example(i: int) -> Pixels:
        image = np.asarray(images[i])
        if unchanged:
            return np.array(image).reshape(shape)
        return preprocess(to_pillow(image), side, channels)

    def gather(index: Int[np.ndarray, " n"]) -> UInt8[np.ndarray, "n height width channels"]:
        return np.asarray(images[index]).reshape(len(index), *shape)

    return Source(
        length=len(images),
        image_shape=shape,
        example=example,
        fingerprint=identity,
        labels=labels,
        content=lambda i: np.asarray(images[i]).tobytes(),
        picture=lambda i: to_pillow(np.asarray(images[i])),
        gather=gather if unchanged else None,
    )


def to_pillow(image: Shaped[np.ndarray, "height width *channels"]) -> Image.Image:
    """Turn pixels into a Pillow image, which has no axis for one channel."""
    if image.shape[2:] == (1,):
        image = image[..., 0]
    return Image.fromarray(image)


def source_from_encoded(
    data: config.ImageData | config.TfdsData,
    origin: str,
    length: int,
    read: Callable[[int], Encoded],
    decode: Callable[[Encoded, str], Image.Image],
    name_of: Callable[[int], str],
    identity: list[object],
) -> Source:
    """Make a source of images that must be decoded.

    Whatever goes wrong with one of them becomes an InputError that names it.

    Args:
        data: how the images are preprocessed.
        origin: the field that they come from, with its value.
        length: number of images.
        read: (index) → the encoded image, or an array of pixels.
        decode: (what `read` returns, the example's name) → Pillow image.
        name_of: (index) → what a message calls the example.
        identity: what the fingerprint is made of besides the preprocessing.
    """

    def checked(i: int, use: Callable[[Encoded], Result]) -> Result:
        try:
            return use(read(i))
        except (InputError, MemoryError):
            raise
        except Exception as error:  # damaged bytes lead Pillow, archives and TFDS to any error
            raise unusable_file_error(origin, name_of(i), first_line(error)) from error

    def example(i: int) -> Pixels:
        name = name_of(i)
        return checked(i, lambda encoded: preprocess(decode(encoded, name), *arguments, name))

    def content(i: int) -> bytes:
        return checked(i, _as_bytes)

    def picture(i: int) -> Image.Image:
        return checked(i, lambda encoded: decode(encoded, name_of(i)))

    if data.most_pixels > MAX_PIXELS and Image.MAX_IMAGE_PIXELS is not None:
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, data.most_pixels)
    arguments = (data.image_size, data.channels, data.crop)
    return Source(
        length=length,
        image_shape=(data.image_size, data.image_size, data.channels),
        example=example,
        fingerprint=fingerprint(identity, *arguments),
        content=content,
        picture=picture,
    )


def _as_bytes(encoded: object) -> bytes:
    if isinstance(encoded, bytes):
        return encoded
    return np.asarray(encoded).tobytes()

"""Real images by index: the digits, a folder or an archive, a TFDS set.

A source decodes one example at a time and keeps no decoded image; batches, order and randomness are
made from it elsewhere. Opening lists the examples; pixels are decoded, and damaged images found, when
they are asked for.
"""

import contextlib
import hashlib
import json
import posixpath
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
from jaxtyping import Float32, Int32, UInt8
from PIL import Image

from l1jax import config
from l1jax.config import InputError
from l1jax.data.archives import Files, open_files
from l1jax.data.idx import read_labelled
from l1jax.data.images import decode, preprocess, reason
from l1jax.data.mixtures import MIXTURES, draw

_FOLDER = "use a folder: --data image --data.path FOLDER"


class Source(NamedTuple):
    """Real images by index."""

    length: int
    image_shape: tuple[int, int, int]
    """Height, width, channels."""
    example: Callable[[int], UInt8[np.ndarray, "height width channels"] | Float32[np.ndarray, "1 1 2"]]
    """The image at 0 ≤ index < length, as values from 0 to 255, or a point; thread safe."""
    fingerprint: str
    """SHA-256 in hexadecimal over what identifies the examples and their preprocessing."""
    labels: Int32[np.ndarray, " length"] | None = None
    """Class of each example, from 0 on; None where the source has none."""
    dtype: type = np.uint8
    """Of the examples: uint8, or float32 for points."""


def open_source(data: config.Data) -> Source:
    """Open the real images that a configuration names.

    The same images give the same order and the same fingerprint wherever they lie: a folder, its tar
    and its zip are one data set.

    Raises:
        InputError: if they cannot be opened; `Source.example` raises it for an image that cannot be used.
    """
    match data:
        case config.DigitsData():
            return _open_digits(data)
        case config.ImageData():
            return _open_images(data)
        case config.IdxData():
            return _open_idx(data)
        case config.StackedData():
            return _open_stacked(data)
        case config.MixtureData():
            return _open_mixture(data)
        case config.TfdsData():
            return _open_tfds(data)


def _open_digits(data: config.DigitsData) -> Source:
    from sklearn.datasets import load_digits  # half a second that the other sources do not need

    digits = cast(Any, load_digits())
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    size = (data.image_size, data.image_size)

    def example(i: int) -> UInt8[np.ndarray, "height width channels"]:
        image = Image.fromarray(pixels[i])
        if image.size != size:
            image = image.resize(size, Image.Resampling.BICUBIC)
        return np.array(image)[..., None]

    content = hashlib.sha256(pixels.tobytes()).hexdigest()
    fingerprint = _fingerprint("digits", content, data.image_size)
    return Source(len(pixels), (*size, 1), example, fingerprint, digits.target.astype(np.int32))


def _open_idx(data: config.IdxData) -> Source:
    images, labels = read_labelled(data.path, data.split)
    example = _resized(images, data.image_size)
    fingerprint = _fingerprint("idx", _digest(images, labels), data.image_size)
    return Source(len(images), (data.image_size, data.image_size, 1), example, fingerprint, labels.astype(np.int32))


def _open_stacked(data: config.StackedData) -> Source:
    """Label 100·a + 10·b + c for the digits a, b, c in the three channels."""
    images, labels = read_labelled(data.path, data.split)
    if labels.max() > 9:
        raise InputError(f"`data.path` (={data.path!r}) must hold the ten digits, and has a label {labels.max()}.")
    chosen = np.random.Generator(np.random.Philox(key=data.draw_seed)).integers(len(images), size=(data.count, 3))
    digit = _resized(images, data.image_size)

    def example(i: int) -> UInt8[np.ndarray, "height width channels"]:
        return np.concatenate([digit(int(j)) for j in chosen[i]], axis=-1)

    fingerprint = _fingerprint("stacked", _digest(images, labels), data.image_size, data.count, data.draw_seed)
    classes = labels[chosen].astype(np.int32) @ np.array([100, 10, 1], np.int32)
    return Source(data.count, (data.image_size, data.image_size, 3), example, fingerprint, classes)


def _open_mixture(data: config.MixtureData) -> Source:
    """A point is an image of one pixel with two channels, its coordinates."""
    points, modes = draw(MIXTURES[data.shape](), data.count, data.draw_seed)
    points = points.reshape(-1, 1, 1, 2)
    fingerprint = _fingerprint("mixture", data.shape, data.count, data.draw_seed)
    return Source(data.count, (1, 1, 2), points.__getitem__, fingerprint, modes, np.float32)


def _resized(
    images: UInt8[np.ndarray, "n height width"], image_size: int
) -> Callable[[int], UInt8[np.ndarray, "height width 1"]]:
    return lambda i: preprocess(Image.fromarray(images[i]), image_size, 1)


def _digest(*arrays: np.ndarray) -> str:
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()


def _open_images(data: config.ImageData) -> Source:
    """Its fingerprint: names below the folder that all share, sizes in bytes, some contents, the preprocessing.

    So it is the same whether an archive was packed from within a folder or from above it; the order
    is the same in any case. Times and the path do not count.
    """
    files = open_files(data.path)
    if data.subfolder:
        files = _below(files, data)

    def read(i: int) -> Image.Image:
        return decode(files.read(files.names[i]))

    names = _from_shared_folder(files.names)
    identity = [*zip(names, files.sizes, strict=True), _some_contents(files)]
    origin = f"`data.path` (={data.path!r})"
    source = _preprocessed(data, origin, len(names), read, files.names.__getitem__, identity)
    return source._replace(labels=_folder_labels(names))


def _from_shared_folder(names: Sequence[str]) -> list[str]:
    """The names below the deepest folder that all of them are in."""
    shared = posixpath.commonpath([posixpath.dirname(name) for name in names])
    return [name.removeprefix(f"{shared}/") for name in names]


def _below(files: Files, data: config.ImageData) -> Files:
    folder = data.subfolder.strip("/") + "/"
    kept = [i for i, name in enumerate(_from_shared_folder(files.names)) if name.startswith(folder)]
    if not kept:
        found = sorted({name.split("/")[0] for name in _from_shared_folder(files.names) if "/" in name})
        raise InputError(
            f"`data.subfolder` (={data.subfolder!r}) must be a folder with images in `data.path` (={data.path!r}), "
            f"which has {', '.join(found[:8]) or 'none'}; correct it, or leave it empty for all images."
        )
    return Files(tuple(files.names[i] for i in kept), tuple(files.sizes[i] for i in kept), files.read)


def _folder_labels(names: Sequence[str]) -> Int32[np.ndarray, " length"] | None:
    """The first folder of each name as its class, in the order of the folders' names; None if one has no folder."""
    folders = [name.split("/")[0] for name in names if "/" in name]
    if len(folders) < len(names):
        return None
    return np.unique(folders, return_inverse=True)[1].astype(np.int32)


def _some_contents(files: Files, most: int = 64) -> str:
    """A SHA-256 over the bytes of evenly spaced files; all of a large set would take too long to read."""
    sha = hashlib.sha256()
    for name in files.names[:: -(-len(files.names) // most)]:
        with contextlib.suppress(Exception):  # what cannot be read is told when it is asked for
            sha.update(hashlib.sha256(files.read(name)).digest())
    return sha.hexdigest()


def _open_tfds(data: config.TfdsData) -> Source:
    if not data.name:
        raise InputError("`data.name` is empty: give --data.name NAME, such as celeb_a, a set that TFDS has prepared.")
    origin = f"`data.name` (={data.name!r})"
    import tensorflow_datasets  # a third of a second that the other sources do not need

    tfds: Any = tensorflow_datasets  # its modules are lazy, and no type checker sees through them
    builder = _prepared_builder(tfds, data, origin)
    count = _count(builder, data.split)
    feature: Any = dict(builder.info.features or {}).get("image")
    encoded = isinstance(feature, tfds.features.Image)
    if not (encoded or isinstance(feature, tfds.features.Tensor)) or feature.np_dtype not in (np.uint8, np.uint16):
        raise InputError(
            f"{origin} must have a feature `image` of 8 or 16 bits, and its features are "
            f"{', '.join(builder.info.features or ())}; choose another set, or {_FOLDER}."
        )
    # TFDS would decode with whichever of OpenCV and Pillow is installed, which do not agree to the bit.
    decoders = {"image": tfds.decode.SkipDecoding()} if encoded else None
    try:
        records = builder.as_data_source(split=data.split, decoders=decoders)
    except NotImplementedError as error:
        raise InputError(
            f"{origin} is prepared as {builder.info.file_format.value} in {str(builder.data_path)!r}, which cannot be "
            f"read by index: in another `data.data_dir`, {_preparation(data)}."
        ) from error

    def read(i: int) -> Image.Image:
        image = records[i]["image"]
        return decode(image) if encoded else Image.fromarray(image[..., 0] if image.shape[2:] == (1,) else image)

    identity = [builder.info.full_name, data.split, count]
    return _preprocessed(data, origin, count, read, lambda i: f"{data.split}, example {i}", identity)


def _prepared_builder(tfds: Any, data: config.TfdsData, origin: str) -> Any:
    try:
        builder = tfds.builder(data.name, data_dir=data.data_dir or None)
    except tfds.core.DatasetNotFoundError as error:
        raise InputError(
            f"{origin} is neither known to TFDS nor among its prepared sets: check the spelling and `data.data_dir` "
            f"(={data.data_dir!r}), or {_FOLDER}."
        ) from error
    except Exception as error:  # a malformed name, an unknown version, a damaged file: each raises its own
        raise InputError(
            f"{origin} cannot be opened by TFDS ({reason(error)}): correct it, or {_preparation(data)}."
        ) from error
    if not builder.is_prepared():
        raise InputError(f"{origin} is not prepared in {str(builder.data_path)!r}: {_preparation(data)}.")
    return builder


def _count(builder: Any, split: str) -> int:
    try:
        count = builder.info.splits[split].num_examples
    except Exception as error:  # a malformed split, an unknown one, one out of range: each raises its own
        raise InputError(
            f"`data.split` (={split!r}) must be one of {', '.join(builder.info.splits)} or a part of one, such as "
            f"train[:10%] ({reason(error)})."
        ) from error
    if count < 1:
        raise InputError(f"`data.split` (={split!r}) must hold at least one example, and holds none.")
    return count


def _preparation(data: config.TfdsData) -> str:
    where = f", data_dir={data.data_dir!r}" if data.data_dir else ""
    return (
        f'prepare it with `tfds.builder({data.name!r}{where}, file_format="array_record").download_and_prepare()` '
        f"(needs `pip install 'l1jax[tfds]'`), or {_FOLDER}"
    )


def _preprocessed(
    data: config.ImageData | config.TfdsData,
    origin: str,
    length: int,
    read: Callable[[int], Image.Image],
    name_of: Callable[[int], str],
    identity: list[Any],
) -> Source:
    def example(i: int) -> UInt8[np.ndarray, "height width channels"]:
        try:
            return preprocess(read(i), data.image_size, data.channels, data.crop, name_of(i))
        except (InputError, MemoryError):
            raise
        except Exception as error:  # whatever damaged bytes lead Pillow, an archive or TFDS to
            raise InputError(
                f"{origin} holds the image {name_of(i)!r}, which cannot be used ({reason(error)}); mend or remove it."
            ) from error

    fingerprint = _fingerprint(identity, data.image_size, data.channels, data.crop)
    return Source(length, (data.image_size, data.image_size, data.channels), example, fingerprint)


def _fingerprint(*identity: Any) -> str:
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()

"""Open a set of images for an evaluation, whatever it is in, each image in its own size."""

import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from l1jax import config
from l1jax.cli.flag_errors import rename_flags, translate_flags
from l1jax.config import InputError
from l1jax.data.batches import shuffled_indices
from l1jax.data.idx_source import read_idx
from l1jax.data.opening import open_examples, open_source
from l1jax.data.preprocessing import to_pixels
from l1jax.data.source import (
    THREADS,
    Source,
    fingerprint,
    hash_arrays,
    source_from_arrays,
    subset,
    to_pillow,
)
from l1jax.evaluation.pictures import Picture, Pictures, pictures_of
from l1jax.image_evaluation.recognise import Place
from l1jax.image_evaluation.request import Request
from l1jax.training.workdir import read_config

MAX_HELD_BYTES = 2**30  # of decoded images that are kept in memory
GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B", "F")
OWN_FLAGS = ("--real", "--generated", "--array", "--floats", "--split", "--image-size")
RENAMES = {
    "data.images": "--array",
    "--data.images": "--array",
    "data.floats": "--floats",
    "--data.floats": "--floats",
}


class OpenedSet(NamedTuple):
    """A set of images that was found at a place."""

    place: Place
    source: Source
    """All of the images, with their labels."""
    pictures: Pictures
    """Those that are compared, each in its own size."""
    index: Int[np.ndarray, " count"]
    """Which of the source's they are."""
    remarks: list[str]

    def describe(self) -> str:
        """Say in one line what it is."""
        shapes = self.pictures.shapes
        count = f"{len(shapes):,}"
        if len(shapes) < self.source.length:
            count += f" of {self.source.length:,}"
        size = "of several sizes"
        if self.pictures.shape is not None:
            size = "×".join(map(str, self.pictures.shape[:2]))
        colours = "grey" if shapes[0, 2] == 1 else "colour"
        return f"{count} images of {self.place.noun}, {size}, {colours}"


def open_set(place: Place, request: Request, limit: int, *, shuffled: bool) -> OpenedSet:
    """Open the images at a place.

    Args:
        place: what is there; no generator and no statistics.
        request: how it is read.
        limit: how many images are taken at random; 0 for all.
        shuffled: whether they are in a random order, or in that of the place.

    Raises:
        InputError: if the images cannot be read; it names the flag of the place.
    """
    remarks = []
    with named_after(place):
        source = _open(place, request)
        if source.label_ambiguity:
            remarks.append(
                f"the images are compared without their classes, which are in doubt: "
                f"{source.label_ambiguity}"
            )
            source = source._replace(labels=None, classes=())
        count = min(limit or source.length, source.length)
        index = shuffled_indices(0, 0, count, source.length)
        if not shuffled:
            index = np.sort(index)
        pictures = read_pictures(subset(source, index))
    return OpenedSet(place, source, pictures, index, remarks)


@contextmanager
def named_after(place: Place) -> Iterator[None]:
    """Make errors about data within the block name the flag that gives the place.

    Raises:
        InputError: the block's, in other words.
    """
    renames = {"data.path": place.flag, "--data.path": place.flag, "data.name": place.flag}
    try:
        yield
    except InputError as error:
        sentence = rename_flags(str(error), renames | RENAMES)
        raise InputError(translate_flags(OWN_FLAGS, sentence)) from error


def _open(place: Place, request: Request) -> Source:
    if place.kind == "run":
        return _open_run(place, cache=request.cache)
    if place.kind == "idx file":
        images = read_idx(Path(place.path))
        if images.ndim != 3:
            raise InputError(
                f"`{place.flag}` (={place.value}) must hold images, and is of shape "
                f"{images.shape}: give the file of the images."
            )
        identity = fingerprint("idx file", list(images.shape), hash_arrays(images))
        return source_from_arrays(images, None, images.shape[1], 1, identity)
    try:
        return open_source(_configuration(place, request))
    except InputError as error:
        if place.kind != "tfds":
            raise
        raise InputError(
            f"`{place.flag}` (={place.value}) is no path that exists, and no set that TFDS has "
            "prepared: correct it, or prepare the set with python -m l1jax.prepare."
        ) from error


def _configuration(place: Place, request: Request) -> config.Data:
    match place.kind:
        case "arrays":
            name = request.array or _find_array(place.path)
            return config.ArrayData(place.value, images=name, floats=request.floats)
        case "idx":
            return config.IdxData(place.value, "test" if request.split == "test" else "train")
        case "tfds":
            return config.TfdsData(place.value, split=request.split)
        case "images":
            return config.ImageData(place.value)
    raise InputError(
        f"`{place.flag}` (={place.value}) is {place.noun}, and must be images: a folder, an "
        "archive, .npz, .npy, IDX, the name of a set of TFDS, or a run for the images that it was "
        "trained on."
    )


def _find_array(path: str) -> str:
    """Return the name of the array of images in an `.npz`, as far as it is plain which one it is.

    It is `images`, or the only one besides `labels`, or `arr_0`, the first of `numpy.savez`.
    """
    if not zipfile.is_zipfile(path):
        return "images"
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
    except Exception:  # a damaged file: the code that opens it says so
        return "images"
    others = [name for name in names if name != "labels"]
    if "images" in names or not others:
        return "images"
    if len(others) == 1 or others[0] == "arr_0":
        return others[0]
    return "images"


def _open_run(place: Place, *, cache: bool) -> Source:
    """Open the images that a run holds out, or those that it was trained on if it holds out none.

    Raises:
        InputError: if there is no run, or its examples are no images.
    """
    experiment = read_config(Path(place.path))
    if experiment is None:
        raise InputError(
            f"`{place.flag}` (={place.value}) must hold a training run: train one there with "
            "python -m l1jax.train."
        )
    if isinstance(experiment.data, config.MixtureData | config.Text):
        raise InputError(
            f"`{place.flag}` (={place.value}) must be a run on images, and its `data` is "
            f"{type(experiment.data).__name__}."
        )
    training, held_out = open_examples(experiment.data, experiment.holdout, cache)
    source = training if held_out is None else held_out
    return source._replace(picture=None)  # as the run sees them: cropped and resized


def read_pictures(source: Source) -> Pictures:
    """Decode images once, to know their sizes, and keep them if that takes no more than 1 GiB.

    The images are grey if all are; otherwise grey ones become colour.

    Raises:
        InputError: if an image cannot be read.
    """

    def read(i: int) -> Picture:
        image = source.picture(i) if source.picture else to_pillow(source.example(i))
        return to_pixels(image, 1 if image.mode in GREY_MODES else 3)

    if source.picture is None and source.image_shape[2] not in (1, 3):
        raise InputError(f"`channels` (={source.image_shape[2]}) of the images must be 1 or 3.")
    shapes = []
    held: list[Picture] = []
    num_bytes = 0
    with ThreadPoolExecutor(THREADS) as pool:
        for pixels in _in_order(pool, read, source.length):
            shapes.append(pixels.shape)
            num_bytes += pixels.nbytes
            if num_bytes <= MAX_HELD_BYTES:
                held.append(pixels)
            else:
                held.clear()
    own_shapes = np.array(shapes)
    channels = int(own_shapes[:, 2].max())
    own_shapes[:, 2] = channels

    def read_again(i: int) -> Picture:
        pixels = held[i] if held else read(i)
        return np.broadcast_to(pixels, (*pixels.shape[:2], channels))

    pictures = Pictures(own_shapes, read_again)
    if held and pictures.shape is not None:
        return pictures_of(pictures.take(range(len(pictures))))
    return pictures


def _in_order(pool: ThreadPoolExecutor, read, length: int) -> Iterator[Picture]:
    """Decode images by threads, a few hundred ahead of those that are taken."""
    ahead = 32 * THREADS
    for start in range(0, length, ahead):
        yield from pool.map(read, range(start, min(start + ahead, length)))

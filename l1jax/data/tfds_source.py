"""TensorFlow Datasets prepared as ArrayRecord, read without TensorFlow, as a source."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32
from PIL import Image

from l1jax import config
from l1jax.config import InputError
from l1jax.data.class_labels import as_labels
from l1jax.data.decoding import decode
from l1jax.data.file_listing import change_times
from l1jax.data.skipped_files import first_line
from l1jax.data.source import THREADS, Source, fingerprint, source_from_encoded, to_pillow

_USE_FOLDER = "use a folder: --data image --data.path FOLDER"


def open_tfds(data: config.TfdsData) -> Source:
    """Open the images of a set that TFDS has prepared, which are read by index.

    Raises:
        InputError: if the name, the split or the prepared files are not what is needed.
    """
    if not data.name:
        raise InputError(
            "`data.name` is empty: give --data.name NAME, such as celeb_a, a set that TFDS has "
            "prepared."
        )
    origin = f"`data.name` (={data.name!r})"
    import tensorflow_datasets  # takes a third of a second, which other sources save

    tfds: Any = tensorflow_datasets  # its modules are lazy, which type checkers do not follow
    builder = _open_builder(tfds, data, origin)
    count = _count_examples(builder, data.split)
    is_encoded = _check_image_feature(tfds, builder, origin)
    # TFDS would decode with OpenCV or with Pillow, which do not agree to the bit.
    decoders = None
    if is_encoded:
        decoders = {"image": tfds.decode.SkipDecoding()}
    try:
        records = builder.as_data_source(split=data.split, decoders=decoders)
    except NotImplementedError as error:
        raise InputError(
            f"{origin} is prepared as {builder.info.file_format.value} in "
            f"{str(builder.data_path)!r}, which cannot be read by index: in another "
            f"`data.data_dir`, {_how_to_prepare(data)}."
        ) from error

    def decode_record(image: Any, name: str) -> Image.Image:
        if is_encoded:
            return decode(image, name, data.most_pixels)
        return to_pillow(image)

    source = source_from_encoded(
        data,
        origin=origin,
        length=count,
        read=lambda i: records[i]["image"],
        decode=decode_record,
        name_of=lambda i: f"{data.split}, example {i}",
        identity=[builder.info.full_name, data.split, count],
    )._replace(stamp=_stamp(builder))
    if not data.labels:
        return source
    labels = _read_labels(records, count, builder, origin)
    names: Sequence[str] | None = getattr(builder.info.features["label"], "names", None)
    return source._replace(labels=labels, classes=tuple(names or ()))


def _open_builder(tfds: Any, data: config.TfdsData, origin: str) -> Any:
    try:
        builder = tfds.builder(data.name, data_dir=data.data_dir or None)
    except tfds.core.DatasetNotFoundError as error:
        raise InputError(
            f"{origin} is neither known to TFDS nor among its prepared sets: check the spelling "
            f"and `data.data_dir` (={data.data_dir!r}), or {_USE_FOLDER}."
        ) from error
    except Exception as error:  # a wrong name, version or file: each raises its own kind
        raise InputError(
            f"{origin} cannot be opened by TFDS ({first_line(error)}): correct it, or "
            f"{_how_to_prepare(data)}."
        ) from error
    if not builder.is_prepared():
        raise InputError(
            f"{origin} is not prepared in {str(builder.data_path)!r}: {_how_to_prepare(data)}."
        )
    return builder


def _count_examples(builder: Any, split: str) -> int:
    try:
        count = builder.info.splits[split].num_examples
    except Exception as error:  # a split that is malformed, unknown or out of range
        raise InputError(
            f"`data.split` (={split!r}) must be one of {', '.join(builder.info.splits)} or a part "
            f"of one, such as train[:10%] ({first_line(error)})."
        ) from error
    if count < 1:
        raise InputError(
            f"`data.split` (={split!r}) must hold at least one example, and holds none."
        )
    return count


def _check_image_feature(tfds: Any, builder: Any, origin: str) -> bool:
    """Check that the set has images that can be used; return whether they are encoded."""
    features = dict(builder.info.features or {})
    image: Any = features.get("image")
    is_encoded = isinstance(image, tfds.features.Image)
    is_array = isinstance(image, tfds.features.Tensor)
    if not (is_encoded or is_array) or image.np_dtype not in (np.uint8, np.uint16):
        raise InputError(
            f"{origin} must have a feature `image` of 8 or 16 bits, and its features are "
            f"{', '.join(features)}; choose another set, or {_USE_FOLDER}."
        )
    return is_encoded


def _how_to_prepare(data: config.TfdsData) -> str:
    data_dir = ""
    if data.data_dir:
        data_dir = f", data_dir={data.data_dir!r}"
    return (
        f'prepare it with `tfds.builder({data.name!r}{data_dir}, file_format="array_record")'
        ".download_and_prepare()` (needs `pip install 'l1jax[tfds]'`), or "
        f"{_USE_FOLDER}"
    )


def _read_labels(
    records: Any, count: int, builder: Any, origin: str
) -> Int32[np.ndarray, " count"]:
    if "label" not in builder.info.features:
        raise InputError(
            f"{origin} has no feature `label`, and its features are "
            f"{', '.join(builder.info.features)}: give --no-data.labels."
        )
    with ThreadPoolExecutor(THREADS) as pool:
        labels = list(pool.map(lambda i: records[i]["label"], range(count)))
    return as_labels(labels, count, origin, "its feature `label`")


def _stamp(builder: Any) -> str:
    """Return a value that changes when the prepared files are written again."""
    files = sorted(Path(builder.data_path).iterdir())
    return fingerprint(
        [(file.name, file.stat().st_size, *change_times(file.stat())) for file in files]
    )

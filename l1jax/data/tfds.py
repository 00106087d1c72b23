"""TensorFlow Datasets prepared as ArrayRecord, read without TensorFlow, as a source."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32
from PIL import Image

from l1jax import config
from l1jax.config import InputError
from l1jax.data.classes import whole_labels
from l1jax.data.images import decode, reason
from l1jax.data.source import THREADS, Source, fingerprint, of_images
from l1jax.data.tars import moments

_FOLDER = "use a folder: --data image --data.path FOLDER"


def open_tfds(data: config.TfdsData) -> Source:
    """Images of a set that TFDS has prepared, read by index.

    Raises:
        InputError: if the name, the split or the prepared files are not what is needed.
    """
    if not data.name:
        raise InputError(
            "`data.name` is empty: give --data.name NAME, such as celeb_a, a set that TFDS has prepared."
        )
    origin = f"`data.name` (={data.name!r})"
    import tensorflow_datasets  # a third of a second that the other sources do not need

    tfds: Any = tensorflow_datasets  # its modules are lazy, and no type checker sees through them
    builder = _prepared_builder(tfds, data, origin)
    count = _count(builder, data.split)
    feature: Any = dict(builder.info.features or {}).get("image")
    encoded = isinstance(feature, tfds.features.Image)
    if not (encoded or isinstance(feature, tfds.features.Tensor)) or feature.np_dtype not in (
        np.uint8,
        np.uint16,
    ):
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

    def as_image(image: Any, name: str) -> Image.Image:
        if encoded:
            return decode(image, name, data.most_pixels)
        return Image.fromarray(image[..., 0] if image.shape[2:] == (1,) else image)

    identity = [builder.info.full_name, data.split, count]
    source = of_images(
        data,
        origin,
        count,
        lambda i: records[i]["image"],
        as_image,
        lambda i: f"{data.split}, example {i}",
        identity,
    )
    labels = _labels(records, count, builder, origin) if data.labels else None
    named = builder.info.features["label"] if labels is not None else None
    classes = tuple(getattr(named, "names", None) or ())
    return source._replace(stamp=_stamp(builder), labels=labels, classes=classes)


def _prepared_builder(tfds: Any, data: config.TfdsData, origin: str) -> Any:
    try:
        builder = tfds.builder(data.name, data_dir=data.data_dir or None)
    except tfds.core.DatasetNotFoundError as error:
        raise InputError(
            f"{origin} is neither known to TFDS nor among its prepared sets: check the spelling and `data.data_dir` "
            f"(={data.data_dir!r}), or {_FOLDER}."
        ) from error
    except (
        Exception
    ) as error:  # a malformed name, an unknown version, a damaged file: each raises its own
        raise InputError(
            f"{origin} cannot be opened by TFDS ({reason(error)}): correct it, or {_preparation(data)}."
        ) from error
    if not builder.is_prepared():
        raise InputError(
            f"{origin} is not prepared in {str(builder.data_path)!r}: {_preparation(data)}."
        )
    return builder


def _count(builder: Any, split: str) -> int:
    try:
        count = builder.info.splits[split].num_examples
    except (
        Exception
    ) as error:  # a malformed split, an unknown one, one out of range: each raises its own
        raise InputError(
            f"`data.split` (={split!r}) must be one of {', '.join(builder.info.splits)} or a part of one, such as "
            f"train[:10%] ({reason(error)})."
        ) from error
    if count < 1:
        raise InputError(
            f"`data.split` (={split!r}) must hold at least one example, and holds none."
        )
    return count


def _preparation(data: config.TfdsData) -> str:
    where = f", data_dir={data.data_dir!r}" if data.data_dir else ""
    return (
        f'prepare it with `tfds.builder({data.name!r}{where}, file_format="array_record").download_and_prepare()` '
        f"(needs `pip install 'l1jax[tfds]'`), or {_FOLDER}"
    )


def _labels(records: Any, count: int, builder: Any, origin: str) -> Int32[np.ndarray, " count"]:
    if "label" not in builder.info.features:
        raise InputError(
            f"{origin} has no feature `label`, and its features are {', '.join(builder.info.features)}: give "
            "--no-data.labels."
        )
    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(lambda i: records[i]["label"], range(count)))
    return whole_labels(found, count, origin, "its feature `label`")


def _stamp(builder: Any) -> str:
    """When the prepared files were written."""
    files = sorted(Path(builder.data_path).iterdir())
    return fingerprint([(file.name, file.stat().st_size, *moments(file.stat())) for file in files])

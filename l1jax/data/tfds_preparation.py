"""Prepare image sets as ArrayRecord, the format that `TfdsData` reads.

A folder, tar or zip of images becomes a set without TensorFlow: its encoded files are copied into
the records as they are, and class folders become labels. A set that TFDS knows by name is
downloaded and prepared by TFDS, which needs TensorFlow if it has to encode the images itself.
"""

import json
import os
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

from l1jax import config
from l1jax.config import InputError
from l1jax.data.image_source import ImageListing, list_images, source_from_listing
from l1jax.data.skipped_files import first_line
from l1jax.data.source import Source, fingerprint, hash_arrays

_METADATA_KEY = "l1jax_source"  # of the fingerprint of the images that a set was made of


def prepare_files(data: config.ImageData, name: str, data_dir: str) -> Any:
    """Make a set of one split, `train`, of the images of a folder or an archive.

    The set's metadata hold a fingerprint of the images, so that a set of other images is never
    taken for it.

    Args:
        data: which images to use, and which of their folders are classes.
        name: name of the set; if empty, it is made from the path.
        data_dir: where TFDS keeps its data; empty for its own default.

    Returns:
        The builder (`tfds.core.DatasetBuilder`) of the prepared set.

    Raises:
        InputError: if the images cannot be listed or read, the name is not valid, or a set of that
            name exists and was made of other images.
    """
    import tensorflow_datasets

    tfds = cast(Any, tensorflow_datasets)  # its modules are lazy, which type checkers do not follow
    name = name or _name_from_path(data.path)
    if not re.fullmatch(r"[a-z]\w*", name, re.ASCII):
        raise InputError(
            f"`--name` (={name!r}) must begin with a letter and have letters, digits and _ only."
        )
    listing = list_images(data)
    if listing.classes.ambiguity:
        raise InputError(listing.classes.ambiguity)
    source = source_from_listing(listing, data)
    labels = listing.classes.labels
    classes = list(listing.classes.names)
    features: dict[str, object] = {"image": tfds.features.Image(shape=(None, None, 3))}
    if labels is not None:
        features["label"] = tfds.features.ClassLabel(names=classes)
    label_hash = ""
    if labels is not None:
        label_hash = hash_arrays(labels)
    identity = fingerprint(source.fingerprint, classes, label_hash)
    records = partial(_records, listing, source, data.on_error == "skip")
    builder_class = _make_builder_class(tfds, name, features, identity, records)
    builder = builder_class(data_dir=data_dir or None, file_format="array_record")
    if builder.is_prepared():
        _check_same_images(Path(builder.data_path), name, identity)
    builder.download_and_prepare()
    return builder


Record = tuple[str, dict[str, object]]
"""An example's name, and its features."""


def _make_builder_class(
    tfds: Any,
    name: str,
    features: dict[str, object],
    identity: str,
    records: Callable[[], Iterator[Record]],
) -> Any:
    """Make the class that TFDS wants for a set."""

    class Prepared(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # pyright: ignore[reportGeneralTypeIssues, reportCallIssue]
        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> Any:
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(features),
                metadata=tfds.core.MetadataDict({_METADATA_KEY: identity}),
            )

        def _split_generators(self, dl_manager: Any) -> Any:
            return {"train": self._generate_examples()}

        def _generate_examples(self) -> Iterator[Record]:
            yield from records()

    Prepared.name = name
    Prepared.__module__ = name  # TFDS looks for more about a set beside the module of its class
    return Prepared


def _name_from_path(path: str) -> str:
    stem = Path(os.path.abspath(os.path.expanduser(path))).name.split(".")[0]
    return re.sub(r"\W+", "_", stem, flags=re.ASCII).strip("_").lower()


def _check_same_images(folder: Path, name: str, identity: str) -> None:
    """Raise unless an existing set was made of the same images.

    Raises:
        InputError: if it was made of others, or does not say what it was made of.
    """
    try:
        metadata = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))
        existing = metadata.get(_METADATA_KEY)
    except (OSError, ValueError, AttributeError):
        existing = None
    if existing == identity:
        return
    made_of = "does not say which images it was made of"
    if existing:
        made_of = "was made of other images"
    raise InputError(
        f"`--name` (={name!r}) is the name of a set in {str(folder)!r} that {made_of}: give "
        "another --name, or delete that folder and run the same command again."
    )


def _records(listing: ImageListing, source: Source, skip_unusable: bool) -> Iterator[Record]:
    labels = listing.classes.labels
    for i, name in enumerate(listing.files.names):
        try:
            if skip_unusable:
                source.example(i)  # decodes the image to see whether that is possible
            record: dict[str, object] = {"image": listing.files.read(name)}
        except InputError:
            continue
        if labels is not None:
            record["label"] = int(labels[i])
        yield name, record


def prepare_known(name: str, data_dir: str) -> Any:
    """Download and prepare a set that TFDS knows by name, unless it is prepared already.

    Returns:
        The builder (`tfds.core.DatasetBuilder`) of the prepared set.

    Raises:
        InputError: if TFDS does not know it, a package must be installed first, or the download
            fails.
    """
    import tensorflow_datasets

    tfds = cast(Any, tensorflow_datasets)  # its modules are lazy, which type checkers do not follow
    folder = "give a folder or an archive of its images: python -m l1jax.prepare FOLDER"
    failures = (OSError, ValueError, AssertionError, RuntimeError, tfds.download.DownloadError)
    try:
        builder = tfds.builder(name, data_dir=data_dir or None, file_format="array_record")
        builder.download_and_prepare()
    except tfds.core.DatasetNotFoundError as error:
        raise InputError(
            f"{name!r} is neither a folder or file nor a set that TFDS knows: {folder}."
        ) from error
    except ImportError as error:
        missing = (error.name or "tensorflow").split(".")[0]
        package = missing
        if missing == "tensorflow":
            package = "l1jax[tfds]"
        raise InputError(
            f"{name!r} cannot be prepared by TFDS without {missing}: run `pip "
            f"install '{package}'` and the same command again (training needs none of it), or "
            f"{folder}."
        ) from error
    except failures as error:
        raise InputError(
            f"{name!r} could not be prepared ({first_line(error)}): try again, or {folder}."
        ) from error
    return builder

"""Prepare a TFDS set as ArrayRecord: `python -m l1jax.data.prepare NAME_OR_FOLDER`.

A folder, tar or zip of images becomes a set without TensorFlow: its encoded files are copied into the records as they
are, and class folders become labels. A set that TFDS knows by name is downloaded and prepared by TFDS, which needs
TensorFlow where it has to encode the images itself.
"""

import argparse
import difflib
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from l1jax import config
from l1jax.config import InputError
from l1jax.data.files import Listing, list_images, source_of
from l1jax.data.formats import suffix_of
from l1jax.data.images import reason
from l1jax.data.recognition import refuse_address
from l1jax.data.source import Source, digest, fingerprint
from l1jax.own_flags import in_flags
from l1jax.streams import lasting_output

_MADE_OF = "l1jax_source"  # in a set's metadata: the fingerprint of the images that it was made of
_SUFFIXES = frozenset([".zip", ".tar", ".gz", ".tgz", ".xz", ".txz", ".bz2", ".tbz2"])


def prepare_files(data: config.ImageData, name: str, data_dir: str) -> Any:
    """Make a set of one split, `train`, of the images of a folder or an archive.

    The set remembers what it was made of, so that other images are never taken for it.

    Args:
        data: which images, and which of their folders are classes.
        name: of the set; empty for one made from the path.
        data_dir: where TFDS keeps its data; empty for its own default.

    Returns:
        The prepared set's builder.

    Raises:
        InputError: if the images cannot be listed or read, the name cannot be one, or a set of that name
            is there that was made of other images.
    """
    import tensorflow_datasets

    tfds = cast(
        Any, tensorflow_datasets
    )  # its modules are lazy, and no type checker sees through them
    path = os.path.abspath(os.path.expanduser(data.path))
    name = (
        name
        or re.sub(r"\W+", "_", Path(path).name.split(".")[0], flags=re.ASCII).strip("_").lower()
    )
    if not re.fullmatch(r"[a-z]\w*", name, re.ASCII):
        raise InputError(
            f"`--name` (={name!r}) must begin with a letter and have letters, digits and _ only."
        )
    listing = list_images(data)
    if listing.classes.question:
        raise InputError(listing.classes.question)
    source = source_of(listing, data)
    labels, classes = listing.classes.labels, listing.classes.names
    features = {"image": tfds.features.Image(shape=(None, None, 3))}
    if labels is not None:
        features["label"] = tfds.features.ClassLabel(names=list(classes))
    identity = fingerprint(
        source.fingerprint, list(classes), "" if labels is None else digest(labels)
    )

    class Prepared(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # pyright: ignore[reportGeneralTypeIssues, reportCallIssue]
        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> Any:
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(features),
                metadata=tfds.core.MetadataDict({_MADE_OF: identity}),
            )

        def _split_generators(self, dl_manager: Any) -> Any:
            return {"train": self._generate_examples()}

        def _generate_examples(self) -> Iterator[tuple[str, dict[str, Any]]]:
            yield from _records(listing, source, data.on_error == "skip")

    Prepared.name = Prepared.__module__ = (
        name  # TFDS looks for more about a set beside the module of its class
    )
    builder = Prepared(data_dir=data_dir or None, file_format="array_record")
    if builder.is_prepared():
        _refuse_other(Path(builder.data_path), name, identity)
    builder.download_and_prepare()
    return builder


def _refuse_other(folder: Path, name: str, identity: str) -> None:
    """Refuse a set that is there already unless it was made of the same images.

    Raises:
        InputError: if it was not, or does not say what it was made of.
    """
    try:
        found = json.loads((folder / "metadata.json").read_text(encoding="utf-8")).get(_MADE_OF)
    except (OSError, ValueError, AttributeError):
        found = None
    if found != identity:
        made_of = (
            "was made of other images" if found else "does not say which images it was made of"
        )
        raise InputError(
            f"`--name` (={name!r}) is the name of a set in {str(folder)!r} that {made_of}: give "
            "another --name, or delete that folder and run the same command again."
        )


def prepare_known(name: str, data_dir: str) -> Any:
    """Download and prepare a set that TFDS knows by name; nothing is done where it is prepared already.

    Returns:
        The prepared set's builder.

    Raises:
        InputError: if TFDS does not know it, something must be installed first, or the download fails.
    """
    import tensorflow_datasets

    tfds = cast(
        Any, tensorflow_datasets
    )  # its modules are lazy, and no type checker sees through them
    folder = "give a folder or an archive of its images: python -m l1jax.data.prepare FOLDER"
    try:
        builder = tfds.builder(name, data_dir=data_dir or None, file_format="array_record")
        builder.download_and_prepare()
    except tfds.core.DatasetNotFoundError as error:
        raise InputError(
            f"{name!r} is neither a folder or file nor a set that TFDS knows: {folder}."
        ) from error
    except ImportError as error:
        missing = (error.name or "").split(".")[0]
        package = "l1jax[tfds]" if missing in ("", "tensorflow") else missing
        raise InputError(
            f"{name!r} cannot be prepared by TFDS without {missing or 'TensorFlow'}: run `pip "
            f"install '{package}'` and the same command again (training needs none of it), or "
            f"{folder}."
        ) from error
    except (
        OSError,
        ValueError,
        AssertionError,
        RuntimeError,
        tfds.download.DownloadError,
    ) as error:
        raise InputError(
            f"{name!r} could not be prepared ({reason(error)}): try again, or {folder}."
        ) from error
    return builder


def _records(listing: Listing, source: Source, skip: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    labels = listing.classes.labels
    for i, name in enumerate(listing.files.names):
        try:
            if skip:  # then every image is decoded once, to see whether it can be
                source.example(i)
            record: dict[str, Any] = {"image": listing.files.read(name)}
        except InputError:
            continue
        yield name, record if labels is None else record | {"label": int(labels[i])}


def _refuse_missing_path(what: str) -> None:
    """Refuse what can only be meant as a path, and is none.

    Raises:
        InputError: naming the nearest file or folder beside it.
    """
    name = what.rstrip("/\\")
    as_path = (
        what != name
        or what.startswith((".", "~", "/"))
        or suffix_of(name) in _SUFFIXES
        or "\\" in what
    )
    beside = Path(os.path.expanduser(name)).parent
    if not as_path and not ("/" in name and beside.is_dir()):
        return
    there = [path.name for path in beside.iterdir()] if beside.is_dir() else []
    near = difflib.get_close_matches(Path(name).name, there, 1)
    hint = f"; the nearest there is {str(beside / near[0])!r}" if near else ""
    raise InputError(
        f"`NAME_OR_FOLDER` (={what!r}) looks like a path, and nothing is there{hint}: correct it."
    )


_FLAGS = ("--name", "--data-dir", "--labels", "--subfolder", "--on-error")
_RENAMED = {
    "--data.path FOLDER_OR_ARCHIVE": "FOLDER_OR_ARCHIVE",
    "as --data.path": "to this command",
    "data.path": "NAME_OR_FOLDER",
    "data.labels": "--labels",
    "data.subfolder": "--subfolder",
    "data.on_error": "--on-error",
    "--data.labels": "--labels",
    "--data.subfolder": "--subfolder",
    "--data.on-error": "--on-error",
}


def main(arguments: Sequence[str]) -> int:
    """Prepare what the command line names; returns the exit status."""
    description = "Prepare a set that TFDS knows, or images of your own, as ArrayRecord."
    parser = argparse.ArgumentParser("python -m l1jax.data.prepare", description=description)
    parser.add_argument(
        "what", metavar="NAME_OR_FOLDER", help="a set's name as TFDS knows it, or images' path"
    )
    parser.add_argument(
        "--name", default="", help="name of a set made from images; by default that of the path"
    )
    parser.add_argument(
        "--data-dir", default="", help="where TFDS keeps its data; empty for its own default"
    )
    parser.add_argument(
        "--labels",
        choices=("auto", "folders", "innermost", "none"),
        default="auto",
        help="which folders of images are classes, as in --data.labels",
    )
    parser.add_argument(
        "--subfolder", default="", help="use only the images in this folder of the path"
    )
    parser.add_argument(
        "--on-error",
        choices=("stop", "skip"),
        default="stop",
        help="about images that cannot be used",
    )
    options = parser.parse_args(arguments)
    data = config.ImageData(
        options.what, subfolder=options.subfolder, on_error=options.on_error, labels=options.labels
    )
    try:
        refuse_address(options.what, "NAME_OR_FOLDER")
        if os.path.exists(os.path.expanduser(options.what)):
            builder = prepare_files(data, options.name, options.data_dir)
        else:
            _refuse_missing_path(options.what)
            builder = prepare_known(options.what, options.data_dir)
    except InputError as error:
        print(f"error: {in_flags(_FLAGS, str(error), _RENAMED)}", file=sys.stderr)
        return 2
    except OSError as error:
        where = options.data_dir or "TFDS's own folder"
        print(
            f"error: `--data-dir` (={where}) must be writable: {error.strerror or error}.",
            file=sys.stderr,
        )
        return 2
    counts = ", ".join(
        f"{split} ({info.num_examples:,})" for split, info in builder.info.splits.items()
    )
    where = f" --data.data-dir {options.data_dir}" if options.data_dir else ""
    print(f"prepared {builder.info.full_name} in {builder.data_path}: {counts}")
    print(
        f"train on it: python -m l1jax.train --data tfds --data.name {builder.info.full_name.replace('/', ':')}{where}"
    )
    return 0


if __name__ == "__main__":
    with lasting_output():
        sys.exit(main(sys.argv[1:]))

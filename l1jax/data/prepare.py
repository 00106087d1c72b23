"""Prepare a TFDS set as ArrayRecord: `python -m l1jax.data.prepare NAME_OR_FOLDER`.

A folder, tar or zip of images becomes a set without TensorFlow: its encoded files are copied into the records as they
are, and class folders become labels. A set that TFDS knows by name is downloaded and prepared by TFDS, which needs
TensorFlow where it has to encode the images itself.
"""

import argparse
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from l1jax import config
from l1jax.config import InputError
from l1jax.data.archives import Files, open_files
from l1jax.data.files import from_shared_folder, open_images
from l1jax.data.images import reason


def prepare_files(path: str, name: str, data_dir: str) -> Any:
    """Make a set of one split, `train`, of the images of a folder or an archive.

    Args:
        path: the folder or archive.
        name: of the set; empty for one made from the path.
        data_dir: where TFDS keeps its data; empty for its own default.

    Returns:
        The prepared set's builder.

    Raises:
        InputError: if the images cannot be listed or read, or the name cannot be one.
    """
    import tensorflow_datasets

    tfds = cast(Any, tensorflow_datasets)  # its modules are lazy, and no type checker sees through them
    name = name or re.sub(r"\W+", "_", Path(path).name.split(".")[0], flags=re.ASCII).strip("_").lower()
    if not re.fullmatch(r"[a-z]\w*", name, re.ASCII):
        raise InputError(f"`--name` (={name!r}) must begin with a letter and have letters, digits and _ only.")
    classes = open_images(config.ImageData(path)).labels  # which also refuses what cannot be used
    files = open_files(path)
    folders = None if classes is None else sorted({name.split("/")[0] for name in from_shared_folder(files.names)})
    features = {"image": tfds.features.Image(shape=(None, None, 3))}
    if folders:
        features["label"] = tfds.features.ClassLabel(names=folders)

    class Prepared(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # pyright: ignore[reportGeneralTypeIssues, reportCallIssue]
        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> Any:
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager: Any) -> Any:
            return {"train": self._generate_examples()}

        def _generate_examples(self) -> Iterator[tuple[str, dict[str, Any]]]:
            yield from _records(files, classes)

    Prepared.name = Prepared.__module__ = name  # TFDS looks for more about a set beside the module of its class
    builder = Prepared(data_dir=data_dir or None, file_format="array_record")
    builder.download_and_prepare()
    return builder


def prepare_known(name: str, data_dir: str) -> Any:
    """Download and prepare a set that TFDS knows by name; nothing is done where it is prepared already.

    Returns:
        The prepared set's builder.

    Raises:
        InputError: if TFDS does not know it, something must be installed first, or the download fails.
    """
    import tensorflow_datasets

    tfds = cast(Any, tensorflow_datasets)  # its modules are lazy, and no type checker sees through them
    folder = "give a folder or an archive of its images: python -m l1jax.data.prepare FOLDER"
    try:
        builder = tfds.builder(name, data_dir=data_dir or None, file_format="array_record")
        builder.download_and_prepare()
    except tfds.core.DatasetNotFoundError as error:
        raise InputError(f"{name!r} is neither a folder or file nor a set that TFDS knows: {folder}.") from error
    except ImportError as error:
        missing = (error.name or "").split(".")[0]
        package = "l1jax[tfds]" if missing in ("", "tensorflow") else missing
        raise InputError(
            f"{name!r} cannot be prepared by TFDS without {missing or 'TensorFlow'}: run `pip install '{package}'` and "
            f"the same command again (training needs none of it), or {folder}."
        ) from error
    except (OSError, ValueError, AssertionError, RuntimeError, tfds.download.DownloadError) as error:
        raise InputError(f"{name!r} could not be prepared ({reason(error)}): try again, or {folder}.") from error
    return builder


def _records(files: Files, classes: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    for i, name in enumerate(files.names):
        record: dict[str, Any] = {"image": files.read(name)}
        yield name, record if classes is None else record | {"label": int(classes[i])}


def main(arguments: Sequence[str]) -> int:
    """Prepare what the command line names; returns the exit status."""
    description = "Prepare a set that TFDS knows, or images of your own, as ArrayRecord."
    parser = argparse.ArgumentParser("python -m l1jax.data.prepare", description=description)
    parser.add_argument("what", metavar="NAME_OR_FOLDER", help="a set's name as TFDS knows it, or images' path")
    parser.add_argument("--name", default="", help="name of a set made from images; by default that of the path")
    parser.add_argument("--data-dir", default="", help="where TFDS keeps its data; empty for its own default")
    options = parser.parse_args(arguments)
    try:
        if os.path.exists(os.path.expanduser(options.what)):
            builder = prepare_files(options.what, options.name, options.data_dir)
        else:
            builder = prepare_known(options.what, options.data_dir)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    counts = ", ".join(f"{split} ({info.num_examples:,})" for split, info in builder.info.splits.items())
    where = f" --data.data-dir {options.data_dir}" if options.data_dir else ""
    print(f"prepared {builder.info.full_name} in {builder.data_path}: {counts}")
    print(
        f"train on it: python -m l1jax.train --data tfds --data.name {builder.info.full_name.replace('/', ':')}{where}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

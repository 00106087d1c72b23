"""Prepare images as a TFDS set: `python -m l1jax.prepare NAME_OR_FOLDER`."""

import argparse
import difflib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from l1jax import config
from l1jax.cli.flag_errors import translate_flags
from l1jax.config import InputError
from l1jax.data.formats import suffix_of
from l1jax.data.path_hints import require_local_path
from l1jax.data.tfds_preparation import prepare_files, prepare_known
from l1jax.streams import lasting_output

_ARCHIVE_SUFFIXES = frozenset([".zip", ".tar", ".gz", ".tgz", ".xz", ".txz", ".bz2", ".tbz2"])
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
}  # words of messages about training data → those of this command


def main(arguments: Sequence[str]) -> int:
    """Prepare what the command line names; return the exit status."""
    options = _parser().parse_args(arguments)
    data = config.ImageData(
        options.what, subfolder=options.subfolder, on_error=options.on_error, labels=options.labels
    )
    try:
        require_local_path(options.what, "NAME_OR_FOLDER")
        if os.path.exists(os.path.expanduser(options.what)):
            builder = prepare_files(data, options.name, options.data_dir)
        else:
            _check_not_a_path(options.what)
            builder = prepare_known(options.what, options.data_dir)
    except InputError as error:
        print(f"error: {translate_flags(_FLAGS, str(error), _RENAMED)}", file=sys.stderr)
        return 2
    except OSError as error:
        folder = options.data_dir or "TFDS's own folder"
        message = f"`--data-dir` (={folder}) must be writable: {error.strerror or error}."
        print(f"error: {message}", file=sys.stderr)
        return 2
    info = builder.info
    counts = ", ".join(f"{name} ({split.num_examples:,})" for name, split in info.splits.items())
    print(f"prepared {info.full_name} in {builder.data_path}: {counts}")
    flags = f"--data tfds --data.name {info.full_name.replace('/', ':')}"
    if options.data_dir:
        flags += f" --data.data-dir {options.data_dir}"
    print(f"train on it: python -m l1jax.train {flags}")
    return 0


def _parser() -> argparse.ArgumentParser:
    description = "Prepare a set that TFDS knows, or images of your own, as ArrayRecord."
    parser = argparse.ArgumentParser("python -m l1jax.prepare", description=description)
    parser.add_argument(
        "what",
        metavar="NAME_OR_FOLDER",
        help="name of a set that TFDS knows, or the path of a folder or an archive of images",
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
        help="what to do with images that cannot be used: stop at the first, or leave them out",
    )
    return parser


def _check_not_a_path(text: str) -> None:
    """Raise for a text that can only be meant as a path; no file of that name exists.

    Raises:
        InputError: naming the file or folder in the same place whose name is nearest.
    """
    name = text.rstrip("/\\")
    looks_like_path = (
        text != name
        or text.startswith((".", "~", "/"))
        or suffix_of(name) in _ARCHIVE_SUFFIXES
        or "\\" in text
    )
    parent = Path(os.path.expanduser(name)).parent
    if not looks_like_path and not ("/" in name and parent.is_dir()):
        return
    names = [path.name for path in parent.iterdir()] if parent.is_dir() else []
    nearest = difflib.get_close_matches(Path(name).name, names, 1)
    hint = ""
    if nearest:
        hint = f"; the nearest name there is {str(parent / nearest[0])!r}"
    raise InputError(
        f"`NAME_OR_FOLDER` (={text!r}) looks like a path, and nothing is there{hint}: correct it."
    )


if __name__ == "__main__":
    with lasting_output():
        sys.exit(main(sys.argv[1:]))

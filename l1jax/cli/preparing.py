"""What `l1jax.prepare` is asked to prepare, checked before anything heavy is imported."""

import difflib
import os
from collections.abc import Sequence
from pathlib import Path

from l1jax.cli.flag_errors import translate_errors
from l1jax.cli.flags import parse
from l1jax.cli.options import PrepareOptions
from l1jax.config import InputError
from l1jax.data.formats import suffix_of
from l1jax.data.path_hints import require_local_path

PROG = "python -m l1jax.prepare"
RENAMED = {
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
"""Words of messages about training data → those of this command."""
_ARCHIVE_SUFFIXES = frozenset([".zip", ".tar", ".gz", ".tgz", ".xz", ".txz", ".bz2", ".tbz2"])


@translate_errors(PrepareOptions, RENAMED)
def parse_prepare(arguments: Sequence[str]) -> PrepareOptions:
    """Parse the flags of the command.

    Raises:
        InputError: if a flag or a value is wrong, or a path is an address or does not exist.
        SystemExit: with status 0 after --help.
    """
    options = parse(PrepareOptions, arguments, PROG)
    require_local_path(options.what, "NAME_OR_FOLDER")
    if not os.path.exists(os.path.expanduser(options.what)):
        _check_is_no_path(options.what)
    return options


def _check_is_no_path(text: str) -> None:
    """Raise for a text that can only be meant as a path; no file has that name.

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

"""Files and folders that a data set leaves out, and the sentences that say so."""

import errno
from typing import Literal, NamedTuple

from l1jax.config import InputError
from l1jax.data.formats import HEIF_SUFFIXES, FileKind, suffix_of

SkippedKind = Literal["image", "recording", "document", "folder", "archive", "work directory"]


class SkippedFile(NamedTuple):
    """A file or folder that is left out."""

    name: str
    reason: str
    """Why it is left out, as a clause that a message puts in brackets."""
    kind: SkippedKind = "image"

    @property
    def is_error(self) -> bool:
        """Whether it stops the program unless unusable images are to be skipped."""
        return self.kind in ("image", "recording", "document", "folder")


def skipped_kind(kind: FileKind) -> SkippedKind:
    """Return what a file of this kind is called when it is left out; a folder if it has none."""
    if kind in ("recording", "document"):
        return kind
    if kind == "other recording":
        return "recording"
    return "image" if kind else "folder"


def unreadable_file(name: str, error: OSError, kind: SkippedKind = "image") -> SkippedFile:
    """Describe a file or folder that the operating system does not let us read.

    Args:
        name: its name.
        error: what the operating system said.
        kind: what it is, or seems to be.
    """
    reason = error.strerror or str(error)
    if error.errno in (errno.ENOENT, errno.ELOOP):
        reason = f"it is a link that leads nowhere: {reason}"
    return SkippedFile(name, reason, kind)


def unsupported_file(name: str, kind: FileKind) -> SkippedFile:
    """Describe a file whose suffix is that of an archive, or of a format that is not read here."""
    if kind == "archive":
        return SkippedFile(name, "it is not looked into", "archive")
    if kind == "other recording":
        reason = f"{suffix_of(name)} files are not read: convert it to .wav or .flac"
        return SkippedFile(name, reason, "recording")
    reason = f"the installed Pillow does not read {suffix_of(name)} files"
    if suffix_of(name) in HEIF_SUFFIXES:
        reason += ": pip install 'l1jax[heif]'"
    return SkippedFile(name, reason)


def describe_skipped(origin: str, file: SkippedFile) -> str:
    """Say in a sentence what is left out, why, and what to do about it.

    Args:
        origin: the field that the data come from, with its value.
        file: the file or folder.
    """
    if file.kind == "archive":
        return (
            f"{origin} holds the archive {file.name!r}, which is not looked into; unpack it, or "
            "give it as --data.path."
        )
    if file.kind == "work directory":
        return (
            f"{origin} holds the work directory {file.name!r}, whose files were written by a run "
            "and are not data."
        )
    return (
        f"{origin} holds the {file.kind} {file.name!r}, which cannot be used ({file.reason}); "
        f"repair or remove it, or leave such {file.kind}s out with --data.on-error skip."
    )


def unusable_file_error(
    origin: str, name: str, reason: str, kind: SkippedKind = "image"
) -> InputError:
    """Make the error about one image, or another file, that cannot be used.

    Args:
        origin: the field that the data come from, with its value.
        name: the file's name.
        reason: why it cannot be used, as a clause.
        kind: what it is.
    """
    return InputError(describe_skipped(origin, SkippedFile(name, reason, kind)))


def no_usable_files_error(origin: str, skipped: list[SkippedFile], noun: SkippedKind) -> InputError:
    """Make the error about data of which every file had to be left out.

    Args:
        origin: the field that the data come from, with its value.
        skipped: the files, at least one.
        noun: what the examples are called.
    """
    first = skipped[0]
    others = f", nor can {len(skipped) - 1:,} more" if len(skipped) > 1 else ""
    return InputError(
        f"{origin} holds the {first.kind} {first.name!r}, which cannot be used "
        f"({first.reason}){others}, and no {noun} that can be: repair it, or give --data.path "
        f"FOLDER_OR_ARCHIVE with {noun}s."
    )


def first_line(error: Exception) -> str:
    """Shorten an error to a clause for a sentence: its first line, or the system's words."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(".:")

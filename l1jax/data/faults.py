"""What a data set holds and leaves out, and the sentences that say so."""

import errno
from typing import Literal, NamedTuple

from l1jax.config import InputError
from l1jax.data.formats import Sort, suffix_of


class Fault(NamedTuple):
    """A file or folder that is left out."""

    name: str
    why: str
    """Why it is left out, to go between brackets."""
    what: Literal["image", "folder", "archive", "work directory"] = "image"

    @property
    def stops(self) -> bool:
        """Whether it is an error unless unusable images are to be skipped; else it is only told."""
        return self.what in ("image", "folder")


def unreadable(name: str, error: OSError, what: Literal["image", "folder"] = "image") -> Fault:
    """The fault of what the operating system does not let us read."""
    why = error.strerror or str(error)
    if error.errno in (errno.ENOENT, errno.ELOOP):
        why = f"it is a link that leads nowhere: {why}"
    return Fault(name, why, what)


def by_suffix(name: str, sort: Sort) -> Fault:
    """The fault of a file that looks like an image or an archive and is none that is read."""
    if sort == "archive":
        return Fault(name, "it is not looked into", "archive")
    return Fault(name, f"the installed Pillow does not read {suffix_of(name)} files")


def sentence(origin: str, fault: Fault) -> str:
    """What is said of a fault.

    Args:
        origin: the field that the data come from, with its value.
        fault: what is left out.
    """
    if fault.what == "archive":
        return (
            f"{origin} holds the archive {fault.name!r}, which is not looked into; unpack it, or "
            "give it as --data.path."
        )
    if fault.what == "work directory":
        return f"{origin} holds the work directory {fault.name!r}, whose images are a run's and no data."
    return (
        f"{origin} holds the {fault.what} {fault.name!r}, which cannot be used ({fault.why}); mend "
        f"or remove it, or leave such {fault.what}s out with --data.on-error skip."
    )


def unusable(origin: str, name: str, why: str) -> InputError:
    """The refusal of one image."""
    return InputError(sentence(origin, Fault(name, why)))


def nothing_left(origin: str, faults: list[Fault]) -> InputError:
    """The refusal of data of which nothing can be used."""
    first = faults[0]
    others = f", nor can {len(faults) - 1:,} more" if len(faults) > 1 else ""
    return InputError(
        f"{origin} holds the {first.what} {first.name!r}, which cannot be used "
        f"({first.why}){others}, and no image that can be: mend it, or give --data.path "
        "FOLDER_OR_ARCHIVE with images."
    )

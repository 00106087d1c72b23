"""What a user asks to begin a run from, and whether a run began from it."""

import os
import re
from typing import Literal, NamedTuple

from l1jax.config import Origin

Networks = Literal["all", "generator"]
COMMIT = re.compile("[0-9a-f]{40}")
REPOSITORY = re.compile(r"\w([\w.-]*\w)?/\w([\w.-]*\w)?", re.ASCII)
MAX_REPOSITORY = 96  # characters


class Request(NamedTuple):
    """What the user asked to begin from.

    Attributes:
        source: a path, or owner/name on the Hub.
        step: which checkpoint of a run; None for the newest good one.
        revision: branch, tag or commit on the Hub; None for its main branch.
        networks: all that the source has, or the generator alone.
    """

    source: str
    step: int | None = None
    revision: str | None = None
    networks: Networks = "all"


def is_repository(name: str) -> bool:
    """Return whether a name can be that of a repository, `owner/name`, by the Hub's rules."""
    is_well_formed = REPOSITORY.fullmatch(name) is not None and len(name) <= MAX_REPOSITORY
    return is_well_formed and not any(part in name for part in ("--", "..")) and name[-4:] != ".git"


def absolute(source: str) -> str:
    """Return the absolute path of a source, with `~` expanded."""
    return os.path.abspath(os.path.expanduser(source))


def is_asked_for(origin: Origin, request: Request) -> bool:
    """Tell whether a run that began from `origin` is the one that a user asks for.

    A source may have been trained on since, have moved to another commit or be gone: what the run
    began from stands in its configuration.
    """
    is_other_commit = (
        request.revision is not None
        and COMMIT.fullmatch(request.revision) is not None
        and request.revision != origin.revision
    )
    return (
        is_of_source(origin, request.source)
        and request.step in (None, origin.step)
        and not is_other_commit
        and (request.networks == "all" or origin.networks == ("generator",))
    )


def is_of_source(origin: Origin, source: str) -> bool:
    """Tell whether an origin is what `--from` calls by this name."""
    if origin.revision:
        return source == origin.source
    return absolute(source) == origin.source

"""Several archives under one path: names with braces and wildcards, as WebDataset's users write."""

import glob
import itertools
import os
import re
from collections import Counter
from collections.abc import Sequence

from l1jax.config import InputError
from l1jax.data.file_listing import FileListing

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_MAX_PATHS = 100_000


def is_pattern(path: str) -> bool:
    """Tell whether a path has braces or wildcards, and is no file or folder of just that name."""
    has_signs = bool(_BRACES.search(path)) or glob.has_magic(path)
    return has_signs and not os.path.exists(path)


def expand_pattern(path: str) -> list[str]:
    """List the paths that a pattern stands for.

    `{000..009}` stands for the numbers of as many digits from the first to the last, `{a,b}` for
    either, and `*`, `?` and `[…]` for what lies there.

    Args:
        path: the pattern.

    Returns:
        The paths: those of braces in their order, of wildcards sorted, each once.

    Raises:
        InputError: if nothing fits, or braces stand for over 100,000 paths.
    """
    paths: list[str] = []
    for spelled in _expand_braces(path):
        if glob.has_magic(spelled):
            paths += sorted(glob.glob(spelled))
        else:
            paths.append(spelled)
    if not paths:
        raise InputError(
            f"`data.path` (={path!r}) must fit a file, and none has such a name: check it, and put "
            "it in quotation marks, so that the shell does not expand it."
        )
    return list(dict.fromkeys(paths))


def _expand_braces(path: str) -> list[str]:
    """Replace each pair of braces by everything that it stands for."""
    pieces = _BRACES.split(path)  # text, inside of braces, text, …
    choices = [[pieces[0]]]
    for inside, text in zip(pieces[1::2], pieces[2::2], strict=True):
        choices += [_alternatives(inside), [text]]
    count = 1
    for alternatives in choices:
        count *= len(alternatives)
        if count > _MAX_PATHS:
            raise InputError(
                f"`data.path` (={path!r}) must stand for at most {_MAX_PATHS:,} files."
            )
    return ["".join(parts) for parts in itertools.product(*choices)]


def _alternatives(inside: str) -> list[str]:
    bounds = _RANGE.fullmatch(inside)
    if bounds is None:
        return inside.split(",")
    first, last = bounds.groups()
    if int(last) - int(first) >= _MAX_PATHS:
        raise InputError(
            f"`data.path` (with {{{inside}}}) must stand for at most {_MAX_PATHS:,} files."
        )
    return [f"{number:0{len(first)}d}" for number in range(int(first), int(last) + 1)]


def merge_listings(paths: Sequence[str], listings: Sequence[FileListing]) -> FileListing:
    """Make one listing of several.

    A file whose name, up to its first dot, is in several archives gets the archive's name before
    its own, with a colon between, so that it belongs to no other folder. So do the files beside it.

    Args:
        paths: the archives or folders.
        listings: of each.
    """
    archives_with = Counter(key for own in listings for key in set(map(sample_key, own.sizes)))
    places: dict[str, tuple[FileListing, str]] = {}
    for title, listing in zip(_titles(paths), listings, strict=True):
        for name in listing.sizes:
            shown = name
            if archives_with[sample_key(name)] > 1:
                folder, slash, last = name.rpartition("/")
                shown = f"{folder}{slash}{title}:{last}"
            places[shown] = (listing, name)

    def read(shown: str) -> bytes:
        listing, name = places[shown]
        return listing.read(name)

    return FileListing(
        sizes={shown: listing.sizes[name] for shown, (listing, name) in places.items()},
        read=read,
        times=[time for listing in listings for time in listing.times],
        skipped=[file for listing in listings for file in listing.skipped],
    )


def sample_key(name: str) -> str:
    """Return what the files of one WebDataset sample share: all before its name's first dot."""
    folder, slash, last = name.rpartition("/")
    return folder + slash + last.split(".")[0]


def _titles(paths: Sequence[str]) -> list[str]:
    """Return the archives' names up to the first dot; with a number where two have the same."""
    stems = [os.path.basename(path).split(".")[0] for path in paths]
    if len(set(stems)) == len(stems):
        return stems
    return [f"{i}-{stem}" for i, stem in enumerate(stems)]

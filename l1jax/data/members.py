"""Which members of an archive are images, its links followed as a folder's are."""

import posixpath
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import TypeVar

from l1jax.data.faults import Fault, by_suffix
from l1jax.data.formats import is_hidden, sort_of, suffix_of

# What a run writes; a folder with the first and one of the others is a work directory.
RUN = ("config.json", "checkpoints", "samples")
SELECTION = "selection.json"
OWN = frozenset((*RUN, SELECTION, "damaged", "tensorboard", "path", "path.png", "samples.png"))

MOST_VISITS = 1_000  # of one folder, by different links: beyond that they multiply without end
_MOST_LINKS = 40  # that are followed for one name, as many as Linux follows

Member = TypeVar("Member")


def clean(name: str) -> str:
    """A member's name as a relative path; some programs put a backslash between folders."""
    return posixpath.normpath(name.replace("\\", "/")).lstrip("/")


def leads_out(name: str) -> bool:
    """Whether a cleaned name leads out of where it would be extracted."""
    return name.startswith("../")


def is_workdir(names: Container[str]) -> bool:
    """Whether a folder with these entries is the work directory of a run or of a selection."""
    config, *folders = RUN
    return SELECTION in names or (config in names and any(folder in names for folder in folders))


def images_among(
    files: Mapping[str, Member],
    links: Mapping[str, str],
) -> tuple[dict[str, Member], list[Fault]]:
    """The images of an archive by name, and what is left out; hidden files are neither.

    Args:
        files: the ordinary files by cleaned name, whatever they are.
        links: where each link leads from its own folder, or from the top if it begins with "/".

    Raises:
        ValueError: if links lead to one folder from too many places.
    """
    faults: list[Fault] = []
    if links:
        files, faults = _follow(files, links)
    workdirs = _workdirs(files)
    faults += [Fault(name or ".", "it is a run's", "work directory") for name in sorted(workdirs)]
    images = {}
    for name, member in files.items():
        sort = sort_of(name)
        if not sort or is_hidden(name) or (workdirs and _is_a_runs(name, workdirs)):
            continue
        if sort == "image":
            images[name] = member
        else:
            faults.append(by_suffix(name, sort))
    return images, faults


def _workdirs(files: Iterable[str]) -> set[str]:
    """The work directories among the folders."""
    marks = (RUN[0], SELECTION)
    suspects = {posixpath.dirname(name) for name in files if name.endswith(marks)}
    entries: dict[str, set[str]] = {folder: set() for folder in suspects}
    for name in files if suspects else ():
        for folder, entry in _folders(name):
            if folder in entries:
                entries[folder].add(entry)
    return {folder for folder, names in entries.items() if is_workdir(names)}


def _is_a_runs(name: str, workdirs: set[str]) -> bool:
    """Whether a file is a run's: any below a work directory, but only what it wrote at the top."""
    places = _folders(name)
    return any(folder in workdirs and (folder or entry in OWN) for folder, entry in places)


def _folders(name: str) -> Iterator[tuple[str, str]]:
    """Each folder that a file is in, from the top, with its entry on the way to the file."""
    folder, rest = "", name
    while rest:
        entry, _, rest = rest.partition("/")
        yield folder, entry
        folder = f"{folder}/{entry}" if folder else entry


def _follow(
    files: Mapping[str, Member],
    links: Mapping[str, str],
) -> tuple[dict[str, Member], list[Fault]]:
    """All files that are seen when links are followed, by the names that they are seen under."""
    entries: dict[str, set[str]] = defaultdict(set)
    for name in (*files, *links):
        for folder, entry in _folders(name):
            entries[folder].add(entry)
    found: dict[str, Member] = {}
    faults = []
    visits: Counter[str] = Counter()
    pending: list[tuple[str, str, tuple]] = [("", "", ())]  # seen as, lies at, folders above it
    while pending:
        seen, real, above = pending.pop()
        visits[real] += 1
        if visits[real] > MOST_VISITS:
            raise ValueError(f"links lead to the folder {real!r} from over {MOST_VISITS:,} places")
        for entry in sorted(entries[real]):
            name, place = posixpath.join(seen, entry), posixpath.join(real, entry)
            linked = place in links
            target = _resolve(place, files, links, entries) if linked else place
            if target is None:
                if not is_hidden(name) and (sort_of(name) or not suffix_of(name)):
                    faults.append(_nowhere(name, links[place]))
            elif target in files:
                found[name] = files[target]
            elif not (linked and _is_above(target, (real, above))):
                pending.append((name, target, (real, above)))
    return found, faults


def _nowhere(name: str, target: str) -> Fault:
    what = "image" if sort_of(name) else "folder"
    return Fault(name, f"it is a link to {target.lstrip('/')!r}, which is not in the archive", what)


def _is_above(folder: str, above: tuple) -> bool:
    while above:
        real, above = above
        if real == folder:
            return True
    return False


def _resolve(
    name: str,
    files: Mapping[str, Member],
    links: Mapping[str, str],
    entries: Mapping[str, set[str]],
) -> str | None:
    """The file or folder that a name leads to; None where there is none in the archive."""
    place, parts, followed = "", name.split("/")[::-1], 0
    while parts:
        part = parts.pop()
        if part in ("", "."):
            continue
        if part == "..":
            if not place:
                return None
            place = posixpath.dirname(place)
            continue
        place = posixpath.join(place, part)
        if place in links:
            followed += 1
            if followed > _MOST_LINKS:
                return None
            target = links[place]
            place = "" if target.startswith("/") else posixpath.dirname(place)
            parts += target.split("/")[::-1]
    return place if place in files or place in entries else None

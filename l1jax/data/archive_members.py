"""Choose the examples among an archive's members, following its links as a file system would."""

import posixpath
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import NamedTuple, TypeVar

from l1jax.data.formats import READ, KindOf, file_kind, is_hidden, suffix_of
from l1jax.data.skipped_files import SkippedFile, skipped_kind, unsupported_file

# What a run writes. A folder with the first and one of the others is a work directory.
RUN_MARKERS = ("config.json", "checkpoints", "samples")
SELECTION_FILE = "selection.json"
RUN_OUTPUTS = frozenset((
    *RUN_MARKERS, SELECTION_FILE, "damaged", "tensorboard", "wandb", "path", "path.png",
    "samples.png",
))  # fmt: skip

MAX_VISITS = 1_000  # of one folder, by different links; with more, they multiply without end
_MAX_LINKS = 40  # that are followed for one name, as many as Linux follows

Member = TypeVar("Member")


def normalize_name(name: str) -> str:
    """Turn a member's name into a relative path with "/", where some programs put a backslash."""
    return posixpath.normpath(name.replace("\\", "/")).lstrip("/")


def escapes_root(name: str) -> bool:
    """Return whether a normalized name leads out of the folder that it would be extracted to."""
    return name.startswith("../")


def is_workdir(names: Container[str]) -> bool:
    """Return whether a folder with these entries is the work directory of a run or selection."""
    config, *folders = RUN_MARKERS
    return SELECTION_FILE in names or (
        config in names and any(folder in names for folder in folders)
    )


def select_members(
    files: Mapping[str, Member],
    links: Mapping[str, str],
    kind_of: KindOf = file_kind,
) -> tuple[dict[str, Member], list[SkippedFile]]:
    """Choose the files to read by name, and list what is left out; ignore hidden files.

    Args:
        files: the ordinary files of any kind by normalized name.
        links: where each link leads from its own folder, or from the top if it begins with "/".
        kind_of: tells by the name which files are read.

    Raises:
        ValueError: if links lead to one folder from too many places.
    """
    skipped: list[SkippedFile] = []
    if links:
        files, skipped = _follow_links(files, links, kind_of)
    workdirs = _find_workdirs(files)
    skipped += [
        SkippedFile(name or ".", "it is a run's", "work directory") for name in sorted(workdirs)
    ]
    chosen = {}
    for name, member in files.items():
        kind = kind_of(name)
        if not kind or is_hidden(name) or (workdirs and _is_run_output(name, workdirs)):
            continue
        if kind in READ:
            chosen[name] = member
        else:
            skipped.append(unsupported_file(name, kind))
    return chosen, skipped


def _find_workdirs(files: Iterable[str]) -> set[str]:
    """Find the work directories among the folders that hold these files."""
    marks = (RUN_MARKERS[0], SELECTION_FILE)
    suspects = {posixpath.dirname(name) for name in files if name.endswith(marks)}
    if not suspects:
        return set()
    entries: dict[str, set[str]] = {folder: set() for folder in suspects}
    for name in files:
        for folder, entry in _ancestors(name):
            if folder in entries:
                entries[folder].add(entry)
    return {folder for folder, names in entries.items() if is_workdir(names)}


def _is_run_output(name: str, workdirs: set[str]) -> bool:
    """Return whether a run wrote a file.

    That is any file below a work directory, but at the top only one of a known name.
    """
    return any(
        folder in workdirs and (folder or entry in RUN_OUTPUTS)
        for folder, entry in _ancestors(name)
    )


def _ancestors(name: str) -> Iterator[tuple[str, str]]:
    """Yield each folder that a file is in, from the top, with its entry on the way to the file."""
    folder = ""
    rest = name
    while rest:
        entry, _, rest = rest.partition("/")
        yield folder, entry
        folder = posixpath.join(folder, entry)


class _Folder(NamedTuple):
    """A folder on the way through an archive whose links are followed."""

    shown: str
    """Its name as it is seen through links."""
    real: str
    """Its name without links."""
    parent: "_Folder | None"

    def is_within(self, real: str) -> bool:
        """Return whether this folder is the one with that real name, or lies in it."""
        folder: _Folder | None = self
        while folder is not None:
            if folder.real == real:
                return True
            folder = folder.parent
        return False


def _follow_links(
    files: Mapping[str, Member],
    links: Mapping[str, str],
    kind_of: KindOf,
) -> tuple[dict[str, Member], list[SkippedFile]]:
    """List all files that links lead to or that are there, by the names they are seen under."""
    entries: dict[str, set[str]] = defaultdict(set)
    for name in (*files, *links):
        for folder, entry in _ancestors(name):
            entries[folder].add(entry)
    reached: dict[str, Member] = {}
    skipped = []
    visits: Counter[str] = Counter()
    pending = [_Folder("", "", None)]
    while pending:
        folder = pending.pop()
        visits[folder.real] += 1
        if visits[folder.real] > MAX_VISITS:
            raise ValueError(
                f"links lead to the folder {folder.real!r} from over {MAX_VISITS:,} places"
            )
        for entry in sorted(entries[folder.real]):
            name = posixpath.join(folder.shown, entry)
            real = posixpath.join(folder.real, entry)
            is_link = real in links
            target: str | None = real
            if is_link:
                target = _resolve(real, files, links, entries)
            if target is None:
                if not is_hidden(name) and (kind_of(name) or not suffix_of(name)):
                    skipped.append(_broken_link(name, links[real], kind_of))
            elif target in files:
                reached[name] = files[target]
            elif not (is_link and folder.is_within(target)):  # such a link would have no end
                pending.append(_Folder(name, target, folder))
    return reached, skipped


def _broken_link(name: str, target: str, kind_of: KindOf) -> SkippedFile:
    reason = f"it is a link to {target.lstrip('/')!r}, which is not in the archive"
    return SkippedFile(name, reason, skipped_kind(kind_of(name)))


def _resolve(
    name: str,
    files: Mapping[str, Member],
    links: Mapping[str, str],
    entries: Mapping[str, set[str]],
) -> str | None:
    """Return the file or folder that a name leads to; None if the archive holds no such one."""
    resolved = ""
    remaining = name.split("/")[::-1]
    followed = 0
    while remaining:
        part = remaining.pop()
        if part in ("", "."):
            continue
        if part == "..":
            if not resolved:
                return None
            resolved = posixpath.dirname(resolved)
            continue
        resolved = posixpath.join(resolved, part)
        if resolved in links:
            followed += 1
            if followed > _MAX_LINKS:
                return None
            target = links[resolved]
            resolved = posixpath.dirname(resolved)
            if target.startswith("/"):
                resolved = ""
            remaining += target.split("/")[::-1]
    if resolved in files or resolved in entries:
        return resolved
    return None

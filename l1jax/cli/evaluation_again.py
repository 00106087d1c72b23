"""`l1jax.evaluate --again evaluation.json`: the flags of that evaluation, and what has changed."""

import dataclasses
import glob
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from l1jax.cli.flags import parse, parse_path
from l1jax.cli.options import EvaluateOptions
from l1jax.config import InputError
from l1jax.processes.launchers import ProcessOptions
from l1jax.reading import read_json

JsonObject: TypeAlias = dict[str, Any]  # values that JSON can hold

PLACES = ("workdir", "model", "generated", "real", "path", "inception", "dinov2", "clip")
NEW_EACH_TIME = ("again", "output", "save_images", "save_statistics")
PROCESS_FIELDS = tuple(field.name for field in dataclasses.fields(ProcessOptions))
GENERATED = ("workdir", "model", "generated")
TIMES = frozenset({"bytes_per_second", "milliseconds_per_clip", "real_time_factor"})
ENVIRONMENT = ("settings", "versions", "device")
MAX_NAMED = 3  # numbers that differ which are shown


class Earlier(NamedTuple):
    """An evaluation that is repeated.

    path: of its file, as the user typed it.
    result: what the file holds.
    """

    path: str
    result: JsonObject

    @property
    def protocol(self) -> JsonObject:
        """How the numbers were taken."""
        return self.result["protocol"]


def read_earlier(value: str) -> Earlier:
    """Read the evaluation of `--again`.

    Raises:
        InputError: if the file cannot be read, or does not hold how it was measured.
    """
    path = parse_path("--again", value)
    remedy = "give a file that python -m l1jax.evaluate wrote"
    result = read_json(path, remedy=remedy)
    protocol = result.get("protocol") if isinstance(result, dict) else None
    if not isinstance(protocol, dict):
        raise InputError(f"`--again` (={value}) holds no evaluation: {remedy}.")
    has_both = all(isinstance(protocol.get(key), dict) for key in ("flags", "inputs"))
    if not has_both:
        raise InputError(
            f"`--again` (={value}) does not hold the flags of its evaluation, as a file of an "
            "earlier l1jax or one that was published: evaluate anew."
        )
    return Earlier(value, result)


def with_recorded_flags(options: EvaluateOptions, prog: str) -> EvaluateOptions:
    """Return the flags of the evaluation that `--again` names, beside what the user gives anew.

    Places of images and of weights may be given anew, because they may have moved.

    Args:
        options: the command's flags, with `--again`.
        prog: the command's name.

    Raises:
        InputError: if the file cannot be used, a flag is given that it has, or what it was of is
            no longer there.
    """
    earlier = read_earlier(options.again)
    try:
        recorded = parse(EvaluateOptions, list(_as_arguments(earlier)), prog)
    except InputError as error:
        raise InputError(f"`--again` (={earlier.path}) cannot be used: {error}") from error
    given = {}
    for field in dataclasses.fields(EvaluateOptions):
        value = getattr(options, field.name)
        if value == field.default:
            continue
        given[field.name] = value
        flag = f"--{field.name.replace('_', '-')}"
        if field.name in (*NEW_EACH_TIME, *PROCESS_FIELDS):
            continue
        if field.name not in PLACES:
            raise InputError(
                f"`{flag}` (={value}) must be left out beside --again, which repeats that of "
                f"{earlier.path}."
            )
        if not getattr(recorded, field.name) and field.name != "path":
            raise InputError(
                f"`{flag}` (={value}) must be left out beside --again: {earlier.path} has none."
            )
    chosen = dataclasses.replace(recorded, **given)
    _check_places(chosen, earlier)
    return chosen


def _as_arguments(earlier: Earlier) -> Iterator[str]:
    """Yield the recorded flags as arguments, with places relative to where the user is."""
    folder = os.path.dirname(earlier.path)
    for name, value in earlier.protocol["flags"].items():
        if name in PLACES and str(value).startswith("./"):
            value = os.path.normpath(os.path.join(folder, value))
        if value is True:
            yield f"--{name}"
        elif value is not False:
            yield f"--{name}={value}"


def _check_places(options: EvaluateOptions, earlier: Earlier) -> None:
    for name in PLACES:
        value = getattr(options, name)
        is_path = value and os.path.isabs(value) and not _is_pattern(value)
        if is_path and not os.path.exists(value):
            raise InputError(
                f"`--again` (={earlier.path}) was of --{name} {value}, which does not exist: give "
                f"--{name} with where it is now."
            )


def recorded_flags(options: EvaluateOptions, folder: Path, step: int | None) -> JsonObject:
    """Return the flags that repeat an evaluation, as `evaluation.json` holds them.

    Args:
        options: the command's flags.
        folder: of that file. Places in it are relative to it, so that a run can be moved.
        step: of the training of what drew the images; None without any.
    """
    is_run = any(_holds_checkpoints(getattr(options, name)) for name in GENERATED)
    flags: JsonObject = {}
    for field in dataclasses.fields(EvaluateOptions):
        value = getattr(options, field.name)
        if field.name in (*NEW_EACH_TIME, *PROCESS_FIELDS) or value in (None, ""):
            continue
        if field.name in PLACES:
            value = _portable(value, folder)
        flags[field.name.replace("_", "-")] = value
    if is_run and step is not None:
        flags["step"] = step
    return flags


def _holds_checkpoints(value: str | None) -> bool:
    return value is not None and os.path.isdir(
        os.path.join(os.path.expanduser(value), "checkpoints")
    )


def _portable(value: str, folder: Path) -> str:
    """Return a place relative to a folder if it is in it, else from the root; names as they are."""
    path = os.path.abspath(os.path.expanduser(value))
    if not (os.path.exists(path) or _is_pattern(value)):
        return value  # the name of a set of TFDS
    within = os.path.relpath(path, os.path.abspath(folder))
    if within.split(os.sep)[0] == "..":
        return path
    return os.path.join(".", within)


def _is_pattern(value: str) -> bool:
    """Return whether a path may stand for several, whose names are not looked up here."""
    return glob.has_magic(value) or "{" in value


def check_inputs(earlier: Earlier, inputs: Mapping[str, str], options: EvaluateOptions) -> None:
    """Raise if images or weights are not those of the evaluation that is repeated.

    Args:
        earlier: that evaluation.
        inputs: name of an input → its hash.
        options: the command's flags.

    Raises:
        InputError: naming the first that is another, and its flag.
    """
    before = earlier.protocol["inputs"]
    for name in before | inputs:
        then = str(before.get(name, "none"))
        now = inputs.get(name, "none")
        if then == now:
            continue
        flag = _flag_of(name, options)
        raise InputError(
            f"`{flag}` is not what {earlier.path} was of: the hash of the {name} was {then[:12]} "
            f"and is {now[:12]}. Give {flag} with what it was of, or leave --again out to evaluate "
            "what there is now."
        )


def _flag_of(name: str, options: EvaluateOptions) -> str:
    """Return the flag that gives an input."""
    for network in ("inception", "dinov2", "clip"):
        if network in name:
            return f"--{network}"
    if "generated" in name or "generator" in name:
        return next(f"--{flag}" for flag in GENERATED if getattr(options, flag) is not None)
    return "--path" if options.real is None else "--real"


def describe_changes(earlier: Earlier, protocol: Mapping[str, Any]) -> list[str]:
    """Say what versions, settings and devices are not those of the evaluation that is repeated.

    Args:
        earlier: that evaluation.
        protocol: of the new one.

    Returns:
        One sentence, or none if all are the same.
    """
    before = dict(_leaves({key: earlier.protocol.get(key) for key in ENVIRONMENT}))
    after = dict(_leaves({key: protocol.get(key) for key in ENVIRONMENT}))
    changes = [
        f"{path.rpartition('.')[2]} {before.get(path)}, now {after.get(path)}"
        for path in before | after
        if before.get(path) != after.get(path)
    ]
    if not changes:
        return []
    name = os.path.basename(earlier.path)  # the sentence may be published, a path may not
    return [f"{name} was measured with {'; '.join(changes)}: numbers may differ."]


def compare_with_earlier(earlier: Earlier, result: Mapping[str, Any]) -> list[str]:
    """Describe each number that is not that of the evaluation that is repeated; times are left out.

    Args:
        earlier: that evaluation.
        result: the new one.

    Returns:
        A line for each, such as "images.ms_ssim.mean: 0.1, now 0.2".
    """
    before = dict(_leaves(earlier.result))
    after = dict(_leaves(json.loads(json.dumps(result))))
    return [
        f"{path}: {before.get(path)}, now {after.get(path)}"
        for path in before | after
        if before.get(path) != after.get(path)
        and path.split(".")[0] not in ("protocol", "remarks")
        and not TIMES.intersection(path.split("."))
    ]


def describe_agreement(earlier: Earlier, differing: list[str]) -> str:
    """Say in one sentence whether an evaluation was repeated.

    Args:
        earlier: the evaluation that is repeated.
        differing: what `compare_with_earlier` returns.
    """
    if not differing:
        return f"all numbers are those of {earlier.path}, to the last bit"
    count = "1 number is not that"
    if len(differing) > 1:
        count = f"{len(differing):,} numbers are not those"
    named = "; ".join(differing[:MAX_NAMED])
    if len(differing) > MAX_NAMED:
        named += "; …"
    return f"{count} of {earlier.path}: {named}"


def _leaves(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Yield the path and the value of everything in JSON that holds nothing else."""
    parts: Iterator[tuple[Any, Any]] = iter(())
    if isinstance(value, dict):
        parts = iter(value.items())
    elif isinstance(value, list):
        parts = iter(enumerate(value))
    else:
        yield path, value
    for key, part in parts:
        yield from _leaves(part, f"{path}.{key}".removeprefix("."))

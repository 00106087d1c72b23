"""Flags of commands that take an experiment: they change the fields of its configuration."""

import argparse
import dataclasses
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import tyro

from l1jax.cli.experiment_file import load_experiment
from l1jax.cli.experiment_options import ExperimentOptions
from l1jax.cli.flag_names import flag_names
from l1jax.cli.flags import parse
from l1jax.cli.starting import experiment_of_source
from l1jax.config import (
    Config,
    CustomData,
    CustomModel,
    Optimizer,
    Origin,
    check,
    kinds,
    switch_kind,
)
from l1jax.config.custom import CUSTOM, is_custom

Choices = Mapping[str, Any]  # command-line name → dataclass, or the type of None
KIND_FIELDS = ("data", "model", "objective")
CUSTOM_KINDS = {"data": CustomData, "model": CustomModel}
# Optimizer of a second network → the objective that trains such a network.
SECOND_NETWORK = {"discriminator": "adversarial", "encoder": "variational"}


ExperimentFlags = TypeVar("ExperimentFlags", bound=ExperimentOptions)


def parse_experiment(
    options: type[ExperimentFlags],
    arguments: Sequence[str],
    prog: str,
    workdir: str = "runs/{}",
) -> ExperimentFlags:
    """Parse flags whose defaults are those of the experiment that `--config` names.

    Without it they are those of the experiment that `--from` begins from, or of digits.

    Some flags decide which other flags there are: `--data`, `--model` and `--objective` switch the
    kind of the experiment's field of that name, and flags such as `--generator.penalty` switch the
    kind of a field within it. They are therefore read before all others.

    Args:
        options: a subclass of `ExperimentOptions`.
        arguments: what the user typed after the command's name.
        prog: name of the command, for its messages.
        workdir: default of `--workdir`, where `{}` stands for the experiment's name.

    Raises:
        InputError: if the experiment file, a flag or a value is wrong.
        SystemExit: with status 0 after --help.
    """
    found = available_flags(options, arguments, workdir)
    remedies = _remedies(found.nested)
    parsed = parse(type(found.default), arguments, prog, found.default, remedies)
    chosen = _hide_options(parsed.experiment, found.experiment)
    chosen = dataclasses.replace(chosen, origin=found.origin)
    return dataclasses.replace(parsed, experiment=check(chosen))


class AvailableFlags(NamedTuple):
    """The flags that a command has, for what the user typed.

    Attributes:
        default: an instance of the command's options, whose fields are the flags.
        experiment: that the flags change.
        origin: of the experiment.
        nested: path of each field within it that has kinds → its kinds.
    """

    default: Any
    experiment: Config
    origin: Origin | None
    nested: Mapping[str, Choices]


def available_flags(
    options: type[ExperimentOptions], arguments: Sequence[str], workdir: str = "runs/{}"
) -> AvailableFlags:
    """Return the flags that there are for the kinds that the user chose.

    Args:
        options: a subclass of `ExperimentOptions`.
        arguments: what the user typed after the command's name.
        workdir: default of `--workdir`.

    Raises:
        InputError: if there is no such experiment.
    """
    selected = _read_flags(arguments, ["config", *KIND_FIELDS])
    config = "digits" if selected["config"] is None else selected["config"]
    name = Path(config).stem
    begun = None
    if selected["config"] is None:
        begun = experiment_of_source(arguments, workdir)
    if begun is None:
        experiment = load_experiment(config)
    else:
        experiment, name = begun
    origin = experiment.origin
    experiment = _switch_kinds(dataclasses.replace(experiment, origin=None), selected)
    nested = _nested_kinds(experiment)
    experiment = _switch_nested_kinds(experiment, nested, _read_flags(arguments, nested))
    kind_names = {name: _kind_name(getattr(experiment, name), kinds(name)) for name in KIND_FIELDS}
    shown = _show_options(experiment)
    extended = _add_kind_flags(options, experiment, type(shown), nested)
    default = extended(
        config=config,
        workdir=workdir.format(name),
        experiment=shown,
        **kind_names,
    )
    return AvailableFlags(default, experiment, origin, nested)


def _show_options(experiment: Config) -> Config:
    """Put the options of a user's own model in its place, so that they become its flags."""
    options = {
        name: part.options
        for name in CUSTOM_KINDS
        if isinstance(part := getattr(experiment, name), CUSTOM)
    }
    if not options:
        return experiment
    fields = [(name, type(value), value) for name, value in options.items()]
    shown: Any = dataclasses.make_dataclass("Config", fields, bases=(Config,), frozen=True)
    return shown(**{**vars(experiment), **options})


def _hide_options(parsed: Config, experiment: Config) -> Config:
    """Undo `_show_options`, with the options that were parsed."""
    values = dict(vars(parsed))
    for name in CUSTOM_KINDS:
        part = getattr(experiment, name)
        if isinstance(part, CUSTOM):
            values[name] = dataclasses.replace(part, options=values[name])
    return Config(**values)


def _read_flags(arguments: Sequence[str], names: Iterable[str]) -> dict[str, str | None]:
    """Return the values of the flags of these names, ignoring all other flags."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for name in names:
        parser.add_argument(f"--{name}", dest=name)
    try:
        return vars(parser.parse_known_args(list(arguments))[0])
    except argparse.ArgumentError:  # a flag has no value: tyro reports it later
        return dict.fromkeys(names)


def _switch_kinds(experiment: Config, selected: Mapping[str, str | None]) -> Config:
    """Switch data, model and objective to the selected kinds, and add the optimizer they need."""
    changes: dict[str, Any] = {}
    for name in KIND_FIELDS:
        chosen = selected[name]
        current = getattr(experiment, name)
        changes[name] = _switched(current, chosen, kinds(name))
        if name in CUSTOM_KINDS and is_custom(chosen):
            is_current = isinstance(current, CUSTOM) and current.factory == chosen
            changes[name] = current if is_current else CUSTOM_KINDS[name](str(chosen))
    for name, objective in SECOND_NETWORK.items():
        if selected["objective"] == objective and getattr(experiment, name) is None:
            changes[name] = Optimizer()
    return check(dataclasses.replace(experiment, **changes))


def _switch_nested_kinds(
    experiment: Config, nested: Mapping[str, Choices], selected: Mapping[str, str | None]
) -> Config:
    """Switch fields such as `generator.penalty` to the selected kinds."""
    for path, choices in nested.items():
        parent_name, name = path.split(".")
        parent = getattr(experiment, parent_name)
        value = _switched(getattr(parent, name), selected[path], choices)
        parent = dataclasses.replace(parent, **{name: value})
        experiment = dataclasses.replace(experiment, **{parent_name: parent})
    return experiment


def _add_kind_flags(
    options: type[ExperimentFlags],
    experiment: Config,
    shown: type[Config],
    nested: Mapping[str, Choices],
) -> type[ExperimentFlags]:
    """Extend the options by one flag for each nested kind, such as `--generator.penalty`.

    Args:
        options: the command's.
        experiment: whose fields decide which kinds there are.
        shown: its type with the options of a user's own model.
        nested: path of each nested field → its kinds.
    """
    flags: list[tuple[str, Any, Any]] = []
    if shown is not Config:
        hidden = tyro.conf.arg(name="")
        flags.append(("experiment", Annotated[shown, hidden], dataclasses.field()))
    for name in CUSTOM_KINDS:
        part = getattr(experiment, name)
        if isinstance(part, CUSTOM):
            own = Annotated[
                Literal[(*kinds(name), part.factory)],  # type: ignore[valid-type]
                tyro.conf.arg(help=f"Kind of {name}; here your own."),
            ]
            flags.append((name, own, dataclasses.field()))
    for path, choices in nested.items():
        parent_name, name = path.split(".")
        value = getattr(getattr(experiment, parent_name), name)
        help_text = f"Kind of {name}; it decides which --{path}.… flags there are."
        flag = tyro.conf.arg(name=path, help=help_text)
        hint = Annotated[Literal[tuple(choices)], flag]  # type: ignore[valid-type]
        default = dataclasses.field(default=_kind_name(value, choices))
        flags.append((path.replace(".", "__"), hint, default))
    extended: Any = dataclasses.make_dataclass(
        options.__name__, flags, bases=(options,), frozen=True
    )
    extended.__doc__ = options.__doc__
    return extended


def _nested_kinds(experiment: Config) -> dict[str, Choices]:
    """Return the fields within the experiment's parts that hold one of several dataclasses."""
    nested = {}
    for field in dataclasses.fields(experiment):
        part = getattr(experiment, field.name)
        if not dataclasses.is_dataclass(part):
            continue
        for name, hint in typing.get_type_hints(type(part)).items():
            if any(map(dataclasses.is_dataclass, typing.get_args(hint))):
                nested[f"{field.name}.{name}"] = kinds(name, type(part))
    return nested


def _switched(current: object, selected: str | None, choices: Choices) -> object:
    """Return the current value, or one of the selected kind.

    An unknown kind leaves the value as it is, and tyro reports it later.
    """
    kind = choices.get(selected or "", type(current))
    if kind is type(current):
        return current
    return switch_kind(current, kind)


def _kind_name(value: object, choices: Choices) -> str:
    if isinstance(value, CUSTOM):
        return value.factory
    return next(name for name, kind in choices.items() if kind is type(value))


def _remedies(nested: Mapping[str, Choices]) -> dict[str, str]:
    """Map the flags of every kind and every optimizer to the flag that makes them available."""
    remedies: dict[str, list[str]] = {}
    all_choices = {name: kinds(name) for name in KIND_FIELDS} | dict(nested)
    for name, choices in all_choices.items():
        for kind_name, kind in choices.items():
            for flag in flag_names(kind, f"--{name}."):
                remedies.setdefault(flag, []).append(f"--{name} {kind_name}")
    for name, objective in SECOND_NETWORK.items():
        for flag in flag_names(Optimizer, f"--{name}."):
            remedies[flag] = [f"--objective {objective}"]
    return {flag: " or ".join(alternatives) for flag, alternatives in remedies.items()}

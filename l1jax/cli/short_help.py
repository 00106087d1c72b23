"""The help of a command on one screen: its common flags, and headings of the others."""

import ast
import dataclasses
import inspect
import itertools
import shutil
import textwrap
import typing
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, NamedTuple

from l1jax.cli.flag_names import flag_names, positional_name
from l1jax.processes.launchers import ProcessOptions

MAX_WIDTH = 100  # characters of a line
MAX_NAME = 26  # characters of a flag that the column of names is made for
MAX_CHOICES = 12  # of a flag that are listed
COMMON = {
    "TrainOptions": (
        "config", "workdir", "from", "data", "model", "objective", "generator.penalty",
        "generator.penalty.strength", "generator.learning-rate", "steps", "batch-size",
        "patience", "try", "overwrite",
    ),
    "SelectOptions": (
        "config", "workdir", "from", "strengths", "grid", "criterion", "rule", "zeros", "worse",
        "folds", "path-steps", "network", "refit", "debias-steps", "overwrite",
    ),
    "EvaluateOptions": (
        "workdir", "model", "generated", "real", "step", "samples", "real-samples", "seeds",
        "inception", "image-size", "path", "save-statistics", "save-images", "again", "output",
    ),
}  # fmt: skip
"""Command → the flags that its help explains; it explains all those of other commands."""
ALL = "--help-all"
PROCESS_FLAGS = frozenset(field.name for field in dataclasses.fields(ProcessOptions))


def wants_short_help(arguments: Sequence[str]) -> bool:
    """Return whether the user asks for help, and not for that of all flags."""
    return bool({"-h", "--help"}.intersection(arguments)) and ALL not in arguments


def short_help(options: object, prog: str) -> str:
    """Return the help of the common flags, and the number of the others under each heading.

    Args:
        options: the dataclass of the command's flags, or an instance that holds their defaults.
        prog: the command's name.
    """
    width = min(MAX_WIDTH, shutil.get_terminal_size().columns)
    kind = options if isinstance(options, type) else type(options)
    fields = {field.name: field for field in _fields(options, "")}
    arguments = [field for field in fields.values() if field.is_positional]
    common = COMMON.get(kind.__name__, tuple(fields))
    shown = [fields[name] for name in common if name in fields]
    rows = [(field.flag, f"{field.text} ({_shown(field)})") for field in shown]
    description = inspect.getdoc(kind) or ""
    title = "flags, with their defaults:"
    others = [name[2:] for name in flag_names(options) if name[2:] not in common]
    others = [name for name in others if not name.rpartition(".")[2].startswith("no-")]
    lines = [
        " ".join(["usage:", prog, *(field.flag for field in arguments), "[FLAGS]"]),
        "",
        *textwrap.wrap(description.partition("\n\n")[0], width),
        "",
        f"common {title}" if others else title,
        *_table(rows, width),
    ]
    if others:
        lines += [
            "",
            f"further flags, which {ALL} shows with what they mean:",
            *_table(_count_headings(others), width),
        ]
    return "\n".join(lines)


def required(options: type) -> list[str]:
    """List the flags and arguments of a dataclass that have no default, as the user types them."""
    found = _fields(options, "")
    return [field.flag for field in found if field.default is dataclasses.MISSING]


def _count_headings(names: Iterable[str]) -> list[tuple[str, str]]:
    """Count flags by what stands before their first dot."""
    counts = Counter(map(_heading, names))
    return [(heading, f"{count} flag{'s' * (count > 1)}") for heading, count in counts.items()]


def _heading(name: str) -> str:
    group, dot, _ = name.partition(".")
    if dot:
        return f"--{group}.…"
    if name in PROCESS_FLAGS:
        return "of several processes"
    return "of the run"


def _table(rows: Sequence[tuple[str, str]], width: int) -> list[str]:
    """Write names beside their texts; a name that is too long has a line of its own."""
    column = 4 + max(len(name) for name, _ in rows if len(name) <= MAX_NAME)
    lines = []
    for name, text in rows:
        first, *others = textwrap.wrap(text, width - column, break_on_hyphens=False)
        if len(name) > column - 4:
            lines.append(f"  {name}")
            lines.append(" " * column + first)
        else:
            lines.append(f"  {name:<{column - 2}}{first}")
        lines += [" " * column + line for line in others]
    return lines


class Field(NamedTuple):
    """A flag, or an argument without one.

    Attributes:
        name: of the flag, without its hyphens.
        text: what it means.
        default: its value if it is not given; `dataclasses.MISSING` if it must be.
        is_positional: whether it is given without a flag.
    """

    name: str
    text: str
    default: object
    is_positional: bool

    @property
    def flag(self) -> str:
        """What the user types."""
        return self.name if self.is_positional else f"--{self.name}"


def _fields(options: Any, prefix: str) -> Iterable[Field]:
    """Give each flag of a dataclass, or of an instance, with those of the dataclasses in it."""
    kind = options if isinstance(options, type) else type(options)
    hints = typing.get_type_hints(kind, include_extras=True)
    texts = field_help(kind)
    for field in dataclasses.fields(options):
        value = getattr(options, field.name, dataclasses.MISSING)
        name = field.name.replace("_", "-")
        text = texts.get(field.name, "")
        for annotation in getattr(hints[field.name], "__metadata__", ()):
            named = getattr(annotation, "name", None)
            name = name if named is None else named
            text = getattr(annotation, "help", None) or text
        argument = positional_name(hints[field.name])
        if argument:
            yield Field(argument, text, value, True)
            continue
        if dataclasses.is_dataclass(value):
            yield from _fields(value, f"{prefix}{name}." if name else prefix)
            if not name or text == "":
                continue
        choices = _choices(hints[field.name])
        if 1 < len(choices) <= MAX_CHOICES:
            text = f"{text} One of {', '.join(choices)}."
        yield Field(f"{prefix}{name}", text, value, False)


def _choices(hint: object) -> list[str]:
    """Return the values that a flag can have, if they are listed."""
    if typing.get_origin(hint) is Annotated:
        hint = typing.get_args(hint)[0]
    if typing.get_origin(hint) is not Literal:
        return []
    return [str(choice) for choice in typing.get_args(hint)]


def field_help(kind: type) -> dict[str, str]:
    """Return the docstring below each field of a dataclass, those that it inherits included.

    Classes that were made while the program runs have none of their own.
    """
    texts: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(base)))
        except (OSError, TypeError, SyntaxError):
            continue
        (definition,) = tree.body
        body = getattr(definition, "body", [])
        for node, after in itertools.pairwise(body):
            if not isinstance(node, ast.AnnAssign) or not isinstance(after, ast.Expr):
                continue
            if isinstance(after.value, ast.Constant):
                texts[ast.unparse(node.target)] = inspect.cleandoc(str(after.value.value))
    return texts


def _shown(field: Field) -> str:
    value = field.default
    if value is dataclasses.MISSING:
        return "required"
    if value in (None, "", ()):
        return "none"
    if value is True:
        return f"yes, or --no-{field.name}"
    if value is False:
        return "no"
    return str(value)

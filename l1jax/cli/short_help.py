"""The help of commands with hundreds of flags: common ones on a screen, headings of the rest."""

import ast
import dataclasses
import inspect
import itertools
import shutil
import textwrap
import typing
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

from l1jax.cli.flags import flag_names

MAX_WIDTH = 100  # characters of a line
MAX_CHOICES = 12  # of a flag that are listed
COMMON = {
    "TrainOptions": (
        "config", "workdir", "from", "data", "model", "objective", "generator.penalty",
        "generator.penalty.strength", "generator.learning-rate", "steps", "batch-size",
        "patience", "try", "overwrite",
    ),
    "SelectOptions": (
        "config", "workdir", "from", "strengths", "criterion", "rule", "zeros", "worse", "folds",
        "path-steps", "network", "refit", "debias-steps", "overwrite",
    ),
}  # fmt: skip
ALL = "--help-all"


def wants_short_help(arguments: Sequence[str]) -> bool:
    """Return whether the user asks for help, and not for that of all flags."""
    return bool({"-h", "--help"}.intersection(arguments)) and ALL not in arguments


def short_help(default: Any, prog: str) -> str:
    """Return the help of the common flags, and the number of the others under each heading.

    Args:
        default: an instance of the command's flags, which holds their defaults.
        prog: the command's name.
    """
    width = min(MAX_WIDTH, shutil.get_terminal_size().columns)
    fields = dict(_fields(default, ""))
    rows = []
    common = COMMON[type(default).__name__]
    for name in common:
        if name in fields:
            text, value = fields[name]
            rows.append((f"--{name}", f"{text} ({_shown(value)})"))
    others = [name[2:] for name in flag_names(default) if name[2:] not in common]
    others = [name for name in others if not name.rpartition(".")[2].startswith("no-")]
    headings = _count_headings(others)
    description = inspect.getdoc(type(default)) or ""
    return "\n".join(
        [
            f"usage: {prog} [FLAGS]",
            "",
            *textwrap.wrap(description.partition("\n\n")[0], width),
            "",
            "common flags, with their defaults:",
            *_table(rows, width),
            "",
            f"further flags, which {ALL} shows with what they mean:",
            *_table(headings, width),
        ]
    )


def _count_headings(names: Iterable[str]) -> list[tuple[str, str]]:
    """Count flags by what stands before their first dot."""
    counts = Counter(name.partition(".")[0] if "." in name else "" for name in names)
    rows = []
    for heading, count in counts.items():
        shown = f"--{heading}.…" if heading else "of the run"
        rows.append((shown, f"{count} flag{'s' * (count > 1)}"))
    return rows


def _table(rows: Sequence[tuple[str, str]], width: int) -> list[str]:
    column = max(len(name) for name, _ in rows) + 4
    lines = []
    for name, text in rows:
        wrapped = textwrap.wrap(text, width - column)
        lines.append(f"  {name:<{column - 2}}{wrapped[0]}")
        lines += [" " * column + line for line in wrapped[1:]]
    return lines


def _fields(options: Any, prefix: str) -> Iterable[tuple[str, tuple[str, object]]]:
    """Give each flag's name with its help and its default."""
    hints = typing.get_type_hints(type(options), include_extras=True)
    texts = field_help(type(options))
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        name = field.name.replace("_", "-")
        text = texts.get(field.name, "")
        for annotation in getattr(hints[field.name], "__metadata__", ()):
            named = getattr(annotation, "name", None)
            name = name if named is None else named
            text = getattr(annotation, "help", None) or text
        if dataclasses.is_dataclass(value):
            yield from _fields(value, f"{prefix}{name}." if name else prefix)
            if not name or text == "":
                continue
        choices = _choices(hints[field.name])
        if 1 < len(choices) <= MAX_CHOICES:
            text = f"{text.rstrip('.')}: {', '.join(choices)}."
        yield f"{prefix}{name}", (text, value)


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


def _shown(value: object) -> str:
    if value is None or value == "":
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)

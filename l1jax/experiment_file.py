"""Experiment files: Python that gives a `Config`, run once, and one sentence on whatever goes wrong in it."""

import dataclasses
import difflib
import importlib.machinery
import importlib.util
import os
import re
import sys
import traceback
import types
from collections.abc import Sequence
from pathlib import Path

from l1jax import config as configuration
from l1jax.config import Config, InputError, check
from l1jax.reading import UnreadableFileError, check_input_file

LARGEST = 16 * 2**20  # bytes of a file


class _FreshSource(importlib.machinery.SourceFileLoader):
    """Loads a file as it is now, with no bytecode read or left beside it."""

    def get_code(self, fullname: str) -> types.CodeType | None:
        return self.source_to_code(self.get_data(self.path), self.path)


def experiments_folder() -> Path:
    """Where the experiments that come with l1jax are: beside the package in a checkout, in it once installed."""
    package = Path(__file__).parent
    installed = package / "experiments"
    return installed if installed.is_dir() else package.parent / "experiments"


def load_experiment(name: str) -> Config:
    """Run an experiment file's `get_config`.

    Args:
        name: path of a Python file, or the bare name of an experiment that comes with l1jax.

    Raises:
        InputError: if there is no such file, it does not run, or it gives no `Config`; whatever it raises,
            `SystemExit` and `KeyboardInterrupt` included.
    """
    path, shipped = (
        Path(os.path.abspath(os.path.expanduser(name))),
        experiments_folder() / f"{name}.py",
    )
    if not os.path.isfile(path) and os.path.isfile(
        shipped
    ):  # a folder of that name is a data set, not an experiment
        path = shipped
    if not os.path.isfile(path):
        known = ", ".join(sorted(p.stem for p in experiments_folder().glob("*.py")))
        raise InputError(
            f"`--config` (={name}) must be a Python file with `get_config`, or one of: {known}."
        )
    try:
        check_input_file(path, LARGEST)
    except UnreadableFileError as error:
        raise InputError(
            f"`--config` (={name}) is no experiment file: it {error.reason}."
        ) from error
    loader = _FreshSource(f"l1jax_experiment_{path.stem}", str(path))
    module = importlib.util.module_from_spec(
        importlib.machinery.ModuleSpec(loader.name, loader, origin=str(path))
    )
    sys.modules[loader.name] = module  # dataclasses defined in the file look themselves up there
    try:
        loader.exec_module(module)
        if not callable(getattr(module, "get_config", None)):
            raise InputError(f"`--config` (={name}) must define `get_config() -> Config`.")
        config = module.get_config()
    except InputError:
        raise
    except BaseException as error:
        raise InputError(f"`--config` (={name}) fails{_where_and_why(error, path)}.") from error
    if not isinstance(config, Config):
        raise InputError(
            f"`get_config` of `--config` (={name}) must return an l1jax.config.Config, not {type(config).__name__}."
        )
    return check(config)


def nearest(name: str, names: Sequence[str]) -> str:
    """Names that were perhaps meant: those that only miss what is before the dot, or else similar ones."""
    near = [n for n in names if n.endswith(f".{name.lstrip('-')}")] or difflib.get_close_matches(
        name, names
    )
    return f"; the nearest: {', '.join(near)}" if near else ""


def _where_and_why(error: BaseException, path: Path) -> str:
    """What went wrong in an experiment file, as ` at line 3: NameError: …`."""
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    text = _text(error)
    if isinstance(error, SyntaxError) and error.filename == str(path):
        lines, text = [error.lineno], error.msg
    line = f" at line {lines[-1]}" if lines and lines[-1] else ""
    why = ": ".join([type(error).__name__, *text.splitlines()[:1]]).rstrip(".")
    unknown = re.search(
        r"unexpected keyword argument '(\w+)'$", why
    )  # from 3.13 on, Python says which was meant
    kinds = [kind for kind in vars(configuration).values() if dataclasses.is_dataclass(kind)]
    known = sorted({f.name for kind in kinds for f in dataclasses.fields(kind)})
    return f"{line}: {why}{nearest(unknown[1], known) if unknown else ''}"


def _text(error: BaseException) -> str:
    """What an error says, shortened; nothing where its own text fails."""
    try:
        text = str(error)
    except Exception:
        return ""
    return text if len(text) < 300 else text[:297] + "…"

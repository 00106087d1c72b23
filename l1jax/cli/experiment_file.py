"""Experiment files: Python that returns a `Config`, and one sentence about whatever fails in it."""

import dataclasses
import importlib.machinery
import importlib.util
import os
import re
import sys
import traceback
import types
from pathlib import Path

from l1jax import config as configuration
from l1jax.cli.suggestions import suggest
from l1jax.config import Config, InputError, check
from l1jax.reading import UnreadableFileError, check_input_file

MAX_BYTES = 16 * 2**20  # of an experiment file
MAX_CHARACTERS = 300  # of an error's text


class _FreshSource(importlib.machinery.SourceFileLoader):
    """Load a file as it is now, without reading or leaving bytecode beside it."""

    def get_code(self, fullname: str) -> types.CodeType | None:
        return self.source_to_code(self.get_data(self.path), self.path)


def experiments_folder() -> Path:
    """Return the folder of the experiments that come with l1jax.

    It is in the package once installed, and beside the package in a checkout.
    """
    package = Path(__file__).parent.parent
    installed = package / "experiments"
    return installed if installed.is_dir() else package.parent / "experiments"


def load_experiment(name: str) -> Config:
    """Run an experiment file's `get_config`.

    Args:
        name: path of a Python file, or the bare name of an experiment that comes with l1jax.

    Raises:
        InputError: if there is no such file, it does not run, or it returns no `Config`. Whatever
            the file raises becomes such an error, `SystemExit` and `KeyboardInterrupt` included.
    """
    path = _find(name)
    try:
        check_input_file(path, MAX_BYTES)
    except UnreadableFileError as error:
        raise InputError(
            f"`--config` (={name}) is no experiment file: it {error.reason}."
        ) from error
    loader = _FreshSource(f"l1jax_experiment_{path.stem}", str(path))
    spec = importlib.machinery.ModuleSpec(loader.name, loader, origin=str(path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[loader.name] = module  # dataclasses defined in the file look themselves up there
    try:
        loader.exec_module(module)
        if not callable(getattr(module, "get_config", None)):
            raise InputError(f"`--config` (={name}) must define `get_config() -> Config`.")
        config = module.get_config()
    except InputError:
        raise
    except BaseException as error:
        raise InputError(f"`--config` (={name}) fails{_describe(error, path)}.") from error
    if not isinstance(config, Config):
        raise InputError(
            f"`get_config` of `--config` (={name}) must return an l1jax.config.Config, not "
            f"{type(config).__name__}."
        )
    return check(config)


def _find(name: str) -> Path:
    """Return the experiment file of this path or name.

    Raises:
        InputError: if there is none.
    """
    path = Path(os.path.abspath(os.path.expanduser(name)))
    if os.path.isfile(path):
        return path
    shipped = experiments_folder() / f"{name}.py"  # even if a folder has that name: it is data
    if os.path.isfile(shipped):
        return shipped
    known = ", ".join(sorted(file.stem for file in experiments_folder().glob("*.py")))
    raise InputError(
        f"`--config` (={name}) must be a Python file with `get_config`, or one of: {known}."
    )


def _describe(error: BaseException, path: Path) -> str:
    """Describe what went wrong in an experiment file, as ` at line 3: NameError: …`."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    text = _text(error)
    if isinstance(error, SyntaxError) and error.filename == str(path):
        lines = [error.lineno]
        text = error.msg
    place = f" at line {lines[-1]}" if lines and lines[-1] else ""
    first_line = text.splitlines()[:1]
    reason = ": ".join([type(error).__name__, *first_line]).rstrip(".")
    return f"{place}: {reason}{_suggest_field(reason)}"


def _suggest_field(reason: str) -> str:
    """Suggest fields of configurations for an unknown one; from 3.13 on, Python does so itself."""
    unknown = re.search(r"unexpected keyword argument '(\w+)'$", reason)
    if unknown is None:
        return ""
    kinds = [kind for kind in vars(configuration).values() if dataclasses.is_dataclass(kind)]
    known = {field.name for kind in kinds for field in dataclasses.fields(kind)}
    return suggest(unknown[1], sorted(known))


def _text(error: BaseException) -> str:
    """Return an error's text, shortened; nothing if the error fails to produce its text."""
    try:
        text = str(error)
    except Exception:
        return ""
    return text if len(text) < MAX_CHARACTERS else text[: MAX_CHARACTERS - 3] + "…"

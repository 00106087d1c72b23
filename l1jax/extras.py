"""What the extras bring, and the error of a module of l1jax that lacks one.

`pip install l1jax` brings what `import l1jax` needs. Training, models and the command lines need
more packages, which extras bring. `explain_missing_extras` makes their absence an error that names
the extra, for every import statement of the package at once.
"""

import importlib
import sys
from types import FrameType, ModuleType, TracebackType
from typing import NoReturn

EXTRAS = {
    "PIL": "train",
    "flatbuffers": "train",
    "flax": "train",
    "grain": "train",
    "matplotlib": "train",
    "orbax": "train",
    "rich": "train",
    "safetensors": "train",
    "sklearn": "train",
    "tensorboardX": "train",
    "tensorflow_datasets": "train",
    "tyro": "train",
    "tensorflow": "tfds",
    "wandb": "wandb",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "huggingface_hub": "hub",
    "gradio": "demo",
    "pillow_heif": "heif",
    "pyarrow": "parquet",
    "soundfile": "audio",
    "soxr": "audio",
}
"""The extra of pyproject.toml that brings a package, by the name that import statements have."""


class MissingExtraError(ModuleNotFoundError):
    """A package is missing that an extra of l1jax brings; `name` is the package."""


class _ExtrasFinder:
    """Finds no module; raises `MissingExtraError` if l1jax imports one of `EXTRAS` in vain."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: ModuleType | None = None) -> None:
        """Say which extra is missing; Python asks here only for what it found nowhere else."""
        del path, target  # the packages of `EXTRAS` are top-level modules
        extra = EXTRAS.get(name)
        if extra is None:
            return
        importer = _importer(sys._getframe(1))
        if importer.partition(".")[0] == "l1jax":
            _raise_missing(name, extra, importer)


def explain_missing_extras() -> None:
    """Make the absence of an extra's package an error that says what to install.

    Only import statements of l1jax's own modules are affected: for those of other packages, and for
    `importlib.util.find_spec`, a missing package stays as missing as it was. A command, which is
    run by `python -m l1jax.…` or `l1jax …`, shows the error as one sentence.
    """
    if _ExtrasFinder not in sys.meta_path:
        sys.meta_path.append(_ExtrasFinder)


def require_extra(extra: str) -> None:
    """Import what an extra brings, so that its absence is said before long work begins.

    Args:
        extra: one of the values of `EXTRAS`.

    Raises:
        MissingExtraError: if a package of it is missing.
    """
    for package, brought_by in EXTRAS.items():
        if brought_by == extra:
            importlib.import_module(package)


def _importer(frame: FrameType | None) -> str:
    """Return the name of the module whose import statement runs, empty if it only looks.

    Args:
        frame: of what Python's import system calls; its own frames come next.
    """
    importing = False
    while frame is not None:
        name = _module_name(frame)
        if name == "importlib.util":
            return ""
        if name.partition(".")[0] in ("importlib", "_frozen_importlib"):
            importing = True
        elif importing:
            return name
        frame = frame.f_back
    return ""


def _module_name(frame: FrameType) -> str:
    """Return the name under which a frame's module is imported, even if it runs as `__main__`."""
    spec = frame.f_globals.get("__spec__")
    return getattr(spec, "name", None) or frame.f_globals.get("__name__", "")


def _raise_missing(package: str, extra: str, importer: str) -> NoReturn:
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    program: str = getattr(spec, "name", None) or ""
    needing = f"`{importer}`"
    if program.startswith("l1jax."):
        needing = f"`python -m {program}`"
        sys.excepthook = _show_sentence
    raise MissingExtraError(
        f"{needing} needs the package {package}, which is missing: pip install 'l1jax[{extra}]'.",
        name=package,
    )


def _show_sentence(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    """End a command with exit status 2 and one sentence if an extra is missing."""
    if not isinstance(error, MissingExtraError):
        sys.__excepthook__(kind, error, traceback)
        return
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)

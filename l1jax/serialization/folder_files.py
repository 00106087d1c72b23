"""What every folder of a model has: complete files, their hashes, and `config.json`.

None of it is executed.
"""

import importlib.util
import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from jaxtyping import PyTree

from l1jax.config import Config, InputError, from_json
from l1jax.config.fields import JsonObject
from l1jax.evaluation.tensors import Tensors, load_tensors, save_tensors
from l1jax.files import atomic_folder
from l1jax.outputs import write_error
from l1jax.reading import check_input_file, read_bytes, read_json, sha256
from l1jax.serialization.named_weights import nested
from l1jax.serialization.onnx_program import ONNX
from l1jax.serialization.stablehlo_program import STABLEHLO
from l1jax.serialization.weight_encoding import decode

FORMAT = 1  # raised when an older l1jax could no longer read the folder
WEIGHTS = "model.safetensors"
CONFIG = "config.json"
CARD = "README.md"
PROGRAMS = (STABLEHLO, ONNX)
# Limits, so that a damaged or hostile folder is refused before it fills the memory.
MAX_LAYERS = 1_000
MAX_LAYOUT_ROWS = 10_000
MAX_STEP = 2**63 - 1
# Bytes for each number of the weights; programs store some numbers more than once.
MAX_WEIGHT_BYTES = 4
MAX_PROGRAM_BYTES = 16
# Bytes for everything else in a file.
EXTRA_BYTES = 64 * 2**20


def write_folder(
    folder: Path,
    tensors: Tensors,
    metadata: dict[str, str],
    programs: Mapping[str, bytes],
    description: JsonObject,
    make_card: Callable[[dict[str, int]], str],
) -> None:
    """Write the files of a model, which appear whole or not at all.

    Args:
        folder: a new or an empty one.
        tensors: the encoded weights.
        metadata: of the encoding.
        programs: file name → content of the same network for other programs.
        description: what `config.json` says; the hashes of the files are added.
        make_card: (file name → bytes) → the model card.

    Raises:
        InputError: if the folder cannot be written.
    """
    try:
        with atomic_folder(folder) as partial:
            save_tensors(partial / WEIGHTS, tensors, metadata)
            for name, content in programs.items():
                (partial / name).write_bytes(content)
            files = {path.name: sha256(path) for path in sorted(partial.iterdir())}
            described = json.dumps({**description, "files": files}, indent=1) + "\n"
            (partial / CONFIG).write_text(described, encoding="utf-8")
            sizes = {name: (partial / name).stat().st_size for name in (WEIGHTS, *programs)}
            (partial / CARD).write_text(make_card(sizes), encoding="utf-8")
    except OSError as error:
        raise write_error(folder, error) from error


def read_description(path: Path, kinds: Mapping[str, type]) -> JsonObject:
    """Read a folder's `config.json`, and check its format and types.

    Args:
        path: of the file.
        kinds: name → type of each value that it must have.

    Raises:
        InputError: if it is not that of a model of this format, or a value has another type.
    """
    described = read_json(path)
    if not isinstance(described, dict) or described.get("library_name") != "l1jax":
        raise InputError(f"`{path}` is not that of a model exported by l1jax.")
    if described.get("format") != FORMAT or described["format"] is True:
        raise InputError(
            f"`{path}` has the format {described.get('format')!r}, and this l1jax reads "
            f"{FORMAT}: export the model anew, or install the l1jax that wrote it."
        )
    for name, kind in kinds.items():
        if type(described.get(name)) is not kind:
            shown = repr(described.get(name, "missing"))[:40]
            raise InputError(f"`{name}` (={shown}) of `{path}` must be of type {kind.__name__}.")
    if not 0 <= described["step"] <= MAX_STEP:
        raise InputError(f"`step` (={described['step']}) of `{path}` must be from 0 to {MAX_STEP}.")
    return described


def read_experiment(values: object, where: Path, *, aside: Collection[str] = ()) -> Config:
    """Return the experiment of a `config.json`.

    Args:
        values: what stands there.
        where: its path, for messages.
        aside: fields whose own packages are not imported, as `l1jax.config.from_json` says.

    Raises:
        InputError: if it holds none of this l1jax.
    """
    try:
        return from_json(values, aside=aside)
    except InputError as error:
        raise InputError(f"`{where}` holds no experiment of this l1jax: {error}") from error
    except RecursionError as error:
        raise InputError(
            f"`{where}` holds no experiment of this l1jax: it is nested too deeply."
        ) from error


def check_package(experiment: JsonObject, folder: Path) -> None:
    """Raise if a user's own model is a module that lies in the model's own folder.

    What was downloaded is never executed, not even where a command runs in that folder.

    Args:
        experiment: of the folder's `config.json`.
        folder: of the model.

    Raises:
        InputError: if the module would be imported from there.
    """
    model = experiment.get("model")
    factory = model.get("factory") if isinstance(model, dict) else None
    if not isinstance(factory, str):
        return
    package = factory.partition(":")[0].partition(".")[0]
    try:
        spec = importlib.util.find_spec(package) if package else None
    except (ImportError, ValueError):
        return  # which is said where it is imported
    found = [] if spec is None else [*(spec.submodule_search_locations or []), spec.origin or ""]
    if any(name and Path(name).resolve().is_relative_to(folder.resolve()) for name in found):
        raise InputError(
            f"`model.factory` (={factory}) is a module in the folder of the model, {folder}, from "
            "which nothing is executed: install the package that has it."
        )


def read_checked(file: Path, max_bytes: int, described: JsonObject) -> bytes:
    """Return the content of a file whose hash is that of `config.json`.

    Args:
        file: of the folder.
        max_bytes: the most that it may have.
        described: what `config.json` says.

    Raises:
        InputError: if it is missing, too large or another one.
    """
    check_hash(file, max_bytes, described)
    return read_bytes(file, max_bytes)


def check_hash(file: Path, max_bytes: int, described: JsonObject) -> None:
    """Raise unless a file's hash is that of `config.json`.

    Args:
        file: of the folder.
        max_bytes: the most that it may have.
        described: what `config.json` says.

    Raises:
        InputError: if it is missing, too large or another one.
    """
    check_input_file(file, max_bytes)
    expected = described["files"].get(file.name)
    if expected != sha256(file):
        problem = "is damaged or another model's" if expected else "is not listed"
        raise InputError(f"`{file}` {problem}: its sha256 is not that of {CONFIG}; export it anew.")


def read_weights(file: Path, shapes: Mapping[str, tuple[int, ...]]) -> tuple[PyTree, PyTree]:
    """Return the parameters and the batch statistics of a folder's weights.

    Args:
        file: the weights.
        shapes: that they must have, by `params/…` and `statistics/…`.

    Raises:
        InputError: if they are others.
    """
    try:
        tensors = decode(*load_tensors(file), shapes)
    except InputError as error:
        raise InputError(f"`{file}` does not hold the model of {CONFIG}: {error}") from error
    return nested(tensors, "params"), nested(tensors, "statistics")

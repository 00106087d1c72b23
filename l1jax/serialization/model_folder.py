"""Write a model as a folder in the Hugging Face layout, and read it; none of it is executed.

model.safetensors   the weights, as `l1jax.serialization.weight_encoding` writes them
config.json         the experiment, the network's layout, the step, the sha256 of each other file
README.md           a model card
model.stablehlo, model.onnx   if asked for: the network with its weights, for other programs
"""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import jax
from jaxtyping import Array, PyTree

import l1jax
from l1jax.config import Config, CustomModel, InputError, to_json
from l1jax.config.choices import Values
from l1jax.config.fields import JsonObject
from l1jax.evaluation.zeros import count_zeros
from l1jax.models import Generator, Network
from l1jax.models.layout.layout_network import TrainedGenerator
from l1jax.outputs import check_output_folder
from l1jax.reading import read_json
from l1jax.reporting.model_card import model_card
from l1jax.serialization.folder_files import (
    CONFIG,
    EXTRA_BYTES,
    FORMAT,
    MAX_LAYERS,
    MAX_LAYOUT_ROWS,
    MAX_PROGRAM_BYTES,
    MAX_WEIGHT_BYTES,
    PROGRAMS,
    WEIGHTS,
    check_hash,
    check_package,
    read_checked,
    read_description,
    read_experiment,
    read_weights,
    write_folder,
)
from l1jax.serialization.named_weights import named_leaves, named_tensors, nested
from l1jax.serialization.onnx_program import ONNX, open_onnx
from l1jax.serialization.probe_images import probe
from l1jax.serialization.rebuild_generator import rebuild
from l1jax.serialization.stablehlo_program import STABLEHLO, open_stablehlo
from l1jax.serialization.weight_encoding import Loss, decode, encode, losses

MAX_UNKNOWN_NUMBERS = 2**28  # weights of a program whose network is not known here
OPENERS = {STABLEHLO: open_stablehlo, ONNX: open_onnx}
KINDS = {
    "step": int,
    "generator": dict,
    "layout": dict,
    "files": dict,
    "notes": dict,
    "experiment": dict,
}


class ExportedModel(NamedTuple):
    """A model that was read."""

    generator: Generator
    params: PyTree  # like `batch_stats` empty for a program, which holds its own
    batch_stats: PyTree
    experiment: Config
    layout: JsonObject
    step: int
    notes: JsonObject


def write_model(
    folder: Path,
    compact: TrainedGenerator,
    experiment: Config,
    step: int,
    notes: JsonObject,
    *,
    sparse: bool = False,
    values: Values = "float32",
    programs: Mapping[str, bytes] | None = None,
) -> list[Loss]:
    """Write a model to a folder, which appears whole or not at all.

    Args:
        folder: a new or an empty one.
        compact: the network and its weights.
        experiment: that it was trained by.
        step: of the training.
        notes: JSON values that are stored with it. The model card shows `command`, `licence`,
            `evaluation`, which `l1jax.evaluate` wrote, and `compaction`, of `l1jax.compact`.
        sparse: whether zeros are left out of the weights; other tools read only dense ones.
        values: what kernels are rounded to.
        programs: file name → content of the same network for other programs.

    Returns:
        How much rounding changed each array and, under the name `images`, a few images; empty for
        float32.

    Raises:
        InputError: if the folder is not empty or cannot be written, or a value or the notes do not
            fit.
    """
    check_output_folder(folder)
    tensors = named_tensors(compact.params, compact.batch_stats)
    written, metadata = encode(tensors, sparse=sparse, values=values)
    back = decode(written, metadata, {name: value.shape for name, value in tensors.items()})
    generator = compact.generator
    programs = programs or {}
    lost = losses(tensors, back)
    if lost:
        rounded = probe(generator, nested(back, "params"), nested(back, "statistics"))
        lost += losses(
            {"images": probe(generator, compact.params, compact.batch_stats)}, {"images": rounded}
        )
    write_folder(
        folder,
        written,
        metadata,
        programs,
        {**_description(compact, experiment, step), "notes": notes},
        lambda sizes: _card(compact, experiment, step, sizes, lost, notes),
    )
    return lost


def _description(compact: TrainedGenerator, experiment: Config, step: int) -> JsonObject:
    """Return what `config.json` says about the model itself."""
    generator = compact.generator
    image_range = generator.image_range
    return {
        "library_name": "l1jax",
        "format": FORMAT,
        "versions": {"l1jax": l1jax.__version__, "jax": jax.__version__},
        "step": step,
        "generator": {
            "latent_size": generator.latent_size,
            "image_shape": list(generator.image_shape),
            "image_range": None if image_range is None else list(image_range),
            "classes": generator.classes,
        },
        "layout": compact.layout,
        "experiment": to_json(experiment),
    }


def _card(
    compact: TrainedGenerator,
    experiment: Config,
    step: int,
    sizes: dict[str, int],
    lost: list[Loss],
    notes: JsonObject,
) -> str:
    counted = count_zeros(compact.params)
    zeros = {
        "parameters": counted.parameters,
        "effective_parameters": counted.effective_parameters,
        "kernels": counted.sparsity,
        "dead_outputs": counted.dead_outputs,
    }
    try:
        return model_card(
            experiment,
            compact.generator,
            step,
            zeros,
            sizes,
            lost,
            notes,
            is_layout=bool(compact.layout),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        # The notes of a downloaded model may be anything.
        raise InputError(
            f"`notes` are not what a model card is made of ({error!r}): leave them out."
        ) from error


def is_model(path: Path) -> bool:
    """Return whether a path is that of an exported model rather than of a work directory."""
    if os.path.isfile(path):
        return path.name in (WEIGHTS, *PROGRAMS)
    return any(os.path.isfile(path / name) for name in (WEIGHTS, *PROGRAMS))


def read_model(path: Path) -> ExportedModel:
    """Read a folder's weights, or a program in it, and check them against its configuration.

    Args:
        path: of the folder, or of its `model.safetensors`, `model.stablehlo` or `model.onnx`.

    Raises:
        InputError: if something is missing, damaged, of another format or does not fit.
    """
    file = path
    if os.path.isdir(path):
        file = path / WEIGHTS
    if not os.path.exists(path):
        raise InputError(
            f"`--model` (={path}) does not exist: make it with python -m l1jax.export."
        )
    if file.name not in (WEIGHTS, *PROGRAMS):
        known = ", ".join((WEIGHTS, *PROGRAMS))
        raise InputError(
            f"`--model` (={path}) must be a folder made by python -m l1jax.export, or its {known}."
        )
    where = file.parent / CONFIG
    described = _read_config(where)
    _check_depth(described, where)
    # Neither a program nor a compact network needs the package of a user's own model.
    needs_package = file.name not in PROGRAMS and not described["layout"]
    if needs_package:
        check_package(described["experiment"], file.parent)
    aside = ("data",) if needs_package else ("data", "model")
    experiment = read_experiment(described["experiment"], where, aside=aside)
    generator, shapes = _network(experiment, described, where, needs_package=needs_package)
    numbers = sum(math.prod(shape) for shape in shapes.values())
    if isinstance(experiment.model, CustomModel) and not numbers:
        numbers = MAX_UNKNOWN_NUMBERS
    number_bytes = MAX_WEIGHT_BYTES
    if file.name in PROGRAMS:
        number_bytes = MAX_PROGRAM_BYTES
    max_bytes = EXTRA_BYTES + number_bytes * numbers
    if file.name in PROGRAMS:
        content = read_checked(file, max_bytes, described)
        generator = OPENERS[file.name](generator, content, file)
        params = {}
        statistics = {}
    else:
        check_hash(file, max_bytes, described)
        params, statistics = read_weights(file, shapes)
    return ExportedModel(
        generator,
        params,
        statistics,
        experiment,
        described["layout"],
        described["step"],
        described["notes"],
    )


def _network(
    experiment: Config, described: JsonObject, where: Path, *, needs_package: bool
) -> tuple[Generator, dict[str, tuple[int, ...]]]:
    """Build the network without weights, and the shapes that they must have.

    There are no shapes for a program of a user's own model, whose network only its package has.
    """
    try:
        like = _described_generator(described["generator"])
        if isinstance(experiment.model, CustomModel) and not (needs_package or described["layout"]):
            return like, {}
        generator = rebuild(experiment.model, like.image_shape, described["layout"], like)
        params, statistics = jax.eval_shape(
            lambda key: generator.network.init(key), jax.random.key(0)
        )
    except Exception as error:  # whatever a layout that someone changed makes of the network
        why = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"`{where}` does not describe a network: {why}") from error
    return generator, {name: leaf.shape for name, leaf in named_leaves(params, statistics)}


def _described_generator(values: JsonObject) -> Generator:
    """Return what `config.json` says of the latents and images, around no network."""
    height, width, channels = values["image_shape"]
    image_range = None
    if values["image_range"] is not None:
        low, high = map(float, values["image_range"])
        image_range = (low, high)
    latent_size = int(values["latent_size"])

    def apply(
        params: PyTree,
        batch_stats: PyTree,
        inputs: Array,
        train: bool,
        label: Array | None = None,
        key: Array | None = None,
    ) -> tuple[Array, PyTree]:
        raise NotImplementedError("a layout or a program takes the place of this network")

    empty = Network(lambda key: ({}, {}), apply)
    return Generator(
        empty, latent_size, (height, width, channels), image_range, int(values["classes"])
    )


def _check_depth(described: JsonObject, where: Path) -> None:
    """Raise if there are too many layers, before they are read or built.

    Raises:
        InputError: if there are more.
    """
    rows = described["layout"].get("nodes")
    model = described["experiment"].get("model")
    counts = {}
    if isinstance(rows, list):
        counts["layout.nodes"] = len(rows)
    if not isinstance(model, dict):
        model = {}
    for field, value in model.items():
        if isinstance(value, list):
            counts[f"experiment.model.{field}"] = len(value)
        elif field == "blocks" and isinstance(value, int):
            counts[f"experiment.model.{field}"] = value
    for field, count in counts.items():
        limit = MAX_LAYERS
        if field == "layout.nodes":
            limit = MAX_LAYOUT_ROWS
        if count > limit:
            raise InputError(
                f"`{field}` of `{where}` has {count:,} layers, and may have at most {limit:,}."
            )


def _read_config(path: Path) -> JsonObject:
    """Read the configuration's values, each of the right type."""
    described = read_json(path)
    if isinstance(described, dict) and "language_model" in described:
        raise InputError(
            f"`--model` (={path.parent}) is a model of text, and this command works on images and "
            "points: python -m l1jax.sample draws text from it."
        )
    described = read_description(path, KINDS)
    shape = described["generator"].get("image_shape")
    sides = (
        isinstance(shape, list)
        and len(shape) == 3
        and all(type(side) is int and side > 0 for side in shape)
    )
    if not sides or math.prod(shape) > 2**31:
        raise InputError(
            f"`generator.image_shape` (={repr(shape)[:40]}) of `{path}` must be three sides of "
            "an image."
        )
    return described

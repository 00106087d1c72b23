"""Write a language model as a folder in the Hugging Face layout, and read it.

The files are those of `l1jax.serialization.model_folder`. The programs compute logits, see
`l1jax.serialization.text_program`.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import jax
from jaxtyping import PyTree

import l1jax
from l1jax import config
from l1jax.build import build_language_model, example_shape
from l1jax.config import Config, InputError, to_json
from l1jax.config.choices import Values
from l1jax.config.fields import JsonObject
from l1jax.evaluation.zeros import count_zeros
from l1jax.models import LanguageModel
from l1jax.outputs import check_output_folder
from l1jax.reading import read_json
from l1jax.reporting.model_card import text_card
from l1jax.serialization.folder_files import (
    CONFIG,
    EXTRA_BYTES,
    FORMAT,
    MAX_LAYERS,
    MAX_WEIGHT_BYTES,
    PROGRAMS,
    WEIGHTS,
    check_hash,
    read_description,
    read_experiment,
    read_weights,
    write_folder,
)
from l1jax.serialization.named_weights import named_leaves, named_tensors, nested
from l1jax.serialization.text_program import probe_logits
from l1jax.serialization.weight_encoding import Loss, decode, encode, losses

KINDS = {"step": int, "language_model": dict, "files": dict, "notes": dict, "experiment": dict}


class ExportedText(NamedTuple):
    """A language model that was read or is to be written."""

    model: LanguageModel
    params: PyTree
    batch_stats: PyTree
    experiment: Config
    step: int
    notes: JsonObject


def write_text_model(
    folder: Path,
    exported: ExportedText,
    *,
    sparse: bool = False,
    values: Values = "float32",
    programs: Mapping[str, bytes] | None = None,
) -> list[Loss]:
    """Write a language model to a folder, which appears whole or not at all.

    Args:
        folder: a new or an empty one.
        exported: the model. Its notes are JSON values that are stored with it; the model card shows
            `command`, `licence` and `evaluation`.
        sparse: whether zeros are left out of the weights; other tools read only dense ones.
        values: what kernels are rounded to.
        programs: file name → content of the same network for other programs.

    Returns:
        How much rounding changed each array and, under the name `logits`, a few logits; empty for
        float32.

    Raises:
        InputError: if the folder is not empty or cannot be written, or a value does not fit.
    """
    check_output_folder(folder)
    model = exported.model
    tensors = named_tensors(exported.params, exported.batch_stats)
    written, metadata = encode(tensors, sparse=sparse, values=values)
    back = decode(written, metadata, {name: value.shape for name, value in tensors.items()})
    lost = losses(tensors, back)
    if lost:
        rounded = probe_logits(model, nested(back, "params"), exported.batch_stats)
        wanted = probe_logits(model, exported.params, exported.batch_stats)
        lost += losses({"logits": wanted}, {"logits": rounded})
    counted = count_zeros(exported.params)
    description = {
        "library_name": "l1jax",
        "format": FORMAT,
        "versions": {"l1jax": l1jax.__version__, "jax": jax.__version__},
        "step": exported.step,
        "language_model": {"vocabulary": model.vocabulary, "context": model.context},
        "experiment": to_json(exported.experiment),
        "notes": exported.notes,
    }

    def make_card(sizes: dict[str, int]) -> str:
        try:
            return text_card(
                exported.experiment, exported.step, counted.to_json(), sizes, lost, exported.notes
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            # The notes of a downloaded model may be anything.
            raise InputError(
                f"`notes` are not what a model card is made of ({error!r}): leave them out."
            ) from error

    write_folder(folder, written, metadata, programs or {}, description, make_card)
    return lost


def is_text_folder(path: Path) -> bool:
    """Return whether a path is that of an exported language model, or of a file in its folder."""
    folder = path if os.path.isdir(path) else path.parent
    if not any(os.path.isfile(folder / name) for name in (WEIGHTS, *PROGRAMS)):
        return False
    try:
        described = read_json(folder / CONFIG)
    except InputError:
        return False
    return isinstance(described, dict) and "language_model" in described


def read_text_model(path: Path) -> ExportedText:
    """Read a folder's weights and check them against its configuration.

    Args:
        path: of the folder, or of its `model.safetensors`.

    Raises:
        InputError: if something is missing, damaged, of another format or does not fit.
    """
    file = path / WEIGHTS if os.path.isdir(path) else path
    if file.name != WEIGHTS:
        raise InputError(
            f"`--model` (={path}) must be the folder, or its {WEIGHTS}: a program computes logits "
            "for other tools, and has no cache of keys and values to generate with."
        )
    where = file.parent / CONFIG
    described = read_description(where, KINDS)
    experiment = read_experiment(described["experiment"], where)
    model = _network(experiment, where)
    try:
        params, statistics = jax.eval_shape(model.network.init, jax.random.key(0))
    except Exception as error:  # whatever numbers that someone changed make of the network
        why = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"`{where}` does not describe a network: {why}") from error
    shapes = {name: leaf.shape for name, leaf in named_leaves(params, statistics)}
    numbers = sum(leaf.size for leaf in jax.tree.leaves((params, statistics)))
    check_hash(file, EXTRA_BYTES + MAX_WEIGHT_BYTES * numbers, described)
    params, statistics = read_weights(file, shapes)
    return ExportedText(
        model, params, statistics, experiment, described["step"], described["notes"]
    )


def _network(experiment: Config, where: Path) -> LanguageModel:
    """Build the network without weights."""
    if not isinstance(experiment.model, config.Transformer):
        raise InputError(f"`experiment.model` of `{where}` must be a transformer.")
    if experiment.model.layers > MAX_LAYERS:
        raise InputError(
            f"`experiment.model.layers` of `{where}` (={experiment.model.layers:,}) must be at "
            f"most {MAX_LAYERS:,}."
        )
    return build_language_model(experiment.model, example_shape(experiment.data))

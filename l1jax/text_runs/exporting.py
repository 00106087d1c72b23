"""Write a language model to a folder, with its programs and its circuit, and check them."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from l1jax.build import build_language_model, example_shape
from l1jax.config import InputError, Transformer
from l1jax.config.choices import Values
from l1jax.config.fields import JsonObject
from l1jax.models import LanguageModel
from l1jax.reporting.circuit import (
    MAX_DRAWN,
    circuit_edges,
    circuit_lines,
    circuit_picture,
    num_edges,
)
from l1jax.serialization.folder_files import PROGRAMS, WEIGHTS
from l1jax.serialization.onnx_metadata import describe_text
from l1jax.serialization.onnx_program import ONNX
from l1jax.serialization.probe_images import differences
from l1jax.serialization.text_folder import ExportedText, read_text_model, write_text_model
from l1jax.serialization.text_program import (
    OPENERS,
    export_text_onnx,
    export_text_stablehlo,
    probe_logits,
    probe_tokens,
)
from l1jax.serialization.weight_encoding import Loss
from l1jax.terminal import Say
from l1jax.text_runs.loading import LoadedText

TOLERANCE = 1e-4  # of a program's logits, as a share of the largest one
EDGES = "circuit.jsonl"
PICTURE = "circuit.svg"


class TextExport(NamedTuple):
    """What a folder is to hold.

    Attributes:
        sparse: whether zeros are left out of the weights.
        values: what kernels are rounded to.
        programs: files of `PROGRAMS` to add.
        circuit: whether the weights that are not zero are listed, and drawn if they are few.
    """

    sparse: bool
    values: Values
    programs: Sequence[str]
    circuit: bool


def export_text(
    loaded: LoadedText, folder: Path, wanted: TextExport, notes: JsonObject, say: Say
) -> None:
    """Write a folder, and say how what it holds differs from the model.

    Args:
        loaded: the model.
        folder: a new or an empty one.
        wanted: what it is to hold.
        notes: that stay with the model.
        say: called with one sentence at a time.

    Raises:
        InputError: if it cannot be written, or a program's logits differ by more than `TOLERANCE`.
    """
    exported = ExportedText(
        loaded.model,
        loaded.average.params,
        loaded.average.batch_stats,
        loaded.experiment,
        loaded.step,
        notes,
    )
    others = {
        name: make_program(name, exported, say) for name in PROGRAMS if name in wanted.programs
    }
    if wanted.circuit:
        others |= make_circuit(exported, say)
    lost = write_text_model(
        folder, exported, sparse=wanted.sparse, values=wanted.values, programs=others
    )
    describe_folder(folder, exported, lost, say)


def make_program(name: str, exported: ExportedText, say: Say) -> bytes:
    """Export a program, run it, and compare its logits with the model's.

    Args:
        name: its file's, of `PROGRAMS`.
        exported: the model. A graph of ONNX computes in float32, whatever the model does.
        say: called with one sentence.

    Raises:
        InputError: if the logits differ by more than `TOLERANCE` of the largest one.
    """
    model = exported.model
    if name == ONNX:
        model = in_float32(exported)
        licence = exported.notes.get("licence")
        about = describe_text(exported.experiment, model, exported.step, licence)
        content = export_text_onnx(model, exported.params, about)
    else:
        content = export_text_stablehlo(model, exported.params)
    wanted = probe_logits(model, exported.params, exported.batch_stats)
    found = OPENERS[name](content, Path(name))(probe_tokens(model))
    difference, relative = differences(wanted, found)
    if not difference <= TOLERANCE * max(np.abs(wanted).max(), 1.0):  # nor if it is not a number
        raise InputError(
            f"`{name}` computes other logits (off by up to {difference:.2g}): it was not written."
        )
    say(f"checked     {name}: logits off by up to {difference:.2g}, {relative:.2g} in L2")
    return content


def in_float32(exported: ExportedText) -> LanguageModel:
    """Return the network that computes in float32."""
    model = exported.experiment.model
    assert isinstance(model, Transformer)
    exact = dataclasses.replace(model, dtype="float32")
    return build_language_model(exact, example_shape(exported.experiment.data))


def make_circuit(exported: ExportedText, say: Say) -> dict[str, bytes]:
    """Return the list of the weights that are not zero and, if they are few, their picture.

    Args:
        exported: the model.
        say: called with one sentence.
    """
    model = exported.experiment.model
    assert isinstance(model, Transformer)
    edges = circuit_edges(exported.params)
    files = {EDGES: "".join(circuit_lines(edges)).encode()}
    count = num_edges(edges)
    if count > MAX_DRAWN:
        say(
            f"no picture  the circuit has {count:,} edges, and a picture shows at most "
            f"{MAX_DRAWN:,}"
        )
    else:
        head_size = model.width // model.heads
        queries_per_value = model.heads // (model.key_value_heads or model.heads)
        files[PICTURE] = circuit_picture(edges, head_size, queries_per_value).encode()
    return files


def describe_folder(folder: Path, exported: ExportedText, lost: Sequence[Loss], say: Say) -> None:
    """Read the folder back and say what is in it.

    Args:
        folder: the folder that was written.
        exported: the model.
        lost: what rounding took from each array.
        say: called with one sentence at a time.
    """
    back = read_text_model(folder)
    wanted = probe_logits(exported.model, exported.params, exported.batch_stats)
    same = np.array_equal(wanted, probe_logits(back.model, back.params, back.batch_stats))
    for loss in lost:
        say(
            f"rounded     {loss.name}: by up to {loss.largest:.2g}, {loss.relative:.2g} of the "
            "L2 norm"
        )
    for path in sorted(folder.iterdir()):
        bits = ", its logits the same bits" if path.name == WEIGHTS and same else ""
        say(f"written     {path}: {path.stat().st_size:,} bytes{bits}")

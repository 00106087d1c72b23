"""Export a generator: `python -m l1jax.export --workdir runs/digits --output model`.

The folder, in the Hugging Face layout, holds the weights, their configuration and a model card.
`--stablehlo` and `--onnx` add the whole network as a program that runs without l1jax; that of a
language model computes logits. `--circuit` adds the weights of a language model that are not zero.
"""

from l1jax.cli.early_answers import answer_early, check_model_flags
from l1jax.cli.options import ExportOptions

if __name__ == "__main__":
    answer_early(check_model_flags(ExportOptions, "python -m l1jax.export"))


import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from l1jax.cli.flag_errors import translate_errors
from l1jax.cli.flags import parse, parse_optional_path, parse_path
from l1jax.cli.process import run_command, shell_command
from l1jax.config import InputError
from l1jax.extras import require_extra
from l1jax.models.layout.layout_network import TrainedGenerator
from l1jax.outputs import check_output_folder
from l1jax.serialization.folder_files import WEIGHTS
from l1jax.serialization.hub import check_repository, open_hub, upload
from l1jax.serialization.loaded_generator import LoadedGenerator, open_generator
from l1jax.serialization.model_folder import is_model, read_model, write_model
from l1jax.serialization.onnx_metadata import describe_generator
from l1jax.serialization.onnx_program import ONNX, export_onnx, open_onnx
from l1jax.serialization.probe_images import differences, probe
from l1jax.serialization.rebuild_generator import float32_model, in_float32, rebuild
from l1jax.serialization.stablehlo_program import STABLEHLO, export_stablehlo, open_stablehlo
from l1jax.serialization.stored_evaluation import read_evaluation
from l1jax.serialization.text_folder import read_text_model
from l1jax.serialization.weight_encoding import Loss
from l1jax.terminal import Say, make_console, make_say
from l1jax.text_runs.exporting import TextExport, export_text
from l1jax.text_runs.loading import LoadedText, names_text, open_text_model

TOLERANCE = 1e-4  # of a program's images, in the generator's range


@translate_errors(ExportOptions)
def main(arguments: Sequence[str]) -> int:
    """Export as the flags say; returns the exit status."""
    options = parse(ExportOptions, arguments, "python -m l1jax.export")
    workdir = parse_optional_path("--workdir", options.workdir)
    model = parse_optional_path("--model", options.model)
    if options.licence and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.\-]*", options.licence):
        raise InputError(
            f"`--licence` (={options.licence!r}) must be a name such as apache-2.0 or cc-by-4.0."
        )
    is_text = names_text(workdir, model)
    if options.circuit and not is_text:
        raise InputError(
            "`--circuit` (=True) is for models of text, and this one is not: leave it out."
        )
    if options.onnx:
        require_extra("onnx")
    client = None
    if options.upload:
        check_repository(options.upload)
        client = open_hub()
    say = make_say(make_console())

    if options.output or not options.upload:
        folder = parse_path("--output", options.output)
        check_output_folder(folder)
        if is_text:
            loaded = open_text_model(workdir, model, options.step, say)
            export_text(loaded, folder, text_export(options), notes(loaded, workdir, options), say)
        else:
            opened = open_generator(workdir, model, options.step, say, "python -m l1jax.export")
            write(opened, folder, options, notes(opened, workdir, options), say)
    else:
        folder = check_uploaded(model, is_text)
    if client is not None:
        say(f"uploaded    {upload_written(client, folder, options)}")
    return 0


def check_uploaded(model: Path | None, is_text: bool) -> Path:
    """Return the folder to upload, which was exported before.

    Args:
        model: `--model`.
        is_text: whether it is a language model.

    Raises:
        InputError: if it is none, or something in it is damaged.
    """
    if model is None or not os.path.isdir(model) or not (is_text or is_model(model)):
        raise InputError(
            "`--output` is empty: give it a folder to write, or with --upload a --model that is "
            "one."
        )
    if is_text:
        read_text_model(model)
    else:
        read_model(model)
    return model


def upload_written(client: Any, folder: Path, options: ExportOptions) -> str:
    """Upload a folder, and say how to go on with it if that fails; return where it is.

    Args:
        client: of the Hub.
        folder: the model's folder.
        options: the command's flags.

    Raises:
        InputError: if the Hub refuses or cannot be reached.
    """
    try:
        return upload(client, folder, options.upload, public=options.public)
    except InputError as error:
        public = ["--public"] if options.public else []
        again = shell_command(
            "l1jax.export", "--model", str(folder), "--upload", options.upload, *public
        )
        raise InputError(
            f"{str(error).rstrip('.')}; the model is in {folder}, and `{again}` tries again."
        ) from error


def text_export(options: ExportOptions) -> TextExport:
    """Return what a folder of a language model is to hold."""
    programs = [STABLEHLO] * options.stablehlo + [ONNX] * options.onnx
    return TextExport(options.encoding == "sparse", options.values, programs, options.circuit)


def notes(
    opened: LoadedGenerator | LoadedText, workdir: Path | None, options: ExportOptions
) -> dict[str, Any]:
    """Collect the notes that stay with the model.

    They are earlier notes, the command, the licence, and a run's evaluation of this step.

    Args:
        opened: the generator or language model.
        workdir: the run that it comes from; None if it comes from a folder.
        options: the command's flags.
    """
    found = dict(opened.notes or {})
    # Paths are left out, because they are private.
    programs = " --stablehlo" * options.stablehlo + " --onnx" * options.onnx
    programs += " --circuit" * options.circuit
    found["command"] = (
        f"python -m l1jax.export --encoding {options.encoding} --values {options.values}{programs}"
    )
    if options.licence:
        found["licence"] = options.licence
    evaluation = read_evaluation(workdir, opened.step) if workdir else None
    if evaluation is not None:
        found["evaluation"] = evaluation
    return found


def write(
    opened: LoadedGenerator, folder: Path, options: ExportOptions, noted: dict[str, Any], say: Say
) -> None:
    """Write the folder, and say how its images differ from the generator's.

    Args:
        opened: the generator.
        folder: where it is written.
        options: the command's flags.
        noted: the notes that stay with the model.
        say: called with one sentence at a time.

    Raises:
        InputError: if it has no weights, cannot be written, or a program's images differ by more
            than `TOLERANCE`.
    """
    generator = opened.generator
    params, statistics = opened.average
    if not params:
        raise InputError(
            f"`--model` must be the folder, or its {WEIGHTS}: a program cannot be exported again."
        )
    compact = TrainedGenerator(generator, params, statistics, opened.layout)
    wanted = probe(generator, params, statistics)
    programs = {}
    if options.stablehlo:
        programs[STABLEHLO] = export_stablehlo(generator, params, statistics)
        again = open_stablehlo(generator, programs[STABLEHLO], Path(STABLEHLO))
        compare(STABLEHLO, wanted, probe(again, {}, {}), say)
    if options.onnx:
        float32 = float32_model(opened.experiment.model)
        exact = rebuild(float32, generator.image_shape, in_float32(opened.layout), generator)
        about = describe_generator(opened.experiment, generator, opened.step, noted.get("licence"))
        programs[ONNX] = export_onnx(exact, params, statistics, about)
        again = open_onnx(generator, programs[ONNX], Path(ONNX))
        compare(ONNX, probe(exact, params, statistics), probe(again, {}, {}), say)
    sparse = options.encoding == "sparse"
    lost = write_model(
        folder,
        compact,
        opened.experiment,
        opened.step,
        noted,
        sparse=sparse,
        values=options.values,
        programs=programs,
    )
    tell(folder, lost, wanted, say)


def tell(folder: Path, lost: Sequence[Loss], wanted: np.ndarray, say: Say) -> None:
    """Read the folder back and say what is in it.

    Args:
        folder: the folder that was written.
        lost: what rounding took from each array.
        wanted: the generator's images.
        say: called with one sentence at a time.
    """
    back = read_model(folder)
    same = np.array_equal(wanted, probe(back.generator, back.params, back.batch_stats))
    for loss in lost:
        say(
            f"rounded     {loss.name}: by up to {loss.largest:.2g}, {loss.relative:.2g} of the "
            "L2 norm"
        )
    for path in sorted(folder.iterdir()):
        bits = ", its images the same bits" if path.name == WEIGHTS and same else ""
        say(f"written     {path}: {path.stat().st_size:,} bytes{bits}")


def compare(name: str, wanted: np.ndarray, images: np.ndarray, say: Say) -> None:
    """Say how far a program's images are from the generator's.

    Args:
        name: the program's file.
        wanted: the generator's images.
        images: the program's.
        say: called with one sentence at a time.

    Raises:
        InputError: if that is more than `TOLERANCE`.
    """
    difference, relative = differences(wanted, images)
    if not difference <= TOLERANCE:  # nor if it is not a number
        raise InputError(
            f"`{name}` draws other images (off by up to {difference:.2g}): it was not written."
        )
    say(f"checked     {name}: images off by up to {difference:.2g}, {relative:.2g} in L2")


if __name__ == "__main__":
    run_command(main)

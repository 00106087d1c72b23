"""Measure generated images: `python -m l1jax.evaluate --workdir runs/digits`.

`--real data/photos --generated samples.zip` compares any two sets of images, `--save-statistics
photos.npz --real data/photos` keeps what the Fréchet distance needs of one.
"""

from l1jax.cli.early_answers import answer_early
from l1jax.cli.evaluation_flags import PROG, parse_evaluate

if __name__ == "__main__":
    answer_early(parse_evaluate)


import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.console import Console

from l1jax.cli.evaluation_end import check_again, conclude
from l1jax.cli.evaluation_flags import generated_flags, read_flags
from l1jax.cli.flag_errors import translate_errors
from l1jax.cli.flags import parse_optional_path
from l1jax.cli.options import EvaluateOptions
from l1jax.cli.process import run_command, shell_command
from l1jax.config import InputError
from l1jax.data.class_labels import describe_classes
from l1jax.evaluation.statistics_files import save_statistics
from l1jax.image_evaluation.inputs import network_inputs, own_inputs, side_inputs
from l1jax.image_evaluation.networks import Networks, load_networks
from l1jax.image_evaluation.own_data import check_generator, evaluate
from l1jax.image_evaluation.real_images import (
    read_real_images,
    with_data_path,
)
from l1jax.image_evaluation.recognise import GENERATORS, Place, recognise
from l1jax.image_evaluation.request import Request
from l1jax.image_evaluation.saving import check_image_folder, saving_images
from l1jax.image_evaluation.sets import compare_sides
from l1jax.image_evaluation.side_statistics import side_statistics
from l1jax.image_evaluation.sides import open_side
from l1jax.outputs import check_output_file, write_error
from l1jax.processes.agreement import is_leader, lead
from l1jax.serialization.loaded_generator import open_generator
from l1jax.serialization.other_sampler import SAMPLER_FIELDS, given_sampler, with_sampler
from l1jax.terminal import Say, make_say
from l1jax.text_runs.evaluation import evaluate_text
from l1jax.text_runs.loading import names_text, open_text_model

OF_IMAGES = (
    "real",
    "inception",
    "dinov2",
    "clip",
    "accuracy_score",
    "path_length",
    "likelihood",
    *SAMPLER_FIELDS,
)
"""Options that a model of text does not have."""


@translate_errors(EvaluateOptions)
def main(arguments: Sequence[str]) -> int:
    """Evaluate as the flags say and return the exit status: 1 if --again finds other numbers."""
    options = read_flags(arguments)
    workdir = parse_optional_path("--workdir", options.workdir)
    model = parse_optional_path("--model", options.model)
    check_outputs(options)
    networks = load_networks(options)  # first, because a wrong file is found quickly
    console = Console(emoji=False, quiet=not is_leader())
    say = make_say(console)
    generated = [recognise(flag, value) for flag, value in generated_flags(options).items()]
    if options.save_statistics:
        write_statistics(generated, options, networks, say)
        return 0
    (place,) = generated
    draws = place.kind in GENERATORS or place.flag != "--generated"
    if place.flag == "--generated" and draws:
        model = Path(place.path)
    if not draws:
        for name in ["path_length"] * options.path_length + list(given_sampler(options)):
            raise InputError(
                f"`--{name.replace('_', '-')}` must be left out for {place.noun} (={place.value}), "
                "which draws nothing from latents."
            )
    if draws and names_text(workdir, model):
        return evaluate_text_model(options, workdir, model, console, say)
    if draws and options.real is None:
        return evaluate_generator(options, workdir, model, networks, console)
    if options.real is None:
        raise InputError(
            f"`--generated` (={place.value}) is {place.noun}, which has no real images of its own: "
            "give these as --real."
        )
    return evaluate_sets(recognise("--real", options.real), place, options, networks, console)


def evaluate_sets(
    real: Place, generated: Place, options: EvaluateOptions, networks: Networks, console: Console
) -> int:
    """Compare two sets of images and return the exit status.

    Args:
        real: where the real images are.
        generated: where the generated ones are, or what draws them.
        options: the command's flags.
        networks: name → features of networks.
        console: for the tables.

    Raises:
        InputError: if they cannot be read or compared.
    """
    say = make_say(console)
    if generated.flag in ("--workdir", "--model"):  # as the flag says, whatever lies beside it
        generated = generated._replace(kind="run" if generated.flag == "--workdir" else "model")
    request = request_of(options, networks)
    folder = result_folder(generated) if generated.kind in GENERATORS else Path()
    output = output_file(options, folder)
    with console.status("opening the images"):
        real_side = open_side(real, request, say)
        generated_side = open_side(generated, request, say)
    for side in (real_side, generated_side):
        say(f"{side.place.flag.removeprefix('--')}: {side.describe()}")
    with console.status("looking at the images"):
        inputs = side_inputs(real_side, generated_side) | network_inputs(options)
        check_again(options, inputs)
        watch = saving_images(options.save_images)
        result = compare_sides(real_side, generated_side, request, watch)
    status = conclude(result, inputs, output, options, console)
    if options.save_images:
        say(f"the images that were compared: {options.save_images}")
    return status


def write_statistics(
    generated: Sequence[Place], options: EvaluateOptions, networks: Networks, say: Say
) -> None:
    """Write the statistics of the one set that the flags name.

    Args:
        generated: where the generated images are, if it is they.
        options: the command's flags.
        networks: name → features of networks.
        say: prints one sentence on a line of its own.

    Raises:
        InputError: if the images cannot be read, or the file cannot be written.
    """
    place = generated[0] if generated else recognise("--real", str(options.real))
    request = request_of(options, networks)
    side = open_side(place, request, say)
    say(f"{place.flag.removeprefix('--')}: {side.describe()}")
    statistics = side_statistics(side, request, say)
    path = Path(os.path.expanduser(options.save_statistics))
    try:
        lead(lambda: save_statistics(path, statistics))
    except OSError as error:
        raise write_error(options.save_statistics, error, "--save-statistics") from error
    say(f"statistics of {', '.join(statistics)}: {path}")


def request_of(options: EvaluateOptions, networks: Networks) -> Request:
    """Return how sets of images are read and compared."""
    return Request(
        samples=options.samples,
        real_samples=options.real_samples,
        seeds=options.seeds,
        networks=networks,
        image_size=options.image_size,
        array=options.array,
        floats=options.floats,
        split=options.split,
        step=options.step,
        accuracy_score=options.accuracy_score,
        path_length=options.path_length,
        sampler=tuple(given_sampler(options).items()),
    )


def result_folder(generated: Place) -> Path:
    """Return the folder of a run or of an exported model."""
    path = Path(generated.path)
    return path.parent if path.is_file() else path


def output_file(options: EvaluateOptions, folder: Path) -> Path | None:
    """Return the file of the numbers; None for --again, unless it is asked for.

    Raises:
        InputError: if it cannot be written.
    """
    if options.again and not options.output:
        return None
    wanted = options.output or str(folder / "evaluation.json")
    return Path(lead(lambda: str(check_output_file(wanted))))


def check_outputs(options: EvaluateOptions) -> None:
    """Raise if something cannot be written, before anything is read.

    Raises:
        InputError: naming the flag.
    """
    if options.output:
        lead(lambda: str(check_output_file(options.output)))
    if options.save_statistics:
        lead(lambda: str(check_output_file(options.save_statistics, "--save-statistics")))
    if options.save_images:
        lead(lambda: check_image_folder(options.save_images))


def evaluate_generator(
    options: EvaluateOptions,
    workdir: Path | None,
    model: Path | None,
    networks: Networks,
    console: Console,
) -> int:
    """Evaluate a run or an exported model with its own images and return the exit status.

    Args:
        options: the command's flags.
        workdir: `--workdir`.
        model: `--model`, if there is no `--workdir`.
        networks: name → features of networks.
        console: for the tables.

    Raises:
        InputError: if the generator or its images cannot be used.
    """
    say = make_say(console)
    loaded = open_generator(workdir, model, options.step, say, PROG)
    loaded = loaded._replace(experiment=with_data_path(loaded.experiment, options.path))
    loaded = with_sampler(loaded, given_sampler(options))
    check_generator(loaded, networks, options)
    place = next(path for path in (model, workdir) if path is not None)
    folder = place.parent if os.path.isfile(place) else place
    output = output_file(options, folder)
    with console.status("reading the real images"):
        real_images = read_real_images(loaded, options, place)
    if real_images.training.labels is not None:
        say(describe_classes(real_images.training))
    with console.status("looking at the images"):
        inputs = own_inputs(loaded, real_images) | network_inputs(options)
        check_again(options, inputs)
        result = evaluate(loaded, real_images, options, networks)
    status = conclude(result, inputs, output, options, console)
    is_default = output == folder / "evaluation.json"
    if is_default and (folder / "config.json").is_file() and model is None:
        say(f"as a page:   {shell_command('l1jax.report', '--workdir', str(folder))}")
    return status


def evaluate_text_model(
    options: EvaluateOptions, workdir: Path | None, model: Path | None, console: Console, say: Say
) -> int:
    """Evaluate a run or an exported model of text and return the exit status.

    Args:
        options: the command's flags.
        workdir: `--workdir`.
        model: `--model`, if there is no `--workdir`.
        console: for the tables.
        say: prints one sentence on a line of its own.

    Raises:
        InputError: if a flag is for images, or the model or its text cannot be used.
    """
    for flag in OF_IMAGES:
        value = getattr(options, flag)
        if value:
            name = flag.replace("_", "-")
            raise InputError(f"`--{name}` (={value}) must be left out for text.")
    loaded = open_text_model(workdir, model, options.step, say)
    loaded = loaded._replace(experiment=with_data_path(loaded.experiment, options.path))
    place = next(path for path in (model, workdir) if path is not None)
    folder = place.parent if os.path.isfile(place) else place
    output = output_file(options, folder)
    with console.status("reading and writing text"):
        check = partial(check_again, options)
        result = evaluate_text(loaded, options.samples, options.seeds, check)
    return conclude(result, result["protocol"]["inputs"], output, options, console)


if __name__ == "__main__":
    run_command(main, is_shared=True)

"""Measure a trained generator: `python -m l1jax.evaluate --workdir runs/digits`."""

from l1jax.cli.early_answers import answer_early, check_model_flags
from l1jax.cli.options import EvaluateOptions

if __name__ == "__main__":
    answer_early(check_model_flags(EvaluateOptions, "python -m l1jax.evaluate"))


import os
import platform
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Shaped
from rich.console import Console

from l1jax import config
from l1jax.build import build_image_model
from l1jax.cli.flag_errors import translate_errors
from l1jax.cli.flags import parse, parse_optional_path, parse_path
from l1jax.cli.process import run_command, shell_command
from l1jax.config import InputError
from l1jax.data.class_labels import describe_classes
from l1jax.data.mixture_source import MIXTURES
from l1jax.evaluation.comparison import JsonObject, SeedImages
from l1jax.evaluation.evaluate_samples import (
    ImageReference,
    evaluate_images,
    evaluate_likelihood,
    evaluate_points,
)
from l1jax.evaluation.features import FeatureExtractor
from l1jax.evaluation.inception import inception_features
from l1jax.evaluation.source_classifier import make_classifier
from l1jax.evaluation.zeros import count_zeros
from l1jax.files import write_json
from l1jax.models import Vae
from l1jax.models.summary import layers
from l1jax.outputs import check_output_file, write_error
from l1jax.processes.agreement import divide_rows, is_leader, lead
from l1jax.real_images import (
    MIN_IMAGES,
    RealImages,
    data_errors_in_flags,
    read_real_images,
    with_data_path,
)
from l1jax.reporting.evaluation_tables import show_evaluation
from l1jax.reporting.sound import spectrograms_through_sound
from l1jax.serialization.loaded_generator import (
    LoadedGenerator,
    check_drawn,
    open_generator,
)
from l1jax.sound_evaluation import evaluate_sound
from l1jax.terminal import Say, make_say
from l1jax.text_runs.evaluation import evaluate_text
from l1jax.text_runs.loading import names_text, open_text_model
from l1jax.training.keys import named_seed_key
from l1jax.training.sampling import BATCH, draw_latents, make_sampler

PROG = "python -m l1jax.evaluate"
Images = Shaped[np.ndarray, "count height width channels"]


@translate_errors(EvaluateOptions)
def main(arguments: Sequence[str]) -> int:
    """Evaluate as the flags say and return the exit status."""
    options = parse(EvaluateOptions, arguments, PROG)
    workdir = parse_optional_path("--workdir", options.workdir)
    model = parse_optional_path("--model", options.model)
    check_options(options)
    inception = load_inception(options)  # first, because a wrong file is found quickly
    console = Console(emoji=False, quiet=not is_leader())
    say = make_say(console)
    if names_text(workdir, model):
        return evaluate_text_model(options, workdir, model, console, say)
    loaded = open_generator(workdir, model, options.step, say, PROG)
    loaded = loaded._replace(experiment=with_data_path(loaded.experiment, options.path))
    check_generator(loaded, options)
    place = next(path for path in (model, workdir) if path is not None)
    folder = place.parent if os.path.isfile(place) else place
    wanted = options.output or str(folder / "evaluation.json")
    output = Path(lead(lambda: str(check_output_file(wanted))))
    with console.status("reading the real images"):
        real_images = read_real_images(loaded, options, place)
    if real_images.training.labels is not None:
        say(describe_classes(real_images.training))
    with console.status("looking at the images"):
        result = evaluate(loaded, real_images, options, inception)
    show_evaluation(result, console)
    lead(lambda: write_result(output, result))
    say(f"all numbers: {output}")
    if (
        output == folder / "evaluation.json"
        and (folder / "config.json").is_file()
        and model is None
    ):
        say(f"as a page:   {shell_command('l1jax.report', '--workdir', str(folder))}")
    return 0


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
    if options.inception:
        raise InputError(f"`--inception` (={options.inception}) must be left out for text.")
    loaded = open_text_model(workdir, model, options.step, say)
    loaded = loaded._replace(experiment=with_data_path(loaded.experiment, options.path))
    place = next(path for path in (model, workdir) if path is not None)
    folder = place.parent if os.path.isfile(place) else place
    wanted = options.output or str(folder / "evaluation.json")
    output = Path(lead(lambda: str(check_output_file(wanted))))
    with console.status("reading and writing text"):
        result = evaluate_text(loaded, options.samples, options.seeds)
    show_evaluation(result, console)
    lead(lambda: write_result(output, result))
    say(f"all numbers: {output}")
    return 0


def write_result(path: Path, result: JsonObject) -> None:
    """Write all numbers.

    Raises:
        InputError: if the file cannot be written.
    """
    try:
        write_json(path, result)
    except OSError as error:
        raise write_error(path, error) from error


def check_options(options: EvaluateOptions) -> None:
    """Raise if a flag has an impossible value, before anything is read.

    Raises:
        InputError: naming the flag.
    """
    if options.seeds < 1:
        raise InputError(f"`--seeds` (={options.seeds}) must be at least 1; 3 give a deviation.")
    if options.samples and options.samples < MIN_IMAGES:
        raise InputError(
            f"`--samples` (={options.samples}) must be at least {MIN_IMAGES}, or 0 for as many as "
            "there are real images."
        )
    if options.output:
        lead(lambda: str(check_output_file(options.output)))


def load_inception(options: EvaluateOptions) -> FeatureExtractor | None:
    """Load the features of Inception-v3 if they are asked for.

    Raises:
        InputError: if the file is missing or does not hold that network's weights.
    """
    if not options.inception:
        return None
    try:
        return inception_features(parse_path("--inception", options.inception))
    except InputError as error:
        raise InputError(f"`--inception` (={options.inception}) cannot be used: {error}") from error


def check_generator(loaded: LoadedGenerator, options: EvaluateOptions) -> None:
    """Raise if this generator cannot be evaluated as asked, before the real images are read.

    Raises:
        InputError: if it draws points of no mixture, or Inception-v3 is to be applied to points.
    """
    data = loaded.experiment.data
    if loaded.generator.image_range is not None:
        return
    if not isinstance(data, config.MixtureData):
        raise InputError(
            f"`data` (={type(data).__name__}) must be a mixture for a generator of points."
        )
    if options.inception:
        raise InputError(
            f"`--inception` (={options.inception}) must be left out for a generator of points: "
            "they are no images."
        )


def evaluate(
    loaded: LoadedGenerator,
    real_images: RealImages,
    options: EvaluateOptions,
    inception: FeatureExtractor | None,
) -> JsonObject:
    """Draw from the generator and measure what it draws.

    Args:
        loaded: the generator.
        real_images: what its images are compared with.
        options: the command's flags.
        inception: features of Inception-v3, or None.

    Returns:
        All numbers, as `evaluation.json` holds them.
    """
    data = loaded.experiment.data
    num_generated = options.samples or len(real_images.real)
    generated = draw_for_seeds(loaded, options.seeds, num_generated)
    remarks = list(real_images.remarks)
    if loaded.generator.image_range is None:
        assert isinstance(data, config.MixtureData)
        points = (of_seed.images.reshape(-1, 2) for of_seed in generated)
        scores = evaluate_points(points, MIXTURES[data.shape]())
    else:
        with data_errors_in_flags(options):
            classifier = make_classifier(loaded.experiment, real_images.training, remarks.append)
        through_sound = None
        if isinstance(data, config.Sound):
            through_sound = partial(spectrograms_through_sound, data=data)
        reference = ImageReference(
            real_images.real,
            real_images.source,
            classifier,
            inception,
            through_sound,
            held_out_labels(real_images),
        )
        scores = evaluate_images(generated, num_generated, reference, remarks.append)
        model = None
        if loaded.encoder is not None:
            model = build_image_model(loaded.experiment.model, loaded.generator.image_shape)
        if isinstance(model, Vae):
            scores |= evaluate_likelihood(
                model,
                loaded.encoder,
                loaded.average.params,
                real_images.real,
                real_images.labels,
                named_seed_key(0, "likelihood"),
            )
    if isinstance(data, config.Sound):
        held_out = None
        if real_images.source is not real_images.training:
            held_out = real_images.real
        scores["sound"] = evaluate_sound(
            loaded, data, real_images.training, held_out, remarks.append
        )
    zeros = count_zeros(loaded.average.params, layers(loaded.generator.network.init))
    result = {
        "step": loaded.step,
        "protocol": describe_protocol(loaded, real_images, num_generated, options.seeds),
        **scores,
        "zeros": zeros.to_json(),
    }
    if remarks:
        result["remarks"] = remarks
    return result


def held_out_labels(real_images: RealImages) -> Int[np.ndarray, " count"] | None:
    """Return the classes of the real images if these are held out; None otherwise."""
    if real_images.source is real_images.training:
        return None
    return real_images.labels


def draw_for_seeds(loaded: LoadedGenerator, num_seeds: int, count: int) -> Iterator[SeedImages]:
    """Yield the generated images, or points, of each seed; the same for the same seed.

    Several processes share the work, so all of them must call it.

    Args:
        loaded: the generator.
        num_seeds: seeds 0 to `num_seeds` − 1 are taken.
        count: images per seed.

    Raises:
        InputError: if images are NaN or infinite.
    """
    sampler = make_sampler(loaded.generator)  # compiled once for all seeds
    for seed in range(num_seeds):
        latents = draw_latents(loaded.generator, named_seed_key(seed, "evaluation"), count)
        label = np.arange(count, dtype=np.int32) % max(loaded.generator.classes, 1)

        def draw(
            start: int, stop: int, latents: Array = latents, label: np.ndarray = label
        ) -> list[np.ndarray]:
            part = slice(start, stop)
            return [sampler(loaded.average, latents[part], jnp.asarray(label[part]))]

        (images,) = divide_rows(count, BATCH, draw)
        check_drawn(loaded, images)
        labels = label if loaded.generator.classes else None
        yield SeedImages(seed, images, labels)


def describe_protocol(
    loaded: LoadedGenerator, real_images: RealImages, num_generated: int, num_seeds: int
) -> JsonObject:
    """Describe how the numbers were taken.

    Args:
        loaded: the generator.
        real_images: what its images were compared with.
        num_generated: images per seed.
        num_seeds: number of seeds.
    """
    source = real_images.source
    num_real = len(real_images.real)
    latents = "standard normal"
    if loaded.generator.classes:
        latents += ", classes in turn"
    seeds = "for the seed 0"
    if num_seeds > 1:
        seeds = f"for each of the seeds 0 to {num_seeds - 1}"
    return {
        "real": f"{num_real:,} of {source.length:,} {real_images.origin}, fingerprint "
        f"{source.fingerprint[:12]}",
        "generated": f"{num_generated:,} of the averaged generator {seeds}",
        "latents": latents,
        "versions": {
            "jax": jax.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "device": f"{len(jax.devices())} × {jax.devices()[0].device_kind}",
    }


if __name__ == "__main__":
    run_command(main, is_shared=True)

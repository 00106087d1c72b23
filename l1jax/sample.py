"""Draw images, or text, from a trained generator.

`python -m l1jax.sample --workdir runs/digits --count 64 --output grid.png`

`python -m l1jax.sample --workdir runs/text_topics --prompt "The " --length 200 --output a.txt`

`--model` draws from an exported model: a folder of l1jax.export or l1jax.compact, or a program in
it.

`--interpolate 8` draws eight rows from one latent to another, and with `--class 3 --to-class 7`
from one class to another; `--directions 4` draws rows along four directions of latents, and
`--truncation 0.7` keeps latents near the mean.

`--output` is a grid if it ends in .png, an archive if it ends in .npz, and else a folder, new or
empty; what ends in / always is. A name such as `samples-0.003` or `v1.0` is a folder's, and one
with the suffix of another format is refused. Rows that end in .gif or .webp are images that move.
Files and folders appear whole or not at all, so a command that was killed can be given again. A
generator of sound also writes a .wav, one clip after the other; its folder has a .wav beside each
picture, and its archive the clips. Samples of text go into a page, .txt, or into a .jsonl with one
object a line.
"""

from l1jax.cli.early_answers import answer_early, check_model_flags
from l1jax.cli.options import SampleOptions, check_sample_numbers

if __name__ == "__main__":
    answer_early(check_model_flags(SampleOptions, "python -m l1jax.sample", check_sample_numbers))


import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from l1jax import config
from l1jax.cli.flag_errors import translate_errors
from l1jax.cli.flags import parse, parse_optional_path
from l1jax.cli.image_outputs import PictureLayout, check_output, write_images
from l1jax.cli.process import run_command
from l1jax.cli.sample_checks import check_class, check_form, check_mixes_classes, refuse_flags
from l1jax.config import InputError
from l1jax.models import Sampling
from l1jax.models.directions import Directions, sefa_directions
from l1jax.outputs import write_error
from l1jax.reporting.sound import make_sounds
from l1jax.serialization.loaded_generator import LoadedGenerator, check_drawn, open_generator
from l1jax.serialization.other_sampler import SAMPLER_FIELDS, given_sampler, with_sampler
from l1jax.terminal import Say, make_console, make_say
from l1jax.text_runs.loading import names_text, open_text_model
from l1jax.text_runs.samples import (
    check_prompt,
    check_text_flags,
    check_text_output,
    make_text_sampler,
    write_texts,
)
from l1jax.training.latent_rows import (
    Choice,
    Chosen,
    class_rows,
    direction_rows,
    independent_latents,
    interpolation_rows,
)
from l1jax.training.sampling import grid_columns, make_sampler

TEXT_FLAGS = ("prompt", "length", "temperature", "top_k", "top_p")
IMAGE_FLAGS = (
    "columns", "label", "truncation", "interpolate", "to_class", "directions", "frames", "reach",
    *SAMPLER_FIELDS,
)  # fmt: skip
DEFAULT_COUNT = 64
STILL_FRAMES = 9  # images in a row of a picture; odd, so that one of them is not moved
MOVING_FRAMES = 33


class Drawing(NamedTuple):
    """What is drawn.

    chosen: the latents and classes.
    layout: of the picture.
    said: what the last line says of the rows.
    """

    chosen: Chosen
    layout: PictureLayout
    said: str = ""


@translate_errors(SampleOptions)
def main(arguments: Sequence[str]) -> int:
    """Sample as the flags say; returns the exit status."""
    options = parse(SampleOptions, arguments, "python -m l1jax.sample")
    workdir = parse_optional_path("--workdir", options.workdir)
    model = parse_optional_path("--model", options.model)
    check_sample_numbers(options)
    say = make_say(make_console())
    if names_text(workdir, model):
        sample_text(options, workdir, model, say)
        return 0
    refuse_flags(options, TEXT_FLAGS, "text, and these are images or points")
    value = "grid.png" if options.output is None else options.output
    output, form = check_output(value)

    opened = open_generator(workdir, model, options.step, say, "python -m l1jax.sample")
    opened = with_sampler(opened, given_sampler(options))
    generator = opened.generator
    data = opened.experiment.data
    check_form(value, form, generator, data)
    check_class("--class", options.label, generator.classes)
    check_class("--to-class", options.to_class, generator.classes)
    drawing = plan_drawing(options, opened, moving=form == "animation")
    images = make_sampler(generator)(opened.average, drawing.chosen.latents, drawing.chosen.labels)
    check_drawn(opened, images)
    sounds = None
    if isinstance(data, config.Sound) and form != "grid":
        sounds = make_sounds(images, data)
    try:
        write_images(images, output, form, drawing.layout, drawing.chosen.labels, sounds)
    except OSError as error:
        raise write_error(value, error) from error
    noun = "image"
    if generator.image_range is None:
        noun = "point"
    if form == "sound":
        noun = "clip"
    what = f"{len(images)} {noun}{'s' * (len(images) > 1)}{drawing.said}"
    where = f"{output}{os.sep}" if form == "folder" else output
    say(f"{what} of step {opened.step:,}: {where}")
    return 0


def plan_drawing(options: SampleOptions, opened: LoadedGenerator, *, moving: bool) -> Drawing:
    """Draw the latents that the flags ask for, and choose the layout of their picture.

    Args:
        options: the flags.
        opened: the generator.
        moving: whether the picture is an animation.

    Raises:
        InputError: if there are no such directions of latents.
    """
    generator = opened.generator
    frames = options.frames or (MOVING_FRAMES if moving else STILL_FRAMES)
    choice = Choice(options.seed, options.count or 1, options.truncation, options.label)
    if options.interpolate is not None:
        choice = choice._replace(count=options.interpolate)
        if options.to_class is None:
            chosen = interpolation_rows(generator, choice, frames)
            ends = "from one latent to another"
        else:
            check_mixes_classes(opened, options.to_class)
            chosen = class_rows(generator, choice, options.to_class, frames)
            ends = f"to class {options.to_class}"
        said = f" in {choice.count} row{'s' * (choice.count > 1)} {ends},"
        return Drawing(chosen, PictureLayout(frames=frames), said)
    if options.directions is not None:
        found = find_directions(opened, options.directions)
        steps = np.linspace(-options.reach, options.reach, frames)
        chosen = direction_rows(generator, choice, found.vectors, steps)
        titles = [
            f"direction {i}, from -{options.reach:g} to {options.reach:g}"
            for i in range(1, options.directions + 1)
        ]
        said = f" along {describe_directions(found, generator.latent_size)},"
        return Drawing(chosen, PictureLayout(choice.count, frames, titles), said)
    choice = choice._replace(count=options.count or DEFAULT_COUNT)
    columns = options.columns
    if not columns and options.label is None:
        columns = grid_columns(generator.classes)
    return Drawing(independent_latents(generator, choice), PictureLayout(columns))


def describe_directions(found: Directions, size: int) -> str:
    """Return which directions of latents of some size are taken, with their scales."""
    scales = ", ".join(f"{scale:.3g}" for scale in found.scales)
    if len(found.scales) == 1:
        return f"the strongest of {size} directions (scale {scales})"
    return f"the {len(found.scales)} strongest of {size} directions (scales {scales})"


def find_directions(opened: LoadedGenerator, number: int) -> Directions:
    """Find the directions of latents that change images most.

    Args:
        opened: the generator.
        number: how many.

    Raises:
        InputError: if there are not as many, or the generator tells none.
    """
    size = opened.generator.latent_size
    if number > size:
        raise InputError(
            f"`--directions` (={number}) must be at most {size}, the size of the latents."
        )
    params, batch_stats = opened.average
    if not jax.tree.leaves(params):
        raise InputError(
            f"`--directions` (={number}) needs the weights, and a program keeps its own to itself: "
            "give the run, or the model's folder."
        )
    try:
        found = sefa_directions(opened.generator, params, batch_stats)
    except ValueError as error:
        raise InputError(f"`--directions` (={number}) cannot be had: {error}") from error
    return Directions(found.vectors[:number], found.scales[:number])


def sample_text(options: SampleOptions, workdir: Path | None, model: Path | None, say: Say) -> None:
    """Draw text from a run or an exported model, and write it.

    Args:
        options: the flags.
        workdir: `--workdir`.
        model: `--model`, if there is no `--workdir`.
        say: prints one sentence on a line of its own.

    Raises:
        InputError: if a flag is out of its range or of images, or there is no good model.
    """
    refuse_flags(
        options, IMAGE_FLAGS, "images; of text there are --temperature, --top-k and --top-p"
    )
    sampling = Sampling(options.temperature, options.top_k, options.top_p)
    check_text_flags(options.length, sampling)
    value = "samples.txt" if options.output is None else options.output
    output = check_text_output(value)
    loaded = open_text_model(workdir, model, options.step, say)
    count = options.count or DEFAULT_COUNT
    prompt = check_prompt(options.prompt, loaded.experiment)
    sampler = make_text_sampler(loaded.model, prompt, count, options.length, sampling)
    samples = sampler(loaded.average, options.seed)
    try:
        write_texts(samples, output)
    except OSError as error:
        raise write_error(value, error) from error
    say(f"{count} sample{'s' * (count > 1)} of step {loaded.step:,}: {output}")


if __name__ == "__main__":
    run_command(main)

"""Draw images, or text, from a trained generator.

`python -m l1jax.sample --workdir runs/digits --count 64 --output grid.png`

`python -m l1jax.sample --workdir runs/text_topics --prompt "The " --length 200 --output a.txt`

`--model` draws from an exported model: a folder of l1jax.export or l1jax.compact, or a program in
it.

`--output` is a grid if it ends in .png, an archive if it ends in .npz, and else a folder, new or
empty; what ends in / always is. A name such as `samples-0.003` or `v1.0` is a folder's, and one
with the suffix of another format is refused. Files and folders appear whole or not at all, so a
command that was killed can be given again. A generator of sound also writes a .wav, one clip after
the other; its folder has a .wav beside each picture, and its archive the clips. Samples of text go
into a page, .txt, or into a .jsonl with one object a line.
"""

from l1jax.cli.early_answers import answer_early, check_model_flags
from l1jax.cli.options import SampleOptions, check_sample_numbers

if __name__ == "__main__":
    answer_early(check_model_flags(SampleOptions, "python -m l1jax.sample", check_sample_numbers))


import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Shaped

from l1jax import config
from l1jax.cli.flag_errors import translate_errors
from l1jax.cli.flags import parse, parse_optional_path, parse_path
from l1jax.cli.process import run_command
from l1jax.config import InputError
from l1jax.files import atomic_folder, atomic_write
from l1jax.models import Sampling
from l1jax.outputs import check_output_file, check_output_folder, names_a_folder, write_error
from l1jax.reporting import sample_picture, save_image
from l1jax.reporting.grid import to_pillow
from l1jax.reporting.sound import Sounds, join_clips, make_sounds, write_wav
from l1jax.serialization.loaded_generator import check_drawn, open_generator
from l1jax.terminal import Say, make_console, make_say
from l1jax.text_runs.loading import names_text, open_text_model
from l1jax.text_runs.samples import (
    check_prompt,
    check_text_flags,
    check_text_output,
    make_text_sampler,
    write_texts,
)
from l1jax.training.keys import named_seed_key
from l1jax.training.sampling import draw_latents, grid_columns, make_sampler

Form = Literal["grid", "archive", "folder", "sound"]

FORMS: dict[str, Form] = {".png": "grid", ".npz": "archive", ".wav": "sound"}
TEXT_FLAGS = ("prompt", "length", "temperature", "top_k", "top_p")
IMAGE_FLAGS = ("columns", "label")


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
    generator = opened.generator
    points = generator.image_range is None
    if points and form == "folder":
        raise InputError(
            f"`--output` (={value}) must end in .png or .npz: points have no picture each."
        )
    data = opened.experiment.data
    if form == "sound" and not isinstance(data, config.Sound):
        raise InputError(
            f"`--output` (={value}) must end in .png or .npz, or in / for a folder: this "
            "generator draws no sound."
        )
    labels = check_class(options.label, generator.classes, options.count)
    latents = draw_latents(generator, named_seed_key(options.seed, "sample"), options.count)
    images = make_sampler(generator)(opened.average, latents, labels)
    check_drawn(opened, images)
    columns = options.columns or (grid_columns(generator.classes) if labels is None else 0)
    sounds = None
    if isinstance(data, config.Sound) and form != "grid":
        sounds = make_sounds(images, data)
    if labels is None and generator.classes:
        labels = jnp.arange(options.count) % generator.classes
    try:
        write_images(images, output, form, columns, labels, sounds)
    except OSError as error:
        raise write_error(value, error) from error
    noun = "image"
    if points:
        noun = "point"
    if form == "sound":
        noun = "clip"
    what = noun + "s" * (options.count > 1)
    where = f"{output}{os.sep}" if form == "folder" else output
    say(f"{options.count} {what} of step {opened.step:,}: {where}")
    return 0


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
    refuse_flags(options, IMAGE_FLAGS, "images, and this is a model of text")
    sampling = Sampling(options.temperature, options.top_k, options.top_p)
    check_text_flags(options.length, sampling)
    value = "samples.txt" if options.output is None else options.output
    output = check_text_output(value)
    loaded = open_text_model(workdir, model, options.step, say)
    prompt = check_prompt(options.prompt, loaded.experiment)
    sampler = make_text_sampler(loaded.model, prompt, options.count, options.length, sampling)
    samples = sampler(loaded.average, options.seed)
    try:
        write_texts(samples, output)
    except OSError as error:
        raise write_error(value, error) from error
    say(f"{options.count} sample{'s' * (options.count > 1)} of step {loaded.step:,}: {output}")


def refuse_flags(options: SampleOptions, names: Sequence[str], what: str) -> None:
    """Refuse flags that were given though they have no meaning here.

    Args:
        options: the flags.
        names: of the fields that must have their defaults.
        what: what the flags are for.

    Raises:
        InputError: naming the first such flag.
    """
    default = SampleOptions()
    for name in names:
        value = getattr(options, name)
        if value != getattr(default, name):
            flag = {"label": "class"}.get(name, name.replace("_", "-"))
            raise InputError(f"`--{flag}` (={value}) is for {what}: leave it out.")


def check_class(label: int | None, classes: int, count: int) -> Int[Array, " count"] | None:
    """Return the label of each image if a class was asked for, None for all classes in turn.

    Args:
        label: the class that was asked for.
        classes: how many the generator has; 0 if it is not class-conditional.
        count: how many images are drawn.

    Raises:
        InputError: if the generator has no such class.
    """
    if label is None:
        return None
    if not 0 <= label < classes:
        known = (
            f"one of the generator's classes, 0 to {classes - 1}"
            if classes
            else "left out: the generator has none"
        )
        raise InputError(f"`--class` (={label}) must be {known}.")
    return jnp.full(count, label)


def check_output(value: str) -> tuple[Path, Form]:
    """Tell what an output is to be, and refuse what cannot be written, before any work is done.

    A dot within a name makes no suffix unless a letter follows: `samples-0.003` is a folder.

    Raises:
        InputError: if its folder is not there or not writable, its suffix is that of another
            format, or it is a folder
            with something in it.
    """
    output = parse_path("--output", value)
    suffix = output.suffix.lower()
    if not names_a_folder(value) and suffix in FORMS:
        if os.path.isdir(output):
            raise InputError(
                f"`--output` (={value}) must not be a folder that ends in {suffix}: end it in / "
                "to write into it."
            )
        return check_output_file(value), FORMS[suffix]
    if not names_a_folder(value) and suffix[1:2].isalpha() and not os.path.isdir(output):
        raise InputError(f"`--output` (={value}) must end in .png or .npz, or in / for a folder.")
    check_output_folder(output)
    return output, "folder"


def write_images(
    images: Shaped[np.ndarray, "count height width channels"],
    output: Path,
    form: Form,
    columns: int = 0,
    labels: Int[Array, " count"] | None = None,
    sounds: Sounds | None = None,
) -> None:
    """Write a grid, an archive or a folder, whole or not at all.

    Args:
        images: uint8 images, or points.
        output: where.
        form: what it is to be.
        columns: of the grid; 0 for as square as it can be.
        labels: of each image, for an archive; None if there are no classes.
        sounds: of the images, if they are spectrograms.
    """
    if form == "grid":
        save_image(sample_picture(images, columns=columns), output)
    elif form == "archive":
        with atomic_write(output) as partial, partial.open("wb") as file:
            arrays: dict[str, Any] = {"images": images}
            if labels is not None:
                arrays["labels"] = np.asarray(labels, np.int32)
            if sounds is not None:
                arrays["clips"] = sounds.clips
                arrays["sample_rate"] = np.array(sounds.sample_rate)
            np.savez_compressed(file, **arrays)
    elif form == "sound":
        assert sounds is not None
        write_wav(join_clips(sounds), sounds.sample_rate, output)
    else:
        with atomic_folder(output) as partial:
            for i, image in enumerate(images):
                save_image(to_pillow(image), partial / f"{i:05d}.png")
                if sounds is not None:
                    write_wav(sounds.clips[i], sounds.sample_rate, partial / f"{i:05d}.wav")


if __name__ == "__main__":
    run_command(main)

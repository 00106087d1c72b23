"""Sample a trained generator: `python -m l1jax.sample --workdir runs/digits --count 64 --output grid.png`.

`--model E` samples an exported one: a folder of l1jax.export or l1jax.compact, or the program in it.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import jax.numpy as jnp
import numpy as np
import tyro
from jaxtyping import Array, Int, Shaped
from rich.console import Console

from l1jax.command_line import given_path, parse, run, typed_path
from l1jax.compaction.opened import open_generator
from l1jax.config import InputError
from l1jax.files import whole
from l1jax.reporting import sample_picture, save_image
from l1jax.reporting.grid import to_pillow
from l1jax.training.sampling import draw_latents, grid_columns, make_sampler
from l1jax.training.task import stream


@dataclass(frozen=True)
class SampleOptions:
    """Draw images from the averaged generator of a training run, or from an exported model."""

    workdir: str | None = None
    """Work directory of the run."""
    model: str | None = None
    """Folder of an exported model, or its model.safetensors, model.stablehlo or model.onnx; instead of --workdir."""
    count: int = 64
    """How many images."""
    seed: int = 0
    """Seed of the latents; the first images are the same for every count."""
    step: int | None = None
    """Which checkpoint; by default the newest good one."""
    output: str = "grid.png"
    """A .png grid, a .npz (uint8, or float32 for points; key `images`: count, height, width, channels), or a folder."""
    columns: int = 0
    """Images per row of the grid; 0 for one per class, or as square as it can be without classes."""
    label: Annotated[int | None, tyro.conf.arg(name="class")] = None
    """Class of all images of a class-conditional generator; by default its classes in turn."""


def main(arguments: Sequence[str]) -> int:
    """Sample as the flags say; returns the exit status."""
    options = parse(SampleOptions, arguments, "python -m l1jax.sample")
    workdir, model = given_path("--workdir", options.workdir), given_path("--model", options.model)
    output = typed_path("--output", options.output)
    if options.count < 1:
        raise InputError(f"`--count` (={options.count}) must be at least 1.")
    if not 0 <= options.seed < 2**32:
        raise InputError(f"`--seed` (={options.seed}) must be at least 0 and below 2**32.")
    if options.columns < 0:
        raise InputError(f"`--columns` (={options.columns}) must be at least 0.")
    check_output(output)
    console = Console(soft_wrap=True, emoji=False)

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False)

    opened = open_generator(workdir, model, options.step, say, "python -m l1jax.sample")
    generator = opened.generator
    if generator.image_range is None and not output.suffix:
        raise InputError(f"`--output` (={output}) must end in .png or .npz: points have no picture each.")
    labels = check_class(options.label, generator.classes, options.count)
    latents = draw_latents(generator, stream(options.seed, "sample"), options.count)
    images = make_sampler(generator)(opened.average, latents, labels)
    columns = options.columns or (grid_columns(generator.classes) if labels is None else 0)
    try:
        write_images(images, output, columns)
    except OSError as error:
        raise InputError(f"`--output` (={output}) must be writable: {error.strerror or error}.") from error
    say(f"{options.count} image{'s' * (options.count > 1)} of step {opened.step:,}: {output}")
    return 0


def check_class(label: int | None, classes: int, count: int) -> Int[Array, " count"] | None:
    """The label of each image if a class was asked for, None for all classes in turn.

    Raises:
        InputError: if the generator has no such class.
    """
    if label is None:
        return None
    if not 0 <= label < classes:
        known = f"one of the generator's classes, 0 to {classes - 1}" if classes else "left out: the generator has none"
        raise InputError(f"`--class` (={label}) must be {known}.")
    return jnp.full(count, label)


def check_output(output: Path) -> None:
    """Refuse an output that cannot be written, before any work is done.

    Raises:
        InputError: if its folder is not there, its suffix is unknown, or it is a folder with something in it.
    """
    if output.suffix.lower() not in ("", ".png", ".npz"):
        raise InputError(f"`--output` (={output}) must end in .png or .npz, or be a folder.")
    if not os.path.isdir(output.absolute().parent):  # Path.is_dir raises where it may not look
        raise InputError(
            f"`--output` (={output}) must be in a folder that exists: make {output.absolute().parent} first."
        )
    if output.suffix and os.path.isdir(output):
        raise InputError(f"`--output` (={output}) must not be a folder that ends in {output.suffix}.")
    if not output.suffix and os.path.exists(output) and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"`--output` (={output}) must be a new or an empty folder, or end in .png or .npz.")


def write_images(images: Shaped[np.ndarray, "count height width channels"], output: Path, columns: int = 0) -> None:
    """Write a grid, an archive or a folder; files appear whole or not at all."""
    if output.suffix.lower() == ".png":
        save_image(sample_picture(images, columns=columns), output)
    elif output.suffix.lower() == ".npz":
        with whole(output) as partial, partial.open("wb") as file:
            np.savez_compressed(file, images=images)
    else:
        output.mkdir(exist_ok=True)
        for i, image in enumerate(images):
            save_image(to_pillow(image), output / f"{i:05d}.png")


if __name__ == "__main__":
    run(main)

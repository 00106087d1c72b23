"""Save the generated images that are compared, as `l1jax.sample` saves them."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np

from l1jax.cli.flags import parse_path
from l1jax.config import InputError
from l1jax.evaluation.comparison import SeedImages
from l1jax.evaluation.pictures import ImageSet, as_image_set
from l1jax.files import atomic_folder
from l1jax.outputs import check_output_folder, write_error
from l1jax.processes.agreement import lead
from l1jax.reporting import save_image
from l1jax.reporting.grid import to_pillow

Watch: TypeAlias = Callable[[Iterable[SeedImages]], Iterator[SeedImages]]
"""(images of each seed) → the same, each seen on its way."""


def check_image_folder(value: str) -> None:
    """Raise unless images can be saved to a folder.

    Raises:
        InputError: if it holds something, or its parent is missing or cannot be written to.
    """
    check_output_folder(parse_path("--save-images", value), "--save-images")


def saving_images(value: str) -> Watch:
    """Return what saves the images of each seed on their way into the comparison.

    The images of the seed 0 are `seed_0/00000.png` and so on in the folder, as
    `l1jax.sample --seed 0` draws them.

    Args:
        value: the folder; empty to save nothing.
    """

    def watch(generated: Iterable[SeedImages]) -> Iterator[SeedImages]:
        for of_seed in generated:
            if value:
                lead(lambda of_seed=of_seed: _save(of_seed, Path(value).expanduser()))
            yield of_seed

    return watch


def _save(of_seed: SeedImages, folder: Path) -> None:
    images = of_seed.images
    if not isinstance(images, ImageSet) and images.dtype != np.uint8:
        raise InputError(f"`--save-images` (={folder}) must be left out for points.")
    pictures = as_image_set(images).own
    try:
        folder.mkdir(exist_ok=True)
        with atomic_folder(folder / f"seed_{of_seed.seed}") as partial:
            for i in range(len(pictures)):
                save_image(to_pillow(pictures.read(i)), partial / f"{i:05d}.png")
    except OSError as error:
        raise write_error(folder, error, "--save-images") from error

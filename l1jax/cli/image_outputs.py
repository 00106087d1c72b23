"""What l1jax.sample writes of images: which forms there are, and the writing."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from l1jax.cli.flags import parse_path
from l1jax.config import InputError
from l1jax.files import atomic_folder, atomic_write
from l1jax.outputs import check_output_file, check_output_folder, names_a_folder
from l1jax.reporting import sample_picture, save_image
from l1jax.reporting.grid import to_pillow
from l1jax.reporting.rows import rows_picture, save_animation
from l1jax.reporting.sound import Sounds, join_clips, write_wav

Form = Literal["grid", "animation", "archive", "folder", "sound"]

FORMS: dict[str, Form] = {
    ".png": "grid",
    ".gif": "animation",
    ".webp": "animation",
    ".npz": "archive",
    ".wav": "sound",
}
VIDEOS = (".mp4", ".webm", ".mov", ".avi", ".mkv", ".apng")


class PictureLayout(NamedTuple):
    """How images are laid out in a picture.

    columns: of a grid, or of an animation; 0 for as square as it can be.
    frames: images in a row of related ones; 0 for independent images.
    titles: of the groups that the rows make; empty for one group without a title.
    """

    columns: int = 0
    frames: int = 0
    titles: Sequence[str] = ()


def check_output(value: str) -> tuple[Path, Form]:
    """Tell what an output is to be, and refuse what cannot be written, before any work is done.

    A dot within a name makes no suffix unless a letter follows: `samples-0.003` is a folder.

    Raises:
        InputError: if its folder is not there or not writable, its suffix is that of another
            format, or it is a folder with something in it.
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
    if suffix in VIDEOS and not names_a_folder(value) and not os.path.isdir(output):
        raise InputError(
            f"`--output` (={value}) must end in .gif or .webp, which are what l1jax writes of "
            "images that move."
        )
    if not names_a_folder(value) and suffix[1:2].isalpha() and not os.path.isdir(output):
        raise InputError(f"`--output` (={value}) must end in .png or .npz, or in / for a folder.")
    check_output_folder(output)
    return output, "folder"


def write_images(
    images: Shaped[np.ndarray, "count height width channels"],
    output: Path,
    form: Form,
    layout: PictureLayout,
    labels: Int[Array, " count"] | Float[Array, "count classes"] | None = None,
    sounds: Sounds | None = None,
) -> None:
    """Write a picture, an animation, an archive, a folder or a sound, whole or not at all.

    Args:
        images: uint8 images, or points.
        output: where.
        form: what it is to be.
        layout: of a picture or an animation.
        labels: of each image, or the weights of the classes in it, for an archive; None if there
            are no classes.
        sounds: of the images, if they are spectrograms.
    """
    if form == "grid":
        if layout.frames and images.dtype == np.uint8:
            save_image(rows_picture(images, layout.frames, layout.titles), output)
        else:
            save_image(sample_picture(images, columns=layout.columns), output)
    elif form == "animation":
        save_animation(images, layout.frames, layout.columns, output)
    elif form == "archive":
        with atomic_write(output) as partial, partial.open("wb") as file:
            arrays: dict[str, Any] = {"images": images}
            if labels is not None and labels.ndim == 1:
                arrays["labels"] = np.asarray(labels, np.int32)
            elif labels is not None:
                arrays["class_weights"] = np.asarray(labels, np.float32)
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

"""One side of a comparison: a set of images, a generator that draws them, or their statistics."""

import os
from pathlib import Path
from typing import NamedTuple

from l1jax.config import InputError
from l1jax.evaluation.statistics_comparison import StatisticsByName
from l1jax.evaluation.statistics_files import load_statistics
from l1jax.image_evaluation.opening import OpenedSet, open_set
from l1jax.image_evaluation.real_images import MIN_IMAGES
from l1jax.image_evaluation.recognise import GENERATORS, Place
from l1jax.image_evaluation.request import Request
from l1jax.image_evaluation.shapes import Sized
from l1jax.serialization.loaded_generator import LoadedGenerator, open_generator
from l1jax.serialization.other_sampler import with_sampler
from l1jax.terminal import Say


class Side(NamedTuple):
    """What one of the two sides is: a set of images, statistics, or a generator."""

    place: Place
    opened: OpenedSet | None = None
    statistics: StatisticsByName | None = None
    loaded: LoadedGenerator | None = None

    @property
    def sized(self) -> Sized | None:
        """The shape of its images; None for statistics."""
        name = self.place.flag.removeprefix("--")
        if self.loaded is not None:
            shape = self.loaded.generator.image_shape
            return Sized(name, shape, shape[2])
        if self.opened is not None:
            pictures = self.opened.pictures
            return Sized(name, pictures.shape, int(pictures.shapes[0, 2]))
        return None

    def describe(self) -> str:
        """Say in one line what it is."""
        if self.opened is not None:
            return self.opened.describe()
        if self.loaded is not None:
            size = "×".join(map(str, self.loaded.generator.image_shape[:2]))
            return f"images that {self.place.noun} draws at step {self.loaded.step:,}, {size}"
        assert self.statistics is not None
        counts = {own.count for own in self.statistics.values()}
        of = " and ".join(name or "unnamed features" for name in self.statistics)
        known = [f"{count:,} images" for count in counts if count is not None]
        return f"{self.place.noun} of {' and '.join(known) or 'an unknown number of images'}: {of}"


def open_side(place: Place, request: Request, say: Say) -> Side:
    """Open what is at a place.

    Args:
        place: what is there.
        request: how it is read.
        say: prints a sentence.

    Raises:
        InputError: if it cannot be opened.
    """
    is_generated = place.flag != "--real"
    if place.kind == "statistics":
        return Side(place, statistics=load_statistics(place.path))
    if is_generated and place.kind in GENERATORS:
        path = Path(place.path)
        loaded = open_generator(None, path, request.step, say, "python -m l1jax.evaluate")
        if loaded.generator.image_range is None:
            raise InputError(
                f"`{place.flag}` (={place.value}) must draw images, and draws points: leave "
                "--real out to compare them with their own mixture."
            )
        return Side(place, loaded=with_sampler(loaded, dict(request.sampler)))
    if place.kind == "model":
        raise InputError(
            f"`{place.flag}` (={place.value}) is an exported model, which draws images and holds "
            "no real ones: give it as --generated, and a folder of images, say, as --real."
        )
    limit = request.samples if is_generated else request.real_samples
    opened = open_set(place, request, limit, shuffled=not is_generated)
    if len(opened.pictures) < MIN_IMAGES:
        raise InputError(
            f"`{place.flag}` (={place.value}) has {len(opened.pictures)} images, and {MIN_IMAGES} "
            "are needed to compare with."
        )
    return Side(place, opened=opened)


def describe_place(side: Side) -> str:
    """Describe a side with the fingerprint of its images."""
    text = side.describe()
    if side.opened is not None:
        text += f", fingerprint {side.opened.source.fingerprint[:12]}"
    return f"{text} ({os.path.basename(os.path.normpath(side.place.value))})"

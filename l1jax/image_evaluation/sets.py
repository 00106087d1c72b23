"""Compare two sets of images, each a folder, an archive, arrays, a run, a model or statistics."""

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from l1jax.config import InputError
from l1jax.data.source import Source
from l1jax.evaluation.comparison import JsonObject, SeedImages, choose_extractors
from l1jax.evaluation.evaluate_samples import ImageReference, evaluate_images
from l1jax.evaluation.pictures import ImageSet, as_image_set
from l1jax.evaluation.source_classifier import classifier_of
from l1jax.evaluation.statistics_comparison import (
    StatisticsByName,
    compare_statistics,
    fitting_extractors,
    statistics_of,
)
from l1jax.evaluation.statistics_files import Statistics, load_statistics
from l1jax.evaluation.zeros import count_zeros
from l1jax.image_evaluation.drawing import draw_for_seeds
from l1jax.image_evaluation.opening import OpenedSet, open_set
from l1jax.image_evaluation.protocol import describe_drawing, environment
from l1jax.image_evaluation.real_images import MAX_IMAGES, MIN_IMAGES
from l1jax.image_evaluation.recognise import GENERATORS, Place
from l1jax.image_evaluation.request import Request
from l1jax.image_evaluation.saving import Watch
from l1jax.image_evaluation.shapes import Shape, Sized, as_set, common_shape
from l1jax.models.summary import layers
from l1jax.serialization.loaded_generator import LoadedGenerator, open_generator
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


class Prepared(NamedTuple):
    """Both sides, opened and brought to one shape.

    real: its images; None if only their statistics are known.
    generated: the images of each seed; None likewise.
    num_generated: number of images per seed.
    shape: in which they are compared.
    remarks: sentences about what was done to them.
    """

    real: ImageSet | None
    generated: Callable[[], Iterator[SeedImages]] | None
    num_generated: int
    shape: Shape | None
    remarks: list[str]


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
        return Side(place, loaded=loaded)
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


def prepare(real: Side, generated: Side, request: Request) -> Prepared:
    """Bring both sides to one shape, and say how the generated images of each seed are had.

    Args:
        real: the real side.
        generated: the generated side.
        request: how many are drawn, and the size.
    """
    remarks: list[str] = []
    for side in (real, generated):
        if side.opened is not None:
            remarks += side.opened.remarks
    sized = [side.sized for side in (real, generated)]
    image_size = request.image_size
    if generated.loaded is not None:
        image_size = image_size or generated.loaded.generator.image_shape[0]
    shape, of_shape = common_shape([one for one in sized if one is not None], image_size)
    remarks += of_shape
    only_common = bool(image_size)
    real_set = None
    if real.opened is not None:
        real_set = as_set(real.opened.pictures, shape, only_common=only_common)
    if generated.opened is not None:
        own = as_set(generated.opened.pictures, shape, only_common=only_common)
        count = len(own.own)
        return Prepared(real_set, lambda: iter([SeedImages(0, own)]), count, shape, remarks)
    loaded = generated.loaded
    if loaded is None:
        return Prepared(real_set, None, 0, shape, remarks)
    count = request.samples
    if not count:
        count = MAX_IMAGES if real_set is None else min(len(real_set.own), MAX_IMAGES)

    def draw() -> Iterator[SeedImages]:
        for of_seed in draw_for_seeds(loaded, request.seeds, count):
            drawn = as_set(as_image_set(of_seed.images).own, shape, only_common=True)
            yield of_seed._replace(images=drawn)

    return Prepared(real_set, draw, count, shape, remarks)


def compare_sides(real: Side, generated: Side, request: Request, watch: Watch = iter) -> JsonObject:
    """Compare the generated side with the real one.

    Args:
        real: images or statistics.
        generated: images, statistics or a generator.
        request: how they are compared.
        watch: sees the generated images of each seed on their way.

    Returns:
        All numbers, as `evaluation.json` holds them.

    Raises:
        InputError: if the sides have no features in common, or an image cannot be read.
    """
    prepared = prepare(real, generated, request)
    remarks = list(prepared.remarks)
    networks = dict(request.networks)
    if prepared.real is not None and prepared.generated is not None:
        if prepared.shape is None and not networks:
            raise InputError(
                f"`{real.place.flag}` (={real.place.value}) and `{generated.place.flag}` "
                f"(={generated.place.value}) hold images of several sizes: give --image-size, such "
                "as --image-size 64, to crop and resize all of them, or --inception."
            )
        source = labelled_source(real, prepared)
        classifier = None
        if source.labels is not None and prepared.shape is not None:
            classifier = classifier_of(source, remarks.append, cache=request.cache)
        reference = ImageReference(prepared.real, source, classifier, networks)
        scores = evaluate_images(
            watch(prepared.generated()), prepared.num_generated, reference, remarks.append
        )
    else:
        scores = {"features": compare_by_statistics(real, generated, prepared, networks)}
        remarks = [text for text in remarks if not text.startswith("pixels and random")]
    result = {**describe(real, generated, prepared, request), **scores}
    if generated.loaded is not None:
        loaded = generated.loaded
        zeros = count_zeros(loaded.average.params, layers(loaded.generator.network.init))
        result["zeros"] = zeros.to_json()
    if remarks:
        result["remarks"] = remarks
    return result


def labelled_source(real: Side, prepared: Prepared) -> Source:
    """Return the real images in the common shape as a source, with their labels."""
    assert real.opened is not None
    assert prepared.real is not None
    pictures = prepared.real.common or prepared.real.own
    source = real.opened.source
    labels = None if source.labels is None else source.labels[real.opened.index]
    height, width, channels = prepared.shape or tuple(pictures.shapes[0].tolist())
    gather = None
    if pictures.array is not None:
        gather = pictures.take
    return Source(
        length=len(pictures),
        image_shape=(height, width, channels),
        example=pictures.read,
        fingerprint=source.fingerprint,
        labels=labels,
        classes=source.classes,
        gather=gather,
    )


def compare_by_statistics(
    real: Side, generated: Side, prepared: Prepared, networks: Mapping
) -> JsonObject:
    """Compare two sides of which one is known by its statistics alone.

    Args:
        real: the real side.
        generated: the generated side.
        prepared: their images, as far as there are any.
        networks: name → features besides those of pixels and random convolutions.

    Returns:
        Name of the features → their distance.
    """
    extractors = choose_extractors(prepared.shape, None, networks)
    origin = f"`{real.place.flag}` and `{generated.place.flag}`"

    def of_images(images: ImageSet, other: Side) -> dict[str, Statistics]:
        assert other.statistics is not None
        where = f"`{other.place.flag}` (={other.place.value})"
        return statistics_of(
            fitting_extractors(other.statistics, extractors, where), images, lambda _: None
        )

    if real.statistics is not None and generated.statistics is not None:
        return compare_statistics(real.statistics, [generated.statistics], origin)
    if real.statistics is not None:
        assert prepared.generated is not None
        of_seeds = (
            of_images(as_image_set(of_seed.images), real) for of_seed in prepared.generated()
        )
        return compare_statistics(real.statistics, of_seeds, origin)
    assert prepared.real is not None
    assert generated.statistics is not None
    of_real = of_images(prepared.real, generated)
    return compare_statistics(of_real, [generated.statistics], origin)


def describe(real: Side, generated: Side, prepared: Prepared, request: Request) -> JsonObject:
    """Return the step of a generator, and the protocol.

    Args:
        real: the side of the real images.
        generated: the other side.
        prepared: what of both is compared.
        request: how they are read.
    """
    protocol: JsonObject = {"real": f"{describe_place(real)}"}
    if generated.loaded is not None:
        classes = generated.loaded.generator.classes
        protocol |= describe_drawing(classes, prepared.num_generated, request.seeds)
    else:
        protocol["generated"] = describe_place(generated)
    if prepared.shape is not None:
        protocol["shape"] = list(prepared.shape)
    result: JsonObject = {}
    if generated.loaded is not None:
        result["step"] = generated.loaded.step
    result["protocol"] = protocol | environment()
    return result


def describe_place(side: Side) -> str:
    """Describe a side with the fingerprint of its images."""
    text = side.describe()
    if side.opened is not None:
        text += f", fingerprint {side.opened.source.fingerprint[:12]}"
    return f"{text} ({os.path.basename(os.path.normpath(side.place.value))})"


def side_statistics(side: Side, request: Request, say: Say) -> dict[str, Statistics]:
    """Compute the statistics of one side alone; of a generator, of the images of the seed 0.

    Args:
        side: images or a generator.
        request: how they are read.
        say: prints a sentence about what is left out.

    Raises:
        InputError: if the side is a file of statistics, or its images have several sizes and there
            are no features that resize them.
    """
    if side.statistics is not None:
        raise InputError(
            f"`{side.place.flag}` (={side.place.value}) is a file of statistics already: copy it."
        )
    one_seed = dataclasses.replace(request, seeds=1)
    prepared = prepare(side, side, one_seed)
    for remark in prepared.remarks:
        say(remark)
    images = prepared.real
    if side.loaded is not None and prepared.generated is not None:
        (drawn,) = prepared.generated()
        images = as_image_set(drawn.images)
    assert images is not None
    extractors = choose_extractors(prepared.shape, None, dict(request.networks))
    if not extractors:
        raise InputError(
            f"`{side.place.flag}` (={side.place.value}) holds images of several sizes: give "
            "--image-size to crop and resize all of them, or --inception."
        )
    return statistics_of(extractors, images, say)

"""Compare two sets of images, each a folder, an archive, arrays, a run, a model or statistics."""

from l1jax.config import InputError
from l1jax.data.source import Source
from l1jax.evaluation.comparison import JsonObject
from l1jax.evaluation.evaluate_samples import ImageReference, evaluate_images
from l1jax.evaluation.source_classifier import classifier_of
from l1jax.evaluation.zeros import count_zeros
from l1jax.image_evaluation.paths import add_path_length
from l1jax.image_evaluation.preparation import Prepared, prepare
from l1jax.image_evaluation.protocol import describe_drawing, environment
from l1jax.image_evaluation.request import Request
from l1jax.image_evaluation.saving import Watch
from l1jax.image_evaluation.side_statistics import compare_by_statistics
from l1jax.image_evaluation.sides import Side, describe_place
from l1jax.models.summary import layers


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
        reference = ImageReference(
            prepared.real,
            source,
            classifier,
            networks,
            labels=source.labels,
            with_accuracy_score=request.accuracy_score,
        )
        scores = evaluate_images(
            watch(prepared.generated()), prepared.num_generated, reference, remarks.append
        )
    else:
        scores = {"features": compare_by_statistics(real, generated, prepared, networks)}
        remarks = [text for text in remarks if not text.startswith("pixels and random")]
    if generated.loaded is not None and request.path_length:
        add_path_length(scores, generated.loaded, remarks.append)
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
        generator = generated.loaded.generator
        protocol |= describe_drawing(generator, prepared.num_generated, request.seeds)
    else:
        protocol["generated"] = describe_place(generated)
    if prepared.shape is not None:
        protocol["shape"] = list(prepared.shape)
    result: JsonObject = {}
    if generated.loaded is not None:
        result["step"] = generated.loaded.step
    result["protocol"] = protocol | environment()
    return result

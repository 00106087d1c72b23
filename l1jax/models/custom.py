"""A user's own model: made by the function that a configuration names, and checked at once."""

import functools
import math
import typing
from collections.abc import Callable
from typing import Any

from l1jax.config.custom import CustomModel, describe, load_factory, options_type
from l1jax.config.fields import InputError
from l1jax.models.gan import Gan
from l1jax.models.network import Generator
from l1jax.models.network_checks import check_network, no_global_randomness
from l1jax.models.vae import OUTPUTS, Vae

FIELD = "model.factory"
KINDS = (Gan, Generator, Vae)


@functools.lru_cache(maxsize=16)
def custom_model(model: CustomModel, image_shape: tuple[int, int, int]) -> Gan | Generator | Vae:
    """Make the networks of a user's own model for images of this shape, and check them.

    Only a function that says by its annotations that it takes a frozen dataclass of options and
    returns a `Gan`, `Vae` or `Generator` is called.

    Args:
        model: which function, with its options.
        image_shape: height, width and channels.

    Raises:
        InputError: if the function cannot be had, fails, is not pure, or makes something else than
            networks for these images.
    """
    factory = load_factory(model.factory, FIELD)
    kind = options_type(factory, model.factory, FIELD)
    if not isinstance(model.options, kind):
        raise InputError(
            f"`model.options` (={type(model.options).__name__}) must be a {kind.__name__}, the "
            f"options of {model.factory}."
        )
    returned = typing.get_type_hints(factory).get("return")
    if returned not in KINDS:
        raise InputError(
            f"`{FIELD}` (={model.factory}) must say what it returns: annotate it with -> Gan, "
            "-> Vae or -> Generator of l1jax.models."
        )
    with no_global_randomness(model.factory):
        made = _make(factory, model, image_shape)
        twin = _make(factory, model, image_shape)
    try:
        check_model(made, twin, image_shape)
    except InputError as error:
        raise InputError(f"`{FIELD}` (={model.factory}): {error}") from error
    return made


def _make(
    factory: Callable[..., Any], model: CustomModel, image_shape: tuple[int, int, int]
) -> Gan | Generator | Vae:
    try:
        made = factory(model.options, image_shape)
    except Exception as error:
        reason = f"`{FIELD}` (={model.factory}) fails with {describe(error)}."
        raise InputError(reason) from error
    if not isinstance(made, KINDS):
        raise InputError(
            f"`{FIELD}` (={model.factory}) must return a Gan, Vae or Generator of l1jax.models, "
            f"and returns a {type(made).__name__}."
        )
    return made


def check_model(
    model: Gan | Generator | Vae, twin: Gan | Generator | Vae, image_shape: tuple[int, int, int]
) -> None:
    """Check all networks of a model for images of this shape.

    Args:
        model: the networks.
        twin: the same, made once more.
        image_shape: height, width and channels.

    Raises:
        InputError: naming what is wrong, and with which network.
    """
    generator = _generator_of(model)
    _check_generator(generator, image_shape)
    _check_generator(_generator_of(twin), image_shape)
    latent = (generator.latent_size,)
    classes = generator.classes
    networks = (generator.network, _generator_of(twin).network)
    check_network(*networks, "generator", latent, image_shape, classes)
    if type(twin) is not type(model) or _numbers(twin) != _numbers(model):
        raise InputError("it is not pure: called twice, it makes two different models.")
    if isinstance(model, Gan) and isinstance(twin, Gan):
        _require_whole("packing", model.packing, 1)
        networks = (model.discriminator, twin.discriminator)
        check_network(*networks, "discriminator", image_shape, (), classes, packing=model.packing)
    if isinstance(model, Vae) and isinstance(twin, Vae):
        if model.likelihood not in OUTPUTS:
            raise InputError(
                f"`likelihood` (={model.likelihood!r}) must be one of {', '.join(OUTPUTS)}."
            )
        height, width, channels = image_shape
        decoded = (height, width, OUTPUTS[model.likelihood] * channels)
        check_network(model.decoder, twin.decoder, "decoder", latent, decoded, classes)
        moments = (2 * generator.latent_size,)
        check_network(model.encoder, twin.encoder, "encoder", image_shape, moments, classes)


def _generator_of(model: Gan | Generator | Vae) -> Generator:
    return model if isinstance(model, Generator) else model.generator


def _numbers(model: Gan | Generator | Vae) -> tuple[Any, ...]:
    """Return what a model says of itself besides its networks."""
    generator = _generator_of(model)
    own = (generator.latent_size, generator.image_range, generator.classes)
    return (*own, getattr(model, "packing", None), getattr(model, "likelihood", None))


def _check_generator(generator: Any, image_shape: tuple[int, int, int]) -> None:
    if not isinstance(generator, Generator):
        raise InputError(
            f"`generator` (={type(generator).__name__}) must be a Generator of l1jax.models."
        )
    _require_whole("generator.latent_size", generator.latent_size, 1)
    _require_whole("generator.classes", generator.classes, 0)
    if generator.image_shape != image_shape:
        raise InputError(
            f"`generator.image_shape` (={generator.image_shape}) must be {image_shape}, that of "
            "the data, which the function gets as its second argument."
        )
    image_range: Any = generator.image_range
    if image_shape[:2] == (1, 1):
        if image_range is not None:
            raise InputError(f"`generator.image_range` (={image_range}) must be None for points.")
        return
    is_pair = isinstance(image_range, tuple) and len(image_range) == 2
    if not is_pair or not all(isinstance(end, int | float) for end in image_range):
        raise InputError(
            f"`generator.image_range` (={image_range!r}) must be the smallest and the largest "
            "value of the images that the generator draws, such as (-1.0, 1.0)."
        )
    low, high = image_range
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InputError(
            f"`generator.image_range` (={image_range}) must be two finite numbers, the smaller one "
            "first."
        )


def _require_whole(name: str, value: Any, least: int) -> None:
    if type(value) is not int or value < least:
        raise InputError(f"`{name}` (={value!r}) must be a whole number of at least {least}.")

"""A user's own data: an object that a function of an installed module makes, and its checks."""

import functools
import inspect
from typing import Any

import numpy as np
from jaxtyping import Int32

from l1jax.config import CustomData, InputError
from l1jax.config.codec import decode_options
from l1jax.config.custom import describe, load_factory
from l1jax.data.source import Source, fingerprint

FIELD = "data.factory"
NEEDED = ("length", "image_shape", "example", "fingerprint")


def open_custom(data: CustomData) -> Source:
    """Open a user's own data, and check what can be checked before training.

    Args:
        data: which function, with its options.

    Raises:
        InputError: if the function cannot be had or fails, or its object is not what it says.
            `Source.example` raises it for an example of another shape or type.
    """
    if isinstance(data.options, dict):  # of a folder that was read without the package
        data = decode_options(data, "data")
    return _open(data)


@functools.lru_cache(maxsize=4)
def _open(data: CustomData) -> Source:
    made = _make(data)
    for name in NEEDED:
        if not hasattr(made, name):
            raise _error(data, f"makes a {type(made).__name__} without `{name}`; it needs {_all()}")
    length = made.length
    if type(length) is not int or length < 1:
        raise _error(data, f"has the `length` {length!r}, which must be a whole number from 1 on")
    shape = _shape(data, made.image_shape)
    identity = _identity(data, made)
    example = functools.partial(_example, data, made.example, shape, length)
    for index in (0, length - 1):
        first = example(index)
        if not np.array_equal(first, example(index)):
            raise _error(data, f"gives another `example({index})` each time: draw from the index")
    return Source(
        length=length,
        image_shape=shape,
        example=example,
        fingerprint=fingerprint("custom", identity),
        labels=_labels(data, getattr(made, "labels", None), length),
        dtype=_dtype(shape),
        classes=tuple(map(str, getattr(made, "classes", ()))),
    )


def _make(data: CustomData) -> Any:
    factory = load_factory(data.factory, FIELD)
    arguments = [data.options] if inspect.signature(factory).parameters else []
    try:
        return factory(*arguments)
    except Exception as error:
        raise _error(data, f"fails with {describe(error)}") from error


def _identity(data: CustomData, made: Any) -> str:
    """Return the fingerprint, which must be that of the same data made again."""
    identity = made.fingerprint
    if not isinstance(identity, str) or not identity:
        raise _error(
            data,
            f"has the `fingerprint` {identity!r}, which must be a string that identifies the "
            "examples, such as a hash of their files",
        )
    if identity != made.fingerprint or identity != _make(data).fingerprint:
        raise _error(
            data,
            "has a `fingerprint` that changes, so that no run could be resumed: make it of "
            "what the examples are made of",
        )
    return identity


def _shape(data: CustomData, shape: Any) -> tuple[int, int, int]:
    sides = tuple(shape) if isinstance(shape, tuple | list) else ()
    if len(sides) != 3 or not all(type(side) is int and side > 0 for side in sides):
        raise _error(
            data, f"has the `image_shape` {shape!r}, which must be (height, width, channels)"
        )
    height, width, channels = sides
    return height, width, channels


def _dtype(shape: tuple[int, int, int]) -> type:
    """Return the type of examples: points are images of one pixel."""
    return np.float32 if shape == (1, 1, 2) else np.uint8


def _example(
    data: CustomData, example: Any, shape: tuple[int, int, int], length: int, index: int
) -> Any:
    """Make one example, and check its shape and type."""
    try:
        made = np.asarray(example(index))
    except Exception as error:
        raise _error(
            data,
            f"says that it has {length:,} examples, and `example({index})` fails with "
            f"{describe(error)}",
        ) from error
    if made.shape != shape or made.dtype != _dtype(shape):
        raise _error(
            data,
            f"gives {made.dtype}{list(made.shape)} as `example({index})`, which must be "
            f"{np.dtype(_dtype(shape))}{list(shape)}",
        )
    return made


def _labels(data: CustomData, labels: Any, length: int) -> Int32[np.ndarray, " length"] | None:
    if labels is None:
        return None
    array = np.asarray(labels)
    if array.shape != (length,) or array.dtype.kind not in "iu" or array.min() < 0:
        raise _error(
            data,
            f"has `labels` of {array.dtype}{list(array.shape)}, which must be {length:,} integers "
            "from 0 on, one for each example",
        )
    return array.astype(np.int32)


def _all() -> str:
    return f"{', '.join(NEEDED[:-1])} and {NEEDED[-1]}"


def _error(data: CustomData, problem: str) -> InputError:
    return InputError(f"`{FIELD}` (={data.factory}) {problem}.")

"""What images are measured in: functions from uint8 images to vectors, each with the protocol that names it.

A distance between images means something only beside what it was taken on: features, resizing, layer, weights. All
of that is in `FeatureExtractor.protocol`, which belongs beside every number.
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, PyTree, Real, Shaped, UInt8

from l1jax.models.layers import convolve

AXIS = "images"
Images = UInt8[Array, "batch _height _width _channels"]
AnyImages = Shaped[Array | np.ndarray, "..."]  # what is no image is refused in words


class Extracted(NamedTuple):
    """What was seen in images, a row for each."""

    features: Float[Array | np.ndarray, "batch features"]
    logits: Float[Array | np.ndarray, "batch classes"] | None = None


class FeatureExtractor(NamedTuple):
    """A function from uint8 images to features, with the words that identify it.

    protocol: what distinguishes these features from all others: resizing, layer and weights.
    extract: (parameters, uint8 images) → features and logits. A pure function, which `extract_all` compiles.
    parameters: arrays for `extract`. As arguments they are no constants of the compiled program.
    details: numbers that are reported beside the protocol, such as a classifier's accuracy.
    """

    protocol: str
    extract: Callable[[PyTree, Images], Extracted]
    parameters: PyTree = ()
    details: Mapping[str, float] = MappingProxyType({})


def custom_features(
    protocol: str, function: Callable[[Images], Float[Array, "batch features"]]
) -> FeatureExtractor:
    """See images by any function of uint8 images that JAX can trace.

    Args:
        protocol: says what the function does; it stands beside the numbers.
        function: images → a vector for each.
    """
    return FeatureExtractor(protocol, lambda _, images: Extracted(function(images)))


def pixel_features() -> FeatureExtractor:
    """See images as vectors of their pixels in [-1, 1]."""
    return FeatureExtractor("pixels in [-1, 1]", _pixels)


def _pixels(_: PyTree, images: Images) -> Extracted:
    return Extracted(scaled(images).reshape(len(images), -1))


def scaled(
    images: Real[Array, "batch _height _width _channels"],
) -> Float[Array, "batch _height _width _channels"]:
    """Pixels in [-1, 1]."""
    return images.astype(jnp.float32) / 127.5 - 1


def in_colour(
    images: Shaped[Array, "batch height width channels"],
) -> Shaped[Array, "batch height width 3"]:
    """Grey images as red, green and blue ones.

    Raises:
        ValueError: if they have neither 1 nor 3 channels.
    """
    if images.shape[-1] not in (1, 3):
        raise ValueError(
            f"`images` (channels={images.shape[-1]}) must have 1 channel or 3: grey, or red, green and blue."
        )
    return jnp.broadcast_to(images, (*images.shape[:-1], 3))


DEPTH, WIDTH = 8, 128  # of random convolutions: at most so many layers, each of so many channels
SLOPE = 0.2  # of leaky ReLU
SMALLEST = 4  # pixels at which they stop, in each dimension


def random_features(seed: int = 0, features: int = 512) -> FeatureExtractor:
    """See images by convolutions with fixed random weights.

    3×3 convolutions of stride 2 with leaky ReLU, at least one, until the image has at most 4×4 pixels; then a
    random projection of these. The weights are uniform with the variance that keeps activations at one scale, made
    from the bits of NumPy's Philox: the same with every version of NumPy and JAX. They have learnt nothing, so they
    need neither a download nor labels; their numbers compare generators on one data set.

    Args:
        seed: of the weights.
        features: how many.

    Returns:
        Features of grey and colour images of up to 1,024×1,024 pixels.

    Raises:
        ValueError: if `seed` or `features` is out of range.

    Source: Naeem et al., "Reliable fidelity and diversity metrics", ICML 2020, on random embeddings.
    """
    if seed < 0 or features < 1:
        raise ValueError(
            f"`seed` (={seed}) must be at least 0 and `features` (={features}) at least 1."
        )
    bits, gain = np.random.Philox(key=seed), 2 / (1 + SLOPE**2)
    inputs = (3, *[WIDTH] * (DEPTH - 1))
    kernels = [_uniform(bits, (3, 3, channels, WIDTH), gain) for channels in inputs]
    projection = _uniform(bits, (SMALLEST**2 * WIDTH, features), 1.0)
    parameters = {"kernels": kernels, "projection": projection}
    made = hashlib.sha256(b"".join(p.tobytes() for p in (*kernels, projection))).hexdigest()[:8]
    return FeatureExtractor(
        f"random convolutions, {features} features, seed {seed}, weights {made}",
        _convolutions,
        parameters,
    )


def _uniform(
    bits: np.random.Philox, shape: tuple[int, ...], gain: float
) -> Float[np.ndarray, "..."]:
    """Zero mean, variance `gain` per input, 24 bits each: exact in float32."""
    raw = bits.random_raw(math.prod(shape)) >> np.uint64(40)
    unit = (2 * raw.astype(np.float64) + 1) / 2**24 - 1
    return (unit * math.sqrt(3 * gain / math.prod(shape[:-1]))).astype(np.float32).reshape(shape)


def _convolutions(parameters: PyTree, images: Images) -> Extracted:
    x, layer = scaled(in_colour(images)), 0
    while layer == 0 or max(x.shape[1:3]) > SMALLEST:
        if layer == DEPTH:
            raise ValueError(
                f"`images` of {images.shape[1]}×{images.shape[2]} pixels must have at most 1,024 a side."
            )
        x = jax.nn.leaky_relu(convolve(x, parameters["kernels"][layer], 2), SLOPE)
        layer += 1
    missing = [SMALLEST - length for length in x.shape[1:3]]
    x = jnp.pad(x, ((0, 0), (0, missing[0]), (0, missing[1]), (0, 0)))
    return Extracted(x.reshape(len(x), -1) @ parameters["projection"])


def extract_all(
    features: FeatureExtractor, images: AnyImages | Iterable[AnyImages], batch: int = 32
) -> Extracted:
    """Extract from any number of images, in batches of one size: one compilation, on all of this process's devices.

    Products are computed in full float32 precision, so that no device's faster ones move a distance.

    Args:
        features: what to extract.
        images: uint8 images, or arrays of them in turn, of any lengths.
        batch: images at once on all devices together; fewer if there are fewer, and rounded up to a multiple of the
            devices. The last batch is filled up, and what fills it is left out of the result.

    Returns:
        NumPy arrays, a row for each image in order.

    Raises:
        ValueError: if there is no image, they are not uint8 of one shape, or `batch` is less than one.
    """
    if batch < 1:
        raise ValueError(f"`batch` (={batch}) must be at least 1.")
    devices = tuple(jax.local_devices())
    if isinstance(images, np.ndarray | jax.Array):
        batch, images = min(batch, max(len(images), 1)), [images]
    batch = -(-batch // len(devices)) * len(devices)
    compute, put = _compiled(features.extract, devices)
    parameters = put(features.parameters, P())
    found: list[Extracted] = []
    running: list[tuple[Extracted, int]] = []
    for part in _batches(images, batch):
        filled = np.concatenate([part, np.zeros((batch - len(part), *part.shape[1:]), np.uint8)])
        running.append((compute(parameters, put(filled, P(AXIS))), len(part)))
        if (
            len(running) > 1
        ):  # the devices have their next batch while this one's results are fetched
            found.append(_fetch(*running.pop(0)))
    found += [_fetch(*last) for last in running]
    if not found:
        raise ValueError("`images` must hold at least one image, and holds none.")
    return jax.tree.map(lambda *parts: np.concatenate(parts), *found)


@lru_cache(maxsize=16)
def _compiled(
    extract: Callable[..., Extracted], devices: tuple[Any, ...]
) -> tuple[Callable[..., Extracted], Any]:
    """The function over devices, each with its part of the batch, and what puts arrays there."""
    mesh = Mesh(np.asarray(devices), (AXIS,))

    def compute(parameters: PyTree, images: Images) -> Extracted:
        with jax.default_matmul_precision("float32"):
            return Extracted(*extract(parameters, images))

    # Nothing is summed over devices, so nothing can be left unsynchronised: any function will do.
    mapped = jax.shard_map(
        compute, mesh=mesh, in_specs=(P(), P(AXIS)), out_specs=P(AXIS), check_vma=False
    )
    return jax.jit(mapped), lambda tree, spec: jax.device_put(tree, NamedSharding(mesh, spec))


def _fetch(computed: Extracted, count: int) -> Extracted:
    return jax.tree.map(lambda rows: np.asarray(rows)[:count], computed)


def _batches(
    parts: Iterable[AnyImages], batch: int
) -> Iterator[UInt8[np.ndarray, "_batch _height _width _channels"]]:
    """The same images in batches of one length, but for the last."""
    held: list[np.ndarray] = []
    shape, count = None, 0
    for part in map(np.asarray, parts):
        if (
            part.dtype != np.uint8
            or part.ndim != 4
            or (shape is not None and part.shape[1:] != shape)
        ):
            wanted = "height × width × channels" if shape is None else " × ".join(map(str, shape))
            raise ValueError(
                f"`images` (of shape {part.shape} and type {part.dtype}) must be n × {wanted} and uint8."
            )
        shape = part.shape[1:]
        held, count = [*held, part], count + len(part)
        if count >= batch:
            joined = np.concatenate(held)
            whole = count // batch * batch
            yield from np.split(joined[:whole], whole // batch)
            held, count = [joined[whole:]], count - whole
    if count:
        yield np.concatenate(held)

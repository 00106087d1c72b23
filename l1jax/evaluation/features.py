"""Feature extractors: functions from uint8 images to vectors, each with the protocol that names it.

A distance between images depends on the features it is taken on: their resizing, layer and weights.
`FeatureExtractor.protocol` holds all of that and belongs beside every number.
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, PyTree, Real, Shaped, UInt8

from l1jax.models.layers import convolve

AXIS = "images"
UINT8 = np.dtype(np.uint8)
Images = UInt8[Array, "batch _height _width _channels"]
AnyImages = Shaped[Array | np.ndarray, "..."]
"""What is no image is refused with a message, not with a type error."""


class Extracted(NamedTuple):
    """Features of images, a row for each."""

    features: Float[Array | np.ndarray, "batch features"]
    logits: Float[Array | np.ndarray, "batch classes"] | None = None


class FeatureExtractor(NamedTuple):
    """A function from uint8 images to features, with the words that identify it.

    protocol: what distinguishes these features from all others: resizing, layer and weights.
    extract: (parameters, uint8 images) → features and logits; a pure function, which `extract_all`
        compiles.
    parameters: arrays for `extract`. As arguments they are no constants of the compiled program.
    details: numbers that are reported beside the protocol, such as a classifier's accuracy.
    prepare: (uint8 images of one size) → float32 images of the shape that `extract` takes, whatever
        their size; None if `extract` takes uint8 images, all of one size.
    is_clip: whether these are CLIP's image embeddings of length 1, of which the CMMD is.
    """

    protocol: str
    extract: Callable[[PyTree, Images], Extracted]
    parameters: PyTree = ()
    details: Mapping[str, float] = MappingProxyType({})
    prepare: Callable[[Images], Float[Array, "batch _rows _columns _channels"]] | None = None
    is_clip: bool = False


def custom_features(
    protocol: str, function: Callable[[Images], Float[Array, "batch features"]]
) -> FeatureExtractor:
    """Make an extractor of any function of uint8 images that JAX can trace.

    Args:
        protocol: description of the function, which stands beside the numbers.
        function: images → a vector for each.
    """
    return FeatureExtractor(protocol, lambda _, images: Extracted(function(images)))


def pixel_features() -> FeatureExtractor:
    """Make the extractor of pixels in [-1, 1]."""
    return FeatureExtractor("pixels in [-1, 1]", _pixels)


def _pixels(_: PyTree, images: Images) -> Extracted:
    return Extracted(scaled(images).reshape(len(images), -1))


def scaled(
    images: Real[Array, "batch _height _width _channels"],
) -> Float[Array, "batch _height _width _channels"]:
    """Scale pixels from 0 to 255 to [-1, 1]."""
    return images.astype(jnp.float32) / 127.5 - 1


def in_colour(
    images: Shaped[Array, "batch height width channels"],
) -> Shaped[Array, "batch height width 3"]:
    """Repeat the channel of grey images, so that all have red, green and blue.

    Raises:
        ValueError: if they have neither 1 nor 3 channels.
    """
    if images.shape[-1] not in (1, 3):
        raise ValueError(
            f"`images` (channels={images.shape[-1]}) must have 1 channel or 3: grey, or red, green "
            "and blue."
        )
    return jnp.broadcast_to(images, (*images.shape[:-1], 3))


MAX_DEPTH = 8  # layers of the random convolutions
WIDTH = 128  # channels of each of them
SLOPE = 0.2  # of leaky ReLU
MIN_SIDE = 4  # pixels, height and width at which the convolutions end


def random_features(seed: int = 0, features: int = 512) -> FeatureExtractor:
    """Make the extractor of convolutions with fixed random weights.

    At least one 3×3 convolution of stride 2 with leaky ReLU is applied, until the image has at most
    4×4 pixels. A random projection of these gives the features. The weights are uniform, with the
    variance that keeps activations at one scale. They are made from the bits of NumPy's Philox, so
    they are the same with every version of NumPy and JAX. They are not trained, so they need
    neither a download nor labels. Their numbers compare generators on one data set.

    Args:
        seed: of the weights.
        features: number of features.

    Returns:
        Features of grey and colour images of up to 1,024×1,024 pixels.

    Raises:
        ValueError: if `seed` or `features` is out of range.

    Source: Naeem et al., "Reliable fidelity and diversity metrics", ICML 2020, section 5 (random
    embeddings).
    """
    if seed < 0 or features < 1:
        raise ValueError(
            f"`seed` (={seed}) must be at least 0 and `features` (={features}) at least 1."
        )
    bits = np.random.Philox(key=seed)
    gain = 2 / (1 + SLOPE**2)
    input_channels = (3, *[WIDTH] * (MAX_DEPTH - 1))
    kernels = [_uniform(bits, (3, 3, channels, WIDTH), gain) for channels in input_channels]
    projection = _uniform(bits, (MIN_SIDE**2 * WIDTH, features), 1.0)
    content = b"".join(weights.tobytes() for weights in (*kernels, projection))
    sha256 = hashlib.sha256(content).hexdigest()
    return FeatureExtractor(
        f"random convolutions, {features} features, seed {seed}, weights {sha256[:8]}",
        _convolutions,
        {"kernels": kernels, "projection": projection},
    )


def _uniform(
    bits: np.random.Philox, shape: tuple[int, ...], gain: float
) -> Float[np.ndarray, "..."]:
    """Draw numbers with zero mean and variance `gain`/inputs, of 24 bits, so exact in float32."""
    raw = bits.random_raw(math.prod(shape)) >> np.uint64(40)
    unit = (2 * raw.astype(np.float64) + 1) / 2**24 - 1
    return (unit * math.sqrt(3 * gain / math.prod(shape[:-1]))).astype(np.float32).reshape(shape)


def _convolutions(
    parameters: PyTree, images: Real[Array, "batch _height _width _channels"]
) -> Extracted:
    x = scaled(in_colour(images))
    layer = 0
    while layer == 0 or max(x.shape[1:3]) > MIN_SIDE:
        if layer == MAX_DEPTH:
            raise ValueError(
                f"`images` of {images.shape[1]}×{images.shape[2]} pixels must have at most 1,024 a "
                "side."
            )
        x = jax.nn.leaky_relu(convolve(x, parameters["kernels"][layer], 2), SLOPE)
        layer += 1
    height, width = x.shape[1:3]
    x = jnp.pad(x, ((0, 0), (0, MIN_SIDE - height), (0, MIN_SIDE - width), (0, 0)))
    return Extracted(x.reshape(len(x), -1) @ parameters["projection"])


def extract_all(
    features: FeatureExtractor, images: AnyImages | Iterable[AnyImages], batch: int = 32
) -> Extracted:
    """Extract the features of any number of images on all of this process's devices.

    Batches have one size, so that only one program is compiled. Products are computed in full
    float32 precision, because the faster products of some devices would change a distance.

    Args:
        features: the extractor.
        images: uint8 images, or an iterable of arrays of them, of any lengths.
        batch: images at once on all devices together. It is reduced if there are fewer images, and
            rounded up to a multiple of the number of devices. The last batch is padded; the result
            does not contain the padding.

    Returns:
        NumPy arrays, a row for each image in order.

    Raises:
        ValueError: if there is no image, they are not uint8 of one shape, or `batch` is less than
            one.
    """
    if batch < 1:
        raise ValueError(f"`batch` (={batch}) must be at least 1.")
    if isinstance(images, np.ndarray | jax.Array):
        batch = min(batch, max(len(images), 1))
        images = [images]
    return _extract(features, images, batch)


def extract_one_by_one(
    features: FeatureExtractor, images: Iterable[AnyImages], batch: int = 32
) -> Extracted:
    """Extract the features of images of any sizes, each of which is brought to one size first.

    Only the resizing is compiled again for another size.

    Args:
        features: the extractor, which has a `prepare`.
        images: uint8 images, height × width × channels each.
        batch: images at once on all devices together.

    Raises:
        ValueError: if the extractor needs images of one size, or there is no image.
    """
    prepare = features.prepare
    if prepare is None:
        raise ValueError(f"`features` (={features.protocol!r}) need images of one size.")
    compiled = _compiled_alone(prepare)
    prepared = (np.asarray(compiled(image[None])) for image in images)
    return _extract(features._replace(prepare=None), prepared, batch, np.dtype(np.float32))


@lru_cache(maxsize=16)
def _compiled_alone(prepare: Callable[[Images], Array]) -> Callable[[AnyImages], Array]:
    def in_full_precision(images: Images) -> Array:
        with jax.default_matmul_precision("float32"):
            return prepare(images)

    return jax.jit(in_full_precision)


def _extract(
    features: FeatureExtractor,
    images: Iterable[AnyImages],
    batch: int,
    dtype: np.dtype = UINT8,
) -> Extracted:
    devices = tuple(jax.local_devices())
    batch = math.ceil(batch / len(devices)) * len(devices)
    mesh = Mesh(np.asarray(devices), (AXIS,))
    compute = _compiled(features.extract, mesh, features.prepare)
    parameters = jax.device_put(features.parameters, NamedSharding(mesh, P()))
    results: list[Extracted] = []
    running: list[tuple[Extracted, int]] = []
    for part in _batches(images, batch, dtype):
        padding = np.zeros((batch - len(part), *part.shape[1:]), dtype)
        padded = np.concatenate([part, padding])
        on_devices = jax.device_put(padded, NamedSharding(mesh, P(AXIS)))
        running.append((compute(parameters, on_devices), len(part)))
        if len(running) > 1:  # the devices work on this batch while the one before is fetched
            results.append(_fetch(*running.pop(0)))
    results += [_fetch(*last) for last in running]
    if not results:
        raise ValueError("`images` must hold at least one image, and holds none.")
    return jax.tree.map(lambda *parts: np.concatenate(parts), *results)


@lru_cache(maxsize=16)
def _compiled(
    extract: Callable[..., Extracted],
    mesh: Mesh,
    prepare: Callable[[Images], Array] | None = None,
) -> Callable[..., Extracted]:
    """Compile the function so that each device computes its part of the batch."""

    def compute(parameters: PyTree, images: Shaped[Array, "_ _ _ _"]) -> Extracted:
        with jax.default_matmul_precision("float32"):
            prepared = images if prepare is None else prepare(images)
            return Extracted(*extract(parameters, prepared))

    # No collectives, so the replication check is unnecessary, and any function passes without it.
    mapped = jax.shard_map(
        compute, mesh=mesh, in_specs=(P(), P(AXIS)), out_specs=P(AXIS), check_vma=False
    )
    return jax.jit(mapped)


def _fetch(computed: Extracted, count: int) -> Extracted:
    """Fetch the first `count` rows from the devices."""
    return jax.tree.map(lambda rows: np.asarray(rows)[:count], computed)


def _batches(
    parts: Iterable[AnyImages], batch: int, dtype: np.dtype
) -> Iterator[Shaped[np.ndarray, "_batch _height _width _channels"]]:
    """Yield the images in batches of one length; the last may be shorter."""
    waiting: list[np.ndarray] = []
    count = 0
    shape = None
    for part in map(np.asarray, parts):
        is_images = part.dtype == dtype and part.ndim == 4
        if not is_images or (shape is not None and part.shape[1:] != shape):
            required = "height × width × channels"
            if shape is not None:
                required = " × ".join(map(str, shape))
            raise ValueError(
                f"`images` (of shape {part.shape} and type {part.dtype}) must be n × {required} "
                f"and {dtype}."
            )
        shape = part.shape[1:]
        waiting.append(part)
        count += len(part)
        if count >= batch:
            joined = np.concatenate(waiting)
            num_batches = count // batch
            yield from np.split(joined[: num_batches * batch], num_batches)
            waiting = [joined[num_batches * batch :]]
            count -= num_batches * batch
    if count:
        yield np.concatenate(waiting)

"""Verify that a compact generator makes the same images, and measure what it costs."""

import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from l1jax.compaction.verify_module import MismatchError
from l1jax.models import Generator
from l1jax.models.layout.layout_network import TrainedGenerator
from l1jax.models.summary import Layer, layers

# Allowed error of float32 sums that are computed in another order.
TOLERANCE = 1e-5
ROUNDS = 15


class Cost(NamedTuple):
    """What a generator costs."""

    # Number of parameters and running batch statistics.
    parameters: int
    bytes: int
    # Of one image, as `l1jax.models.summary.layers` counts them; of a flow model, those of all
    # evaluations of its network.
    flops: int
    # Seconds for a batch: the median of the rounds.
    latency: float


class Verification(NamedTuple):
    """How a compact generator compares with the original.

    Attributes:
        error: the largest difference of any entry of the images from the exact one, divided by the
            largest exact value. The compact generator computes in float32; the original in float64
            is exact.
        rounding: the same for the original computed in float32.
        count: number of images compared.
        constant: whether all images are the same, or all of each class.
        before: cost of the original.
        after: cost of the compact generator.
        channels: name of each layer with a kernel, its outputs before and after.
        batch: images in the batch whose latency was measured.
    """

    error: float
    rounding: float
    count: int
    constant: bool
    before: Cost
    after: Cost
    channels: list[tuple[str, int, int]]
    batch: int


def verify(
    original: TrainedGenerator,
    compact: TrainedGenerator,
    key: Key[Array, ""],
    *,
    count: int = 256,
    batch: int = 64,
    rounds: int = ROUNDS,
) -> Verification:
    """Compare two generators on random latents, of all classes in turn, and measure their speed.

    Args:
        original: the generator as it was trained, with an empty layout.
        compact: what `compact` made of it; both compute in float32 or better.
        key: random key of the latents.
        count: number of images to compare; more are compared if there are more classes.
        batch: images in a call that is timed.
        rounds: number of timed calls of each generator; the two take turns.

    Raises:
        MismatchError: if the error is above 1e-5 and above twice the rounding of the original, or
            not a number.
    """
    generator = original.generator
    count = max(count, generator.classes)
    latents = np.asarray(generator.latents(key, count))
    with jax.enable_x64(True):
        exact = _draw(_in_float64(original), latents.astype(np.float64))
    rounding = _error(_draw(original, latents), exact)
    error = _error(_draw(compact, latents), exact)
    allowed = max(TOLERANCE, 2 * rounding)
    if not error <= allowed:
        raise MismatchError(
            f"`compact` makes other images: their largest difference is {error:.3g} of the largest "
            f"value, and must be at most {allowed:.3g}. Nothing was written; please report this "
            "with the run's config.json."
        )
    latencies = _latencies([original, compact], generator.latents(key, batch), rounds)
    layers_before = _layers_by_name(original)
    layers_after = _layers_by_name(compact)
    channels = []
    for name, layer in layers_before.items():
        if layer.flops:
            outputs_after = layers_after[name].output[-1] if name in layers_after else 0
            channels.append((name, layer.output[-1], outputs_after))
    return Verification(
        error=error,
        rounding=rounding,
        count=count,
        constant=_is_constant(exact, max(generator.classes, 1)),
        before=_cost(original, layers_before, latencies[0]),
        after=_cost(compact, layers_after, latencies[1]),
        channels=channels,
        batch=batch,
    )


def _layers_by_name(model: TrainedGenerator) -> dict[str, Layer]:
    return {layer.name: layer for layer in layers(model.generator.network.init)}


def _cost(model: TrainedGenerator, by_name: dict[str, Layer], latency: float) -> Cost:
    leaves = jax.tree.leaves((model.params, model.batch_stats))
    return Cost(
        parameters=sum(leaf.size for leaf in leaves),
        bytes=sum(leaf.nbytes for leaf in leaves),
        flops=model.generator.evaluations * sum(layer.flops for layer in by_name.values()),
        latency=latency,
    )


def _is_constant(images: np.ndarray, classes: int) -> bool:
    """Whether the images of each class, which come in turn, are the same up to the tolerance."""
    allowed = TOLERANCE * np.abs(images).max()
    ranges = [np.ptp(images[label::classes], axis=0).max() for label in range(classes)]
    return bool(max(ranges) <= allowed)


def _in_float64(model: TrainedGenerator) -> TrainedGenerator:
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), model.params)
    batch_stats = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), model.batch_stats)
    return model._replace(params=params, batch_stats=batch_stats)


def _error(images: np.ndarray, exact: np.ndarray) -> float:
    if images.shape != exact.shape:
        return np.inf
    difference = float(np.abs(images - exact).max())
    scale = float(np.abs(exact).max())
    return difference / scale if scale else difference


def _labels(generator: Generator, count: int) -> tuple[Int[Array, " count"], ...]:
    return (jnp.arange(count) % generator.classes,) if generator.classes else ()


def _sampler(model: TrainedGenerator) -> Callable[..., Array]:
    apply = model.generator.network.apply
    return jax.jit(lambda params, stats, x, *label: apply(params, stats, x, False, *label)[0])


def _draw(model: TrainedGenerator, latents: Float[np.ndarray, "count latent"]) -> np.ndarray:
    labels = _labels(model.generator, len(latents))
    # By default GPUs would round to fewer bits, and differently for each shape.
    with jax.default_matmul_precision("highest"):
        images = _sampler(model)(model.params, model.batch_stats, latents, *labels)
        return np.asarray(images)


def _latencies(
    models: list[TrainedGenerator], latents: Float[Array, "batch latent"], rounds: int
) -> list[float]:
    """Measure the median time of a call of each model.

    They are called in turn, in the opposite order in every other round.
    """
    samplers = [_sampler(model) for model in models]
    labels = _labels(models[0].generator, len(latents))
    seconds = np.zeros((len(models), rounds))
    for i in range(-1, rounds):  # The first round compiles, and its times are overwritten.
        order = list(range(len(models)))
        if i % 2 == 0:
            order.reverse()
        for j in order:
            begin = time.perf_counter()
            images = samplers[j](models[j].params, models[j].batch_stats, latents, *labels)
            jax.block_until_ready(images)
            seconds[j, max(i, 0)] = time.perf_counter() - begin
    return np.median(seconds, axis=1).tolist()

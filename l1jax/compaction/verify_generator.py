"""Verification that a compact generator makes the same images, and what it costs."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from l1jax.compaction.verify_module import MismatchError
from l1jax.models import Generator
from l1jax.models.layout.layout_network import TrainedGenerator
from l1jax.models.summary import layers

TOLERANCE = 1e-5  # of float32 sums taken in another order
ROUNDS = 15


class Cost(NamedTuple):
    """What a generator takes; FLOPs are those of `l1jax.models.summary.layers`."""

    parameters: int  # running batch statistics included
    bytes: int
    flops: int  # of one image
    latency: float  # seconds for a batch, the median of the rounds


class Verification(NamedTuple):
    """How two generators compare.

    error: max |compact − exact| / max |exact| over all entries of all images, the compact generator computed in
        float32 and the original, which is exact, in float64; both zero, 0.
    rounding: the same of the original computed in float32.
    count: images compared.
    constant: whether the images are all the same, or those of each class are.
    """

    error: float
    rounding: float
    count: int
    constant: bool
    before: Cost
    after: Cost
    channels: list[
        tuple[str, int, int]
    ]  # of each layer with a kernel: its outputs before and after
    batch: int  # of the latency


def verify(
    original: TrainedGenerator,
    compact: TrainedGenerator,
    key: Key[Array, ""],
    *,
    count: int = 256,
    batch: int = 64,
    rounds: int = ROUNDS,
) -> Verification:
    """Compare two generators on random latents, of all classes in turn, and time them in turn.

    Args:
        original: the generator as it was trained, with an empty layout.
        compact: what `compact` made of it; both in float32 or better.
        key: of the latents.
        count: images, at least; more where there are more classes.
        batch: images of a call that is timed.
        rounds: calls of each that are timed, alternating.

    Raises:
        MismatchError: if the error is above 1e-5 and twice the rounding of the original, or not a number.
    """
    generator = original.generator
    count = max(count, generator.classes)
    latents = np.asarray(generator.latents(key, count))
    with jax.enable_x64(True):
        exact = _images(_in_float64(original), latents.astype(np.float64))
    rounding, error = (_error(_images(model, latents), exact) for model in (original, compact))
    if not error <= max(TOLERANCE, 2 * rounding):
        raise MismatchError(
            f"`compact` makes other images: their largest difference is {error:.3g} of the largest value, and must "
            f"be at most {max(TOLERANCE, 2 * rounding):.3g}. Nothing was written; please report this with the run's "
            "config.json."
        )
    latencies = _latencies([original, compact], generator.latents(key, batch), rounds)
    tables = [
        {row.name: row for row in layers(model.generator.network.init)}
        for model in (original, compact)
    ]
    costs = []
    for model, table, latency in zip((original, compact), tables, latencies, strict=True):
        leaves = jax.tree.leaves((model.params, model.batch_stats))
        parameters, size = sum(leaf.size for leaf in leaves), sum(leaf.nbytes for leaf in leaves)
        costs.append(Cost(parameters, size, sum(row.flops for row in table.values()), latency))
    before, after = tables
    channels = [
        (n, r.output[-1], after[n].output[-1] if n in after else 0)
        for n, r in before.items()
        if r.flops
    ]
    classes = max(generator.classes, 1)
    most = TOLERANCE * np.abs(exact).max()
    same = all(np.ptp(exact[label::classes], axis=0).max() <= most for label in range(classes))
    return Verification(error, rounding, count, bool(same), costs[0], costs[1], channels, batch)


def _in_float64(model: TrainedGenerator) -> TrainedGenerator:
    wide = [
        jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree)
        for tree in (model.params, model.batch_stats)
    ]
    return model._replace(params=wide[0], batch_stats=wide[1])


def _error(images: np.ndarray, exact: np.ndarray) -> float:
    scale = float(np.abs(exact).max())
    difference = float(np.abs(images - exact).max()) if images.shape == exact.shape else np.inf
    return difference / scale if scale else difference


def _labels(generator: Generator, count: int) -> tuple[Int[Array, " count"], ...]:
    return (jnp.arange(count) % generator.classes,) if generator.classes else ()


def _sampler(model: TrainedGenerator) -> Callable[..., Any]:
    def sample(params: Any, statistics: Any, latents: Any, *label: Any) -> Any:
        return model.generator.network.apply(params, statistics, latents, False, *label)[0]

    return jax.jit(sample)


def _images(model: TrainedGenerator, latents: Float[np.ndarray, "count latent"]) -> np.ndarray:
    with jax.default_matmul_precision(
        "highest"
    ):  # GPUs would round to fewer bits, differently in each shape
        sample = _sampler(model)
        return np.asarray(
            sample(
                model.params, model.batch_stats, latents, *_labels(model.generator, len(latents))
            )
        )


def _latencies(
    models: list[TrainedGenerator], latents: Float[Array, "batch latent"], rounds: int
) -> list[float]:
    """The median time of a call of each, called in turn, in the other order every other time."""
    samplers, seconds = [_sampler(model) for model in models], np.zeros((len(models), rounds))
    label = _labels(models[0].generator, len(latents))
    for i in range(-1, rounds):  # the first one compiles
        for j in list(range(len(models)))[:: 1 if i % 2 else -1]:
            begin = time.perf_counter()
            jax.block_until_ready(
                samplers[j](models[j].params, models[j].batch_stats, latents, *label)
            )
            seconds[j, max(i, 0)] = time.perf_counter() - begin
    return np.median(seconds, axis=1).tolist()

"""Score the replicas of a path: by held-out images, by the likelihood of these, and by zeros."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, Shaped

from l1jax.evaluation.features import (
    Extracted,
    FeatureExtractor,
    extract_all,
    pixel_features,
    random_features,
)
from l1jax.evaluation.scores import feature_scores, reference_of
from l1jax.evaluation.zeros import count_zeros
from l1jax.models import Flow, Gan, Generator, Vae
from l1jax.penalties import sparsity
from l1jax.training.held_out_bound import make_likelihood
from l1jax.training.keys import named_seed_key
from l1jax.training.sampling import draw_latents, make_sampler
from l1jax.training.state import State, Task, require_images
from l1jax.transforms import strength
from l1jax.transforms.strengths import has_strength

Images = Shaped[np.ndarray, "n height width channels"]
Samples = Shaped[np.ndarray, "n ..."]
FEATURES: dict[str, Callable[[], FeatureExtractor]] = {
    "pixels": pixel_features,
    "random": random_features,
}
MAX_IMAGES = 2_000  # real images, and as many generated ones, that a replica is scored on
NUM_SAMPLES = 12  # generated images of each replica that are kept
SIGNS = {
    "bits_per_byte": 1,
    "kernel_distance": 1,
    "frechet_distance": 1,
    "recall": -1,
    "coverage": -1,
    "log_likelihood": -1,
}
"""The scores that a strength can be chosen by; 1 where lower is better, −1 where higher is."""


class FoldResult(NamedTuple):
    """One strength on one fold."""

    strength: float  # in force at the last update, schedules included; 0 without a penalty
    zeros: float  # share of the penalised entries that are zero
    channels: dict[str, tuple[int, int]]  # layer → its live output channels, and all of them
    nonzeros: int  # parameters of the generator that are not zero
    scores: dict[str, float]  # on images that the fold was not trained on; NaN if undefined
    samples: Samples  # the first few generated images, or tokens of text


class FoldScorer(NamedTuple):
    """A function that scores the replicas of one task."""

    score: Callable[[State, int], FoldResult]  # (state, fold) → its result
    protocol: str  # a sentence that says what the scores are computed on


def make_fold_scorer(
    task: Task,
    model: Gan | Generator | Vae | Flow,
    network: str,
    images: Images,
    labels: Int[np.ndarray, " n"],
    held_out: Sequence[Int[np.ndarray, " _examples"]],
    features: str,
    seed: int,
    *,
    with_likelihood: bool = True,
) -> FoldScorer:
    """Build a function that scores averaged generators by the images held out from each fold.

    Args:
        task: for its generator.
        model: its networks.
        network: the network whose zeros count.
        images: all real images, or points.
        labels: their labels; 0 where there are none.
        held_out: of each fold, the indices of the images that score it; at most 2,000 are used.
        features: "pixels", or "random" for fixed random convolutions; points are their own
            features.
        seed: of the latents, which are the same for all replicas.
        with_likelihood: whether the model's likelihood is computed, too, if it has one.
    """
    generator = require_images(task)
    sampler = make_sampler(generator)
    extractor = None
    if generator.image_range is not None:
        extractor = FEATURES[features]()
    used = [
        np.sort(np.random.default_rng(seed).permutation(indices)[:MAX_IMAGES])
        for indices in held_out
    ]
    references = [reference_of(_extract(extractor, images[indices])) for indices in used]
    latents = draw_latents(generator, named_seed_key(seed, "judged"), max(map(len, used)))
    likelihood = None
    if with_likelihood:
        likelihood = make_likelihood(model, images, labels, seed)
    names = [name for name in SIGNS if name not in ("bits_per_byte", "log_likelihood")]
    if likelihood is not None:
        names.append("log_likelihood")

    def image_scores(state: State, fold: int, generated: Images) -> dict[str, float]:
        scores = feature_scores(references[fold], _extract(extractor, generated), seed)
        if likelihood is not None:
            scores["log_likelihood"] = likelihood.compute(state, used[fold])
        return {name: scores[name] for name in names}

    def score(state: State, fold: int) -> FoldResult:
        params = jax.device_get(state.average.params)
        generated = sampler(state.average, latents[: len(used[fold])])
        arrays = (*jax.tree.leaves(params), generated)
        if all(np.all(np.isfinite(array)) for array in arrays):
            scores = image_scores(state, fold, generated)
        else:
            scores = dict.fromkeys(names, math.nan)
        return fold_result(task, network, state, scores, generated[:NUM_SAMPLES])

    protocol = "points" if extractor is None else extractor.protocol
    protocol += f"; averaged generators against up to {MAX_IMAGES:,} real images"
    if likelihood is not None:
        protocol += f"; log-likelihood by {likelihood.protocol}"
    return FoldScorer(score, protocol)


def fold_result(
    task: Task, network: str, state: State, scores: dict[str, float], samples: Samples
) -> FoldResult:
    """Return the result of a replica, with its zeros and its strength.

    Args:
        task: whose penalised entries count.
        network: the network whose zeros count.
        state: of the replica.
        scores: of it.
        samples: that it generated.
    """
    params = jax.device_get(state.average.params)
    penalised = params
    if network != "generator":
        penalised = jax.device_get(getattr(state, network).params)
    zeros = count_zeros(params)
    opt_state = jax.tree.map(jnp.asarray, getattr(state, network).opt_state)
    strengths = [0.0]
    if has_strength(opt_state):
        strengths = jax.tree.leaves(strength(opt_state))
    return FoldResult(
        strength=float(np.mean(strengths[0])),
        zeros=float(sparsity(penalised, task.penalised[network]).total),
        channels={
            layer.path: (layer.outputs - layer.dead_outputs, layer.outputs)
            for layer in zeros.layers
        },
        nonzeros=zeros.effective_parameters,
        scores=scores,
        samples=samples,
    )


def _extract(extractor: FeatureExtractor | None, images: Images) -> Extracted:
    if extractor is None:
        return Extracted(images.reshape(len(images), -1))
    return extract_all(extractor, images)


def to_json(result: FoldResult) -> dict[str, object]:
    """Return plain values, without the samples and with null for what is not finite."""
    scores = {
        name: value if math.isfinite(value) else None for name, value in result.scores.items()
    }
    return {**result._asdict(), "scores": scores, "samples": None}


def from_json(values: Mapping[str, Any], samples: Samples) -> FoldResult:
    """Return the result that `to_json` wrote, with its samples."""
    scores = {
        name: math.nan if value is None else value for name, value in values["scores"].items()
    }
    channels = {path: tuple(counts) for path, counts in values["channels"].items()}
    return FoldResult(**{**values, "scores": scores, "channels": channels, "samples": samples})

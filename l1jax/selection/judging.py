"""What a lane of the path is judged by: held-out images, the likelihood it gives them, and its zeros."""

import math
from collections.abc import Callable, Sequence
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
from l1jax.evaluation.likelihood import log_likelihood
from l1jax.evaluation.scores import feature_scores
from l1jax.evaluation.zeros import count_zeros
from l1jax.models import Gan, Generator, Vae
from l1jax.penalties import sparsity
from l1jax.training.sampling import draw_latents, make_sampler
from l1jax.training.state import State, Task, VaeState
from l1jax.training.task import stream
from l1jax.transforms import strength

Images = Shaped[np.ndarray, "n height width channels"]
FEATURES: dict[str, Callable[[], FeatureExtractor]] = {
    "pixels": pixel_features,
    "random": random_features,
}
MOST = 2_000  # real images, and generated ones, that a lane is judged on
BOUNDED, DRAWS = (
    256,
    64,
)  # images whose likelihood is bounded at once, and draws of latents for each
SHOWN = 12  # generated images that are kept of each strength
SIGNS = {
    "kernel_distance": 1,
    "frechet_distance": 1,
    "recall": -1,
    "coverage": -1,
    "log_likelihood": -1,
}
"""The scores that a strength can be chosen by → 1 where lower is better, −1 where higher is."""


class Judged(NamedTuple):
    """One strength on one fold."""

    strength: (
        float  # in force at the last update, what schedules and controllers make of it included
    )
    zeros: float  # share of the penalised entries that are zero
    channels: dict[
        str, tuple[int, int]
    ]  # layer → output channels that are not all zero, and all of them
    nonzeros: int  # parameters of the generator that are not zero
    scores: dict[
        str, float
    ]  # on the images that the fold was not trained on; NaN where there is none
    samples: Images  # the first few generated images


class Judge(NamedTuple):
    """Judges the lanes of one task: (state, fold) → Judged; `protocol` says on what."""

    judge: Callable[[State, int], Judged]
    protocol: str


def make_judge(
    task: Task,
    model: Gan | Generator | Vae,
    network: str,
    images: Images,
    labels: Int[np.ndarray, " n"],
    held_out: Sequence[Int[np.ndarray, " _members"]],
    features: str,
    seed: int,
) -> Judge:
    """Judge averaged generators by the images of each fold that they were not trained on.

    Args:
        task: for its generator.
        model: its networks.
        network: whose zeros count.
        images: all real ones, or points.
        labels: theirs; 0 where there are none.
        held_out: of each fold, which of them the lanes are judged by; at most 2,000 are used.
        features: "pixels" or "random", fixed random convolutions; of points, the points themselves.
        seed: of the latents, the same for all lanes.
    """
    generator, points = task.generator, task.generator.image_range is None
    sampler, view = make_sampler(generator), None if points else FEATURES[features]()
    chosen = [np.sort(np.random.default_rng(seed).permutation(own)[:MOST]) for own in held_out]
    real = [_see(view, images[own]) for own in chosen]
    latents = draw_latents(generator, stream(seed, "judged"), max(len(own) for own in chosen))
    bound = jax.jit(log_likelihood(model, DRAWS)) if isinstance(model, Vae) else None
    conditional = generator.classes > 0

    def likelihood(state: State, own: Int[np.ndarray, " _members"]) -> dict[str, float]:
        if bound is None or not isinstance(state, VaeState):
            return {}
        nats, key = [], stream(seed, "likelihood")
        for part in np.resize(
            own, (-(-len(own) // BOUNDED), BOUNDED)
        ):  # filled up from the start again
            label = jnp.asarray(labels[part]) if conditional else None
            nats.append(
                bound(
                    state.encoder.params,
                    state.average.params,
                    jnp.asarray(images[part]),
                    key,
                    label,
                )
            )
        return {
            "log_likelihood": float(np.mean(np.concatenate(nats)[: len(own)], dtype=np.float64))
        }

    def judge(state: State, fold: int) -> Judged:
        params, own = jax.device_get(state.average.params), chosen[fold]
        counted = count_zeros(params)
        penalised = (
            params if network == "generator" else jax.device_get(getattr(state, network).params)
        )
        generated = sampler(state.average, latents[: len(own)])
        finite = all(np.all(np.isfinite(leaf)) for leaf in (*jax.tree.leaves(params), generated))
        scores = dict.fromkeys(
            [name for name in SIGNS if name != "log_likelihood" or bound], math.nan
        )
        if finite:
            found = feature_scores(real[fold], _see(view, generated), seed) | likelihood(state, own)
            scores = {name: found[name] for name in scores}
        in_force = jax.tree.leaves(strength(getattr(state, network).opt_state))
        return Judged(
            float(np.mean(in_force[0])),
            float(sparsity(penalised, task.penalised[network]).total),
            {
                layer.path: (layer.outputs - layer.dead_outputs, layer.outputs)
                for layer in counted.layers
            },
            counted.effective_parameters,
            scores,
            generated[:SHOWN],
        )

    protocol = f"{'points' if view is None else view.protocol}; averaged generators against up to {MOST:,} real images"
    return Judge(judge, protocol + (f"; importance-weighted bound, {DRAWS} draws" if bound else ""))


def _see(view: FeatureExtractor | None, images: Images) -> Extracted:
    return Extracted(images.reshape(len(images), -1)) if view is None else extract_all(view, images)


def to_json(judged: Judged) -> dict[str, Any]:
    """Plain values, without the samples; what is not finite is null."""
    scores = {
        name: value if math.isfinite(value) else None for name, value in judged.scores.items()
    }
    return {**judged._asdict(), "scores": scores, "samples": None}


def from_json(values: dict[str, Any], samples: Images) -> Judged:
    """What `to_json` wrote, with its samples."""
    scores = {
        name: math.nan if value is None else value for name, value in values["scores"].items()
    }
    channels = {path: tuple(counts) for path, counts in values["channels"].items()}
    return Judged(**{**values, "scores": scores, "channels": channels, "samples": samples})

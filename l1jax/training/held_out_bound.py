"""The likelihood that a model in training gives to images, or a bound on it."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, Shaped

from l1jax.evaluation.model_likelihood import make_model_likelihood
from l1jax.models import Flow, Gan, Generator, Vae
from l1jax.training.keys import named_seed_key
from l1jax.training.state import State, VaeState

Images = Shaped[np.ndarray, "n height width channels"]
BOUND_BATCH = 256  # images whose likelihood is bounded at once
BOUND_DRAWS = 64  # draws of latents for each of these images
MAX_FLOW_IMAGES = 128


class HeldOutLikelihood(NamedTuple):
    """The likelihood that a model in training gives to some of its real images."""

    compute: Callable[[State, Int[np.ndarray, " _examples"]], float]  # (state, indices) → nats
    protocol: str


def make_likelihood(
    model: Gan | Generator | Vae | Flow, images: Images, labels: Int[np.ndarray, " n"], seed: int
) -> HeldOutLikelihood | None:
    """Build (state, indices) → the log-likelihood of these images, or a bound on it.

    It is a mean over the images, in nats per image. Of a flow, whose images each take many
    evaluations of its network, 128 of the images are taken, evenly.

    Args:
        model: its networks.
        images: all real images, or points.
        labels: their labels.
        seed: of the draws.

    Returns:
        The function with its protocol, or None for a model without a likelihood.
    """
    likelihood = make_model_likelihood(model, BOUND_DRAWS)
    if likelihood is None:
        return None
    compute = jax.jit(likelihood.nats)

    def of_indices(state: State, indices: Int[np.ndarray, " _examples"]) -> float:
        if isinstance(model, Flow):
            count = min(MAX_FLOW_IMAGES, len(indices))
            indices = indices[np.linspace(0, len(indices) - 1, count).astype(int)]
        key = named_seed_key(seed, "likelihood")
        size = min(BOUND_BATCH, len(indices))
        nats = []
        # The last batch is filled up with the first images again.
        for batch in np.resize(indices, (math.ceil(len(indices) / size), size)):
            label = jnp.asarray(labels[batch]) if likelihood.classes else None
            encoder = state.encoder.params if isinstance(state, VaeState) else None
            nats.append(compute(encoder, *state.average, jnp.asarray(images[batch]), key, label))
        return float(np.mean(np.concatenate(nats)[: len(indices)], dtype=np.float64))

    return HeldOutLikelihood(of_indices, likelihood.protocol)

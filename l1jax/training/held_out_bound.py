"""The bound on the likelihood that a VAE in training gives to images."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, Shaped

from l1jax.evaluation.likelihood import log_likelihood
from l1jax.models import Flow, Gan, Generator, Vae
from l1jax.training.keys import named_seed_key
from l1jax.training.state import VaeState

Images = Shaped[np.ndarray, "n height width channels"]
BOUND_BATCH = 256  # images whose likelihood is bounded at once
BOUND_DRAWS = 64  # draws of latents for each of these images


def make_likelihood(
    model: Gan | Generator | Vae | Flow, images: Images, labels: Int[np.ndarray, " n"], seed: int
) -> Callable[[VaeState, Int[np.ndarray, " _examples"]], float] | None:
    """Build (state, indices) → the bound on the log-likelihood of these images.

    The bound is a mean over the images, in nats per image.

    Args:
        model: its networks.
        images: all real images.
        labels: their labels.
        seed: of the draws.

    Returns:
        The function, or None for a model without a likelihood.
    """
    if not isinstance(model, Vae):
        return None
    bound = jax.jit(log_likelihood(model, BOUND_DRAWS))

    def likelihood(state: VaeState, indices: Int[np.ndarray, " _examples"]) -> float:
        key = named_seed_key(seed, "likelihood")
        batches = math.ceil(len(indices) / BOUND_BATCH)
        nats = []
        # The last batch is filled up with the first images again.
        for batch in np.resize(indices, (batches, BOUND_BATCH)):
            label = jnp.asarray(labels[batch]) if model.generator.classes else None
            params = (state.encoder.params, state.average.params)
            nats.append(bound(*params, jnp.asarray(images[batch]), key, label))
        return float(np.mean(np.concatenate(nats)[: len(indices)], dtype=np.float64))

    return likelihood

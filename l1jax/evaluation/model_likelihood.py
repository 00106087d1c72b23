"""The likelihood that a trained model gives to real images or points, if it has one."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree, Shaped

from l1jax.evaluation.flow_likelihood import bits_per_dimension, flow_log_likelihood
from l1jax.evaluation.likelihood import log_likelihood
from l1jax.models import Flow, Gan, Generator, Vae

DECODED_AT_ONCE = 32  # draws of a variational autoencoder's latents, at most
MAX_EXAMPLES = 500  # whose likelihood an evaluation computes
FLOW_BATCH = 100  # of these at once, of a flow, whose derivatives need memory
FLOW_STEPS = 32  # midpoint steps from an example to the noise

Examples = Shaped[np.ndarray, "count height width channels"]


class ModelLikelihood(NamedTuple):
    """How a model's likelihood is computed.

    Attributes:
        nats: (the encoder's parameters or None, the generator's parameters, its batch statistics,
            examples, key, label or None) → the log-likelihood of each example, in nats; to be
            compiled.
        protocol: what is computed, in words.
        classes: of the model; 0 for one that takes no labels.
        is_bound: whether it is a lower bound, and not an estimate that may err either way.
    """

    nats: Callable[..., Float[Array, " batch"]]
    protocol: str
    classes: int
    is_bound: bool


def make_model_likelihood(
    model: Gan | Generator | Vae | Flow, draws: int
) -> ModelLikelihood | None:
    """Build what computes the likelihood of a model's examples; None for a model without one.

    Args:
        model: its networks.
        draws: of latents for each image, of a variational autoencoder.
    """
    if isinstance(model, Vae):
        bound = log_likelihood(model, draws, chunk=math.gcd(draws, DECODED_AT_ONCE))

        def of_vae(
            encoder: PyTree, params: PyTree, batch_stats: PyTree, *rest: Any
        ) -> Float[Array, " batch"]:
            return bound(encoder, params, *rest)

        protocol = f"importance-weighted bound, {draws} draws, {model.likelihood}"
        return ModelLikelihood(of_vae, protocol, model.generator.classes, is_bound=True)
    if isinstance(model, Flow):
        along_the_flow = flow_log_likelihood(model, FLOW_STEPS)

        def of_flow(
            encoder: None, params: PyTree, batch_stats: PyTree, *rest: Any
        ) -> Float[Array, " batch"]:
            return along_the_flow(params, batch_stats, *rest)

        protocol = f"{FLOW_STEPS} midpoint steps, divergence by random signs"
        if model.generator.image_range is not None:
            protocol += ", uniform noise on bytes"
        return ModelLikelihood(of_flow, protocol, model.generator.classes, is_bound=False)
    return None


def evaluate_likelihood(
    model: Vae | Flow,
    encoder: PyTree,
    average: tuple[PyTree, PyTree],
    real: Examples,
    labels: Int[np.ndarray, " count"] | None,
    key: Key[Array, ""],
    draws: int = 128,
) -> dict[str, Any]:
    """Compute the log-likelihood that a model gives to real images or points.

    Args:
        model: its networks.
        encoder: parameters of the encoder; None for a flow.
        average: parameters and batch statistics of the generator.
        real: real examples in a random order, of which the first 500 are taken.
        labels: their classes, or None.
        key: of the draws.
        draws: as of `make_model_likelihood`.

    Returns:
        `likelihood`: its protocol, whether it is a lower bound, the mean in nats per example with
        its standard error, and of images the mean in bits per dimension.
    """
    likelihood = make_model_likelihood(model, draws)
    assert likelihood is not None
    count = min(MAX_EXAMPLES, len(real))
    compute = jax.jit(likelihood.nats)
    size = count
    if isinstance(model, Flow):
        size = min(FLOW_BATCH, count)
    found = []
    for first in range(0, count, size):
        # The last batch is filled up with the first examples again: one program serves all.
        chosen = np.arange(first, first + size) % count
        label = None
        if likelihood.classes and labels is not None:
            label = jnp.asarray(labels[chosen])
        found.append(compute(encoder, *average, jnp.asarray(real[chosen]), key, label))
        key = jax.random.fold_in(key, first)
    nats = np.concatenate(found)[:count].astype(np.float64)
    result: dict[str, Any] = {
        "protocol": f"{likelihood.protocol}, {count:,} of the real examples",
        "is_bound": likelihood.is_bound,
        "nats": float(nats.mean()),
        "standard_error": float(nats.std(ddof=1) / np.sqrt(count)),
    }
    if model.generator.image_range is not None:
        entries = int(np.prod(real.shape[1:]))
        result["bits_per_dimension"] = bits_per_dimension(nats, entries).mean
    return {"likelihood": result}

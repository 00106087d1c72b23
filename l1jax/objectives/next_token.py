"""Prediction of the next token."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def next_token_loss(
    logits: Float[Array, "*batch vocabulary"], targets: Int[Array, "*batch"]
) -> Float[Array, "*batch"]:
    """Return −log p(target) in nats for each position, from logits.

    Args:
        logits: of the token that follows each position.
        targets: the token that does.
    """
    log_normaliser = jax.nn.logsumexp(logits, axis=-1)
    chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    return log_normaliser - chosen


def bits(nats: Float[Array, "..."]) -> Float[Array, "..."]:
    """Convert nats to bits."""
    return nats / math.log(2)

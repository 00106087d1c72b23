"""Draw tokens from logits: temperature, the k likeliest, the nucleus."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key


class Sampling(NamedTuple):
    """How the next token is drawn; the default is the model's own distribution.

    Attributes:
        temperature: logits are divided by it; 0 always takes the likeliest token.
        top_k: only this many of the likeliest tokens can be drawn; 0 for all.
        top_p: only the fewest of the likeliest tokens whose probabilities sum to at least this can
            be drawn; 1 for all.

    Source: Fan, Lewis, Dauphin, ACL 2018 (top k); Holtzman et al., ICLR 2020 (top p).
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0


def check_sampling(sampling: Sampling) -> None:
    """Check the three numbers.

    Raises:
        ValueError: naming the one that is out of its range.
    """
    temperature, top_k, top_p = sampling
    if not (math.isfinite(temperature) and temperature >= 0):
        raise ValueError(
            f"`temperature` (={temperature}) must be finite and at least 0; 1 draws from the "
            "model's own distribution."
        )
    if top_k < 0:
        raise ValueError(f"`top_k` (={top_k}) must be at least 1, or 0 for all tokens.")
    if not 0 < top_p <= 1:
        raise ValueError(f"`top_p` (={top_p}) must be above 0 and at most 1; 1 is for all tokens.")


def filtered_logits(
    logits: Float[Array, "*batch vocabulary"], sampling: Sampling
) -> Float[Array, "*batch vocabulary"]:
    """Divide logits by the temperature, and set those of tokens that cannot be drawn to −∞.

    The k likeliest are chosen first, and the nucleus among them. Where logits are equal, the
    smaller token counts as the likelier.

    Raises:
        ValueError: as `check_sampling`.
    """
    check_sampling(sampling)
    temperature, top_k, top_p = sampling
    if temperature == 0:
        top_k = 1
    else:
        logits = logits / temperature
    if not top_k and top_p == 1:
        return logits
    order = jnp.argsort(-logits, axis=-1, stable=True)
    sorted_logits = jnp.take_along_axis(logits, order, axis=-1)
    ranks = jnp.arange(logits.shape[-1])
    allowed = ranks < (top_k or logits.shape[-1])
    probabilities = jax.nn.softmax(jnp.where(allowed, sorted_logits, -jnp.inf), axis=-1)
    before = jnp.cumsum(probabilities, axis=-1) - probabilities  # of the likelier tokens
    allowed &= (before < top_p) | (ranks == 0)
    kept = jnp.where(allowed, sorted_logits, -jnp.inf)
    return jnp.take_along_axis(kept, jnp.argsort(order, axis=-1), axis=-1)


def draw_tokens(
    keys: Key[Array, " batch"], logits: Float[Array, "batch vocabulary"], sampling: Sampling
) -> Int[Array, " batch"]:
    """Draw one token from each row of logits, with a key for each, as `jax.random.categorical`.

    The first of the largest is found by a maximum and a minimum, of which each takes a fifth of
    the time of `argmax` on CPUs.

    Args:
        keys: one for each row.
        logits: of the next token, in nats.
        sampling: the temperature, and which tokens are left out.
    """
    vocabulary = logits.shape[-1]
    noise = jax.vmap(lambda key: jax.random.gumbel(key, (vocabulary,), logits.dtype))(keys)
    noisy = filtered_logits(logits, sampling) + noise
    is_largest = noisy == jnp.max(noisy, axis=-1, keepdims=True)
    return jnp.min(jnp.where(is_largest, jnp.arange(vocabulary), vocabulary - 1), axis=-1)

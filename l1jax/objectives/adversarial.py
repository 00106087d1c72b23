"""Adversarial losses from logits; every value is nats per image, mean over the batch."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Logits = Float[Array, " batch"]
Loss = Float[Array, ""]


class AdversarialLoss(NamedTuple):
    """What each network minimises, as functions (real logits, generated logits) → loss."""

    discriminator: Callable[[Logits, Logits], Loss]
    generator: Callable[[Logits, Logits], Loss]


def _cross_entropy(real: Logits, fake: Logits) -> Loss:
    """−E log σ(D(x)) − E log(1 − σ(D(G(z)))), with log σ(a) = −softplus(−a)."""
    return jnp.mean(jax.nn.softplus(-real)) + jnp.mean(jax.nn.softplus(fake))


minimax = AdversarialLoss(
    discriminator=_cross_entropy,
    generator=lambda real, fake: -jnp.mean(jax.nn.softplus(fake)),
)
"""The generator minimises E log(1 − D(G(z))); its gradient vanishes while the discriminator wins.
Goodfellow et al., NeurIPS 2014, equation 1."""

non_saturating = AdversarialLoss(
    discriminator=_cross_entropy,
    generator=lambda real, fake: jnp.mean(jax.nn.softplus(-fake)),
)
"""The generator minimises −E log D(G(z)). Goodfellow et al., NeurIPS 2014, section 3."""

relativistic_pairing = AdversarialLoss(
    discriminator=lambda real, fake: jnp.mean(jax.nn.softplus(fake - real)),
    generator=lambda real, fake: jnp.mean(jax.nn.softplus(real - fake)),
)
"""Each generated image is judged against a real one, E softplus(D(G(z)) − D(x)); together with R1 and
R2 it converges locally. Jolicoeur-Martineau, ICLR 2019; Huang et al., NeurIPS 2024, section 2."""

LOSSES = {
    "minimax": minimax,
    "non_saturating": non_saturating,
    "relativistic_pairing": relativistic_pairing,
}

"""Regularisers that look at the discriminator's logits twice: under augmentation, and over time."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

Logits = Float[Array, " batch"]


def consistency(logits: Logits, augmented: Logits) -> Float[Array, ""]:
    """E(D(x) − D(T(x)))², mean over the batch: an augmentation T should not change a logit.

    Balanced consistency (bCR) is λ times this on real images plus λ times this on generated ones.

    Source: Zhao et al., "Improved consistency regularization for GANs", AAAI 2021.
    """
    return jnp.mean(jnp.square(logits - augmented))


class Anchors(NamedTuple):
    """Moving averages of the discriminator's mean logits."""

    real: Float[Array, ""]
    fake: Float[Array, ""]


def init_anchors() -> Anchors:
    """Both at 0, where a fresh discriminator's logits are."""
    return Anchors(jnp.zeros(()), jnp.zeros(()))


def update_anchors(
    anchors: Anchors, real: Float[Array, ""], fake: Float[Array, ""], decay: ArrayLike = 0.99
) -> Anchors:
    """Follow the mean logits of a batch, `real` and `fake`: α ← decay·α + (1 − decay)·mean."""
    decay = jnp.asarray(decay)
    return Anchors(
        decay * anchors.real + (1 - decay) * real, decay * anchors.fake + (1 - decay) * fake
    )


def lecam(real: Logits, fake: Logits, anchors: Anchors) -> Float[Array, ""]:
    """E(D(x) − α_fake)² + E(D(G(z)) − α_real)², means over the batch.

    Draws the logits of each kind to where those of the other kind were, so that a discriminator with
    little data does not part them without bound.

    Source: Tseng et al., "Regularizing generative adversarial networks under limited data", CVPR 2021,
        section 3.
    """
    return jnp.mean(jnp.square(real - anchors.fake)) + jnp.mean(jnp.square(fake - anchors.real))

"""Regularisers of the discriminator's logits: under augmentation, and over time."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

Logits = Float[Array, " batch"]


def consistency(logits: Logits, augmented: Logits) -> Float[Array, ""]:
    """Compute E(D(x) − D(T(x)))², mean over the batch: an augmentation T should not change a logit.

    Balanced consistency (bCR) is λ times this on real images plus λ times this on generated ones.

    Source: Zhao et al., "Improved consistency regularization for GANs", AAAI 2021.
    """
    return jnp.mean(jnp.square(logits - augmented))


class Anchors(NamedTuple):
    """Moving averages of the discriminator's mean logits."""

    real: Float[Array, ""]
    fake: Float[Array, ""]


def init_anchors() -> Anchors:
    """Return anchors at 0, where the logits of a new discriminator are."""
    return Anchors(jnp.zeros(()), jnp.zeros(()))


def update_anchors(
    anchors: Anchors, real: Float[Array, ""], fake: Float[Array, ""], decay: ArrayLike = 0.99
) -> Anchors:
    """Move the anchors towards the mean logits of a batch: α ← decay·α + (1 − decay)·mean.

    Args:
        anchors: before the batch.
        real: mean logit of real images.
        fake: mean logit of generated images.
        decay: per batch, in [0, 1].
    """
    decay = jnp.asarray(decay)
    return Anchors(
        real=decay * anchors.real + (1 - decay) * real,
        fake=decay * anchors.fake + (1 - decay) * fake,
    )


def lecam(real: Logits, fake: Logits, anchors: Anchors) -> Float[Array, ""]:
    """Compute E(D(x) − α_fake)² + E(D(G(z)) − α_real)², means over the batch.

    The term pulls the logits of each kind to the average of the other kind, so that a discriminator
    with little data does not separate them without bound.

    Args:
        real: logits of real images.
        fake: logits of generated images.
        anchors: α, the moving averages of the mean logits.

    Source: Tseng et al., "Regularizing generative adversarial networks under limited data",
        CVPR 2021, section 3.
    """
    return jnp.mean(jnp.square(real - anchors.fake)) + jnp.mean(jnp.square(fake - anchors.real))

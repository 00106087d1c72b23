"""Adversarial losses from logits, means over the batch.

Losses that are made of log-probabilities are in nats per image. Least squares, hinge and
Wasserstein losses are in the units of the logits, or of their squares.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Logits = Float[Array, " logits"]  # one per image, or per pack of images
Loss = Float[Array, ""]


class AdversarialLoss(NamedTuple):
    """What each network minimises.

    Attributes:
        discriminator: (real logits, generated logits) → loss.
        generator: (real logits, generated logits) → loss.
    """

    discriminator: Callable[[Logits, Logits], Loss]
    generator: Callable[[Logits, Logits], Loss]


def _cross_entropy(real: Logits, fake: Logits) -> Loss:
    """Compute −E log σ(D(x)) − E log(1 − σ(D(G(z)))), with log σ(a) = −softplus(−a)."""
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
"""The discriminator minimises E softplus(D(G(z)) − D(x)), which compares each generated image with
a real one. Together with R1 and R2 it converges locally.
Jolicoeur-Martineau, ICLR 2019; Huang et al., NeurIPS 2024, section 2."""

least_squares = AdversarialLoss(
    discriminator=lambda real, fake: (
        0.5 * jnp.mean(jnp.square(real - 1)) + 0.5 * jnp.mean(jnp.square(fake))
    ),
    generator=lambda real, fake: 0.5 * jnp.mean(jnp.square(fake - 1)),
)
"""The discriminator moves its logits to 1 for real images and to 0 for generated ones.
Mao et al., ICCV 2017, equation 9."""

hinge = AdversarialLoss(
    discriminator=lambda real, fake: (
        jnp.mean(jax.nn.relu(1 - real)) + jnp.mean(jax.nn.relu(1 + fake))
    ),
    generator=lambda real, fake: -jnp.mean(fake),
)
"""E max(0, 1 − D(x)) + E max(0, 1 + D(G(z))); the generator raises its logits.
Miyato et al., ICLR 2018, equations 16 and 17."""

wasserstein = AdversarialLoss(
    discriminator=lambda real, fake: jnp.mean(fake) - jnp.mean(real),
    generator=lambda real, fake: -jnp.mean(fake),
)
"""E D(G(z)) − E D(x), for a discriminator that a gradient penalty keeps 1-Lipschitz.
Arjovsky, Chintala, Bottou, ICML 2017, section 3."""


def relativistic_average(axis_name: str | None = None) -> AdversarialLoss:
    """Build the loss that compares each image with the mean logit of the other kind.

    The discriminator minimises E softplus(−(D(x) − E D(G(z)))) + E softplus(D(G(z)) − E D(x)). The
    generator minimises the same with real and generated images exchanged.

    Args:
        axis_name: mapped axis over which logits are averaged besides the batch; None for the batch
            alone.

    Source: Jolicoeur-Martineau, ICLR 2019, section 4.2.
    """

    def mean(logits: Logits) -> Loss:
        local = jnp.mean(logits)
        if axis_name is None:
            return local
        return jax.lax.pmean(local, axis_name)

    def discriminator(real: Logits, fake: Logits) -> Loss:
        return _cross_entropy(real - mean(fake), fake - mean(real))

    return AdversarialLoss(discriminator, lambda real, fake: discriminator(fake, real))


LOSSES = {
    "minimax": minimax,
    "non_saturating": non_saturating,
    "least_squares": least_squares,
    "hinge": hinge,
    "wasserstein": wasserstein,
    "relativistic_average": relativistic_average(),
    "relativistic_pairing": relativistic_pairing,
}
"""By name, for one device. On several devices, build `relativistic_average` with their axis."""

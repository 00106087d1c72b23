"""What the networks minimise."""

from dataclasses import dataclass, field
from typing import Literal

from l1jax.config.fields import bounds


@dataclass(frozen=True)
class Adversarial:
    """A game between generator and discriminator, from logits."""

    loss: Literal["minimax", "non_saturating", "relativistic_pairing"] = "non_saturating"
    """What the two networks minimise."""
    r1: float = field(default=0.0, metadata=bounds(0))
    """γ of the gradient penalty γ/2·E‖∇D(x)‖² on real images."""
    r2: float = field(default=0.0, metadata=bounds(0))
    """γ of the gradient penalty γ/2·E‖∇D(G(z))‖² on generated images."""
    n_critic: int = field(default=1, metadata=bounds(1))
    """Discriminator steps per generator step, each on a batch of its own."""


@dataclass(frozen=True)
class Reconstruction:
    """Mean squared error between generated images and the real ones their latents are paired with."""

    activity_strength: float = field(default=0.0, metadata=bounds(0))
    """Strength of an L1 term on the generator's outputs, mean per pixel."""


@dataclass(frozen=True)
class Variational:
    """A bound on the likelihood of the images, nats per image."""

    beta: float = field(default=1.0, metadata=bounds(0))
    """Weight of the divergence from the prior; 1 for the bound."""
    free_nats: float = field(default=0.0, metadata=bounds(0))
    """Divergence in nats per latent dimension that costs nothing."""
    samples: int = field(default=1, metadata=bounds(1))
    """Latents drawn per image; several give the importance-weighted bound, with beta 1 and no free nats."""


Objective = Adversarial | Reconstruction | Variational

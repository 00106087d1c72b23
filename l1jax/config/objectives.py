"""What the networks minimise."""

from dataclasses import dataclass, field
from typing import Literal

from l1jax.config.fields import bounds
from l1jax.config.optimization import Ramp


@dataclass(frozen=True)
class DiffAugment:
    """Change all of the discriminator's images at random (Zhao et al., NeurIPS 2020)."""

    colour: bool = True
    """Brightness, saturation and contrast."""
    translation: bool = True
    """Shifts by up to an eighth of the side."""
    cutout: bool = True
    """A grey rectangle of half the side."""


@dataclass(frozen=True)
class Ada:
    """Change images more often if the discriminator overfits (ADA, NeurIPS 2020)."""

    target: float = field(default=0.6, metadata=bounds(0, 1))
    """Mean sign of the discriminator's logits on real images that the probability is to hold."""
    images: int = field(default=500_000, metadata=bounds(1))
    """Images over which the probability could rise from 0 to 1."""


@dataclass(frozen=True)
class RampedAda:
    """ADA's changes of images, each with a probability that is given and not adapted (R3GAN)."""

    probability: float = field(default=0.0, metadata=bounds(0, 1))
    """Probability of each change at the start."""
    ramp: Ramp = Ramp()
    """How the probability changes over the steps."""


@dataclass(frozen=True)
class Balance:
    """Scale the discriminator's strength so that neither network outgrows the other.

    The balance ratio is the part of the gap between real and generated logits that one generator
    update closes.

    Source: Wang et al., NeurIPS 2023.
    """

    low: float = field(default=0.45, metadata=bounds(0, 1))
    """Below this ratio the discriminator is too strong, and its strength rises."""
    high: float = field(default=0.55, metadata=bounds(0, 1))
    """Above it the discriminator is too weak, and its strength falls."""
    every: int = field(default=10, metadata=bounds(1))
    """Steps between measurements; each costs one generator and two discriminator passes."""
    horizon: int = field(default=1_000, metadata=bounds(1))
    """Steps in which the strength changes tenfold while the ratio is out of bounds."""
    max_sparsity: float = field(default=0.5, metadata=bounds(0, 1))
    """Share of zeros at which the strength stops rising, so that training can go on."""


@dataclass(frozen=True)
class Adversarial:
    """A game between generator and discriminator, from logits."""

    loss: Literal[
        "minimax",
        "non_saturating",
        "least_squares",
        "hinge",
        "wasserstein",
        "relativistic_average",
        "relativistic_pairing",
    ] = "non_saturating"
    """What the two networks minimise."""
    r1: float = field(default=0.0, metadata=bounds(0))
    """γ of the gradient penalty γ/2·E‖∇D(x)‖² on real images."""
    r2: float = field(default=0.0, metadata=bounds(0))
    """γ of the gradient penalty γ/2·E‖∇D(G(z))‖² on generated images."""
    gamma_ramp: Ramp = Ramp()
    """How `r1` changes over the steps, and `r2` in proportion (or `r2`, if `r1` is 0)."""
    wgan_gp: float = field(default=0.0, metadata=bounds(0))
    """Factor of E(‖∇D‖ − 1)² between real and generated images; 10 is usual."""
    dragan: float = field(default=0.0, metadata=bounds(0))
    """Factor of E(‖∇D‖ − 1)² around real images; 10 is usual."""
    penalty_every: int = field(default=1, metadata=bounds(1))
    """Apply gradient penalties every so many updates, and so many times as strongly."""
    consistency: float = field(default=0.0, metadata=bounds(0))
    """Factor of E(D(x) − D(T(x)))², T a flip, a shift and a cutout; 10 is usual."""
    lecam: float = field(default=0.0, metadata=bounds(0))
    """Factor of LeCam's pull of each kind's logits to the other kind's average."""
    augment: DiffAugment | Ada | RampedAda | None = None
    """What changes the images that the discriminator sees."""
    n_critic: int = field(default=1, metadata=bounds(1))
    """Discriminator steps per generator step, each on a batch of its own."""
    balance: Balance | None = None
    """What moves the discriminator's strength."""


@dataclass(frozen=True)
class Reconstruction:
    """Mean squared error between real images and those generated from their latents."""

    activity_strength: float = field(default=0.0, metadata=bounds(0))
    """Strength of an L1 term on the generator's outputs, mean per pixel."""
    hidden_activity_strength: float = field(default=0.0, metadata=bounds(0))
    """Strength of an L1 term on the outputs of each hidden layer, mean per unit."""


@dataclass(frozen=True)
class Variational:
    """A bound on the likelihood of the images, nats per image."""

    beta: float = field(default=1.0, metadata=bounds(0))
    """Weight of the divergence from the prior; 1 for the bound."""
    free_nats: float = field(default=0.0, metadata=bounds(0))
    """Divergence in nats per latent dimension that costs nothing."""
    samples: int = field(default=1, metadata=bounds(1))
    """Latents per image; several give the importance-weighted bound (beta 1, no free nats)."""


@dataclass(frozen=True)
class FlowMatching:
    """Squared error of the velocity from noise to images, mean over an image's entries."""

    times: Literal["logit_normal", "uniform"] = "logit_normal"
    """Law of the times that are trained on; logit_normal has more of the middle."""
    time_mean: float = field(default=0.0, metadata=bounds(-10, 10))
    """Mean of the logit of the time; above 0 for times nearer the images."""
    time_deviation: float = field(default=1.0, metadata=bounds(0.01, 10))
    """Deviation of that logit."""
    label_dropout: float = field(default=0.0, metadata=bounds(0, 1))
    """Share of the labels that are left out, which guidance needs; 0.1 is usual."""
    pairing: Literal["independent", "optimal"] = "independent"
    """Which noise an image of the batch comes from: any, or that of the shortest ways in all."""
    dequantize: bool = False
    """Add uniform noise to the bytes of images, without which their likelihood means nothing."""


@dataclass(frozen=True)
class MeanFlow(FlowMatching):
    """Flow matching, and average velocities over intervals, so that one evaluation draws.

    It has the fields of `FlowMatching`, too. Begin from a trained flow: --from.
    """

    instants: float = field(default=0.25, metadata=bounds(0, 1, open_maximum=True))
    """Share of the batch that learns velocities at a time; the rest learns their averages."""
    whole: float = field(default=0.25, metadata=bounds(0, 1))
    """Share of the batch that learns the average over the whole way, which one step needs."""
    guidance: float = field(default=0.0, metadata=bounds(0, 100))
    """w of the guidance that is learned: v + w·(v − v without the class); needs label dropout."""


@dataclass(frozen=True)
class NextToken:
    """The cross-entropy of each token given those before it, nats, mean over all positions."""


Objective = Adversarial | Reconstruction | Variational | FlowMatching | MeanFlow | NextToken

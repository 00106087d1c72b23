"""What follows the game and steers it: LeCam's averages, ADA's probability, the balance ratio."""

import math
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from l1jax.objectives.consistency import Anchors, init_anchors

SMOOTHING = 20  # time constants of the balance ratio's average in one horizon
BOUNDS = (1e-4, 1e4)  # of the scale of the discriminator's strength


class Balancer(NamedTuple):
    """How the discriminator's strength follows the balance ratio."""

    low: float = 0.45
    high: float = 0.55
    every: int = 10  # steps from one measurement to the next
    horizon: int = (
        1_000  # steps in which the scale changes tenfold while the ratio is out of bounds
    )
    max_sparsity: float = 1.0  # share of the discriminator's zeros that its optimiser holds it to


class BalanceState(NamedTuple):
    """What the balancer carries from step to step."""

    ratio: Float[Array, ""]  # the balance ratio, averaged over the last measurements
    log_scale: Float[Array, ""]  # natural logarithm of the scale of the discriminator's strength


class Controllers(NamedTuple):
    """State of the controllers; None for those that are not used, which then cost nothing."""

    anchors: Anchors | None = None
    probability: Float[Array, ""] | None = None  # of augmentation
    balance: BalanceState | None = None


def init_controllers(
    *, lecam: bool = False, adaptive: bool = False, balance: Balancer | None = None
) -> Controllers:
    """Averages and probability at 0, the ratio in the middle of its bounds, the scale at 1."""
    return Controllers(
        anchors=init_anchors() if lecam else None,
        probability=jnp.zeros(()) if adaptive else None,
        balance=BalanceState(
            jnp.asarray((balance.low + balance.high) / 2, float), jnp.zeros([], float)
        )
        if balance
        else None,
    )


def balance_ratio(
    before: Float[Array, ""], after: Float[Array, ""], real: Float[Array, ""]
) -> Float[Array, ""]:
    """Which part of the gap between real and generated logits one generator update closes, in [0, 1].

    (E D(G_new(z)) − E D(G_old(z))) / (E D(x) − E D(G_old(z))); 1 where there is no gap left to close.

    Args:
        before: mean logit of images of the generator before its update.
        after: the same latents after it.
        real: mean logit of real images.

    Source: Wang et al., "Balanced training for sparse GANs", NeurIPS 2023, equation 4.
    """
    gap = real - before
    return jnp.where(gap > 0, jnp.clip((after - before) / jnp.where(gap > 0, gap, 1), 0, 1), 1)


def move_balance(
    balancer: Balancer,
    state: BalanceState,
    ratio: Float[Array, ""],
    limited: Bool[Array, ""] | bool = False,
) -> BalanceState:
    """Average the ratio and move the scale by a constant factor if the average is out of bounds.

    Below `low` the discriminator is too strong: its strength rises, and with it its zeros, but not where it is
    `limited`, as it has as many as it may have.
    """
    measurements = max(balancer.horizon / balancer.every, 1)
    ratio = state.ratio + min(SMOOTHING / measurements, 1) * (ratio - state.ratio)
    side = ((ratio < balancer.low) & jnp.logical_not(limited)).astype(float) - (
        ratio > balancer.high
    ).astype(float)
    log_scale = state.log_scale + side * math.log(10) / measurements
    return BalanceState(ratio, jnp.clip(log_scale, *map(math.log, BOUNDS)))

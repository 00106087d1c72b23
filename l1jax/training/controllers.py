"""Controllers of adversarial training: LeCam's anchors, ADA's probability, the balance ratio."""

import math
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from l1jax.objectives.consistency import Anchors, init_anchors

TIME_CONSTANTS = 20  # of the balance ratio's moving average, in one horizon
MIN_SCALE = 1e-4  # of the discriminator's strength
MAX_SCALE = 1e4


class Balancer(NamedTuple):
    """How the discriminator's strength follows the balance ratio.

    Attributes:
        low: the strength rises while the ratio is below this.
        high: the strength falls while the ratio is above this.
        every: steps from one measurement to the next.
        horizon: steps in which the scale changes tenfold while the ratio is out of bounds.
        max_sparsity: share of zeros to which the discriminator's optimiser limits it.
    """

    low: float = 0.45
    high: float = 0.55
    every: int = 10
    horizon: int = 1_000
    max_sparsity: float = 1.0


class BalanceState(NamedTuple):
    """What the balancer carries from step to step.

    Attributes:
        ratio: moving average of the balance ratio over its measurements.
        log_scale: natural logarithm of the scale of the discriminator's strength.
    """

    ratio: Float[Array, ""]
    log_scale: Float[Array, ""]


class Controllers(NamedTuple):
    """State of the controllers; None for each that is not used, which then costs nothing.

    Attributes:
        anchors: moving averages of the logits, for LeCam's term.
        probability: of augmentation.
        balance: of the discriminator's strength.
    """

    anchors: Anchors | None = None
    probability: Float[Array, ""] | None = None
    balance: BalanceState | None = None


def init_controllers(
    *, lecam: bool = False, adaptive: bool = False, balancer: Balancer | None = None
) -> Controllers:
    """Create the initial state of the controllers in use.

    Anchors and probability start at 0, the ratio in the middle of its bounds, the scale at 1.

    Args:
        lecam: whether LeCam's term needs anchors.
        adaptive: whether the probability of augmentation adapts.
        balancer: if the discriminator's strength follows the balance ratio.
    """
    controllers = Controllers()
    if lecam:
        controllers = controllers._replace(anchors=init_anchors())
    if adaptive:
        controllers = controllers._replace(probability=jnp.zeros(()))
    if balancer is not None:
        ratio = jnp.asarray((balancer.low + balancer.high) / 2, float)
        balance = BalanceState(ratio, log_scale=jnp.zeros([], float))
        controllers = controllers._replace(balance=balance)
    return controllers


def balance_ratio(
    before: Float[Array, ""], after: Float[Array, ""], real: Float[Array, ""]
) -> Float[Array, ""]:
    """Measure which part of the gap between real and generated logits one generator update closes.

    (E D(G_new(z)) − E D(G_old(z))) / (E D(x) − E D(G_old(z))), clipped to [0, 1]; 1 if there is
    no gap left to close.

    Args:
        before: mean logit of generated images before the generator's update.
        after: mean logit of generated images of the same latents after it.
        real: mean logit of real images.

    Source: Wang et al., "Balanced training for sparse GANs", NeurIPS 2023, equation 4.
    """
    gap = real - before
    return jnp.where(gap > 0, jnp.clip((after - before) / jnp.where(gap > 0, gap, 1), 0, 1), 1)


def update_balance_state(
    balancer: Balancer,
    state: BalanceState,
    ratio: Float[Array, ""],
    is_limited: Bool[Array, ""] | bool = False,
) -> BalanceState:
    """Average the ratio, and change the scale by a constant factor if the average is out of bounds.

    Below `low` the discriminator is too strong: its strength rises, and with it its zeros.

    Args:
        balancer: bounds and speed.
        state: before the measurement.
        ratio: as measured.
        is_limited: whether the discriminator has as many zeros as it may have; the strength does
            not rise then.
    """
    num_measurements = max(balancer.horizon / balancer.every, 1)  # in one horizon
    weight = min(TIME_CONSTANTS / num_measurements, 1)
    ratio = state.ratio + weight * (ratio - state.ratio)
    up = ((ratio < balancer.low) & jnp.logical_not(is_limited)).astype(float)
    down = (ratio > balancer.high).astype(float)
    log_scale = state.log_scale + (up - down) * math.log(10) / num_measurements
    log_scale = jnp.clip(log_scale, math.log(MIN_SCALE), math.log(MAX_SCALE))
    return BalanceState(ratio, log_scale)

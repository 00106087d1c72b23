"""Numbers that change with the steps of a training."""

import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike

from l1jax import config


def build_schedule(schedule: config.Schedule, updates_per_step: int = 1) -> optax.Schedule:
    """Build a factor that is a function of the number of updates so far.

    Step t, counted from 0, has the factor (t + 1)/warmup up to the warm-up's end, and 1 for `hold`
    steps; then, with s = (t − warmup − hold)/(steps − warmup − hold) in [0, 1], 1 + (end − 1)·s or
    end + (1 − end)·½(1 + cos πs).

    Raises:
        InputError: if a schedule that comes down has no steps after its warm-up and its hold.

    Source: Hägele et al., NeurIPS 2024, section 3, for the hold.
    """
    warmup = schedule.warmup
    steps = schedule.steps
    end = schedule.end
    top = warmup + schedule.hold
    if schedule.shape != "constant" and steps <= top:
        raise config.InputError(
            f"`steps` (={steps}) of a {schedule.shape} schedule must be greater than its `warmup` "
            f"(={warmup}) and `hold` (={schedule.hold}) together: give the step at which it is to "
            "reach its end."
        )

    def factor(count: ArrayLike) -> Array:
        step = jnp.asarray(count) // updates_per_step
        rise = jnp.minimum((step + 1) / max(warmup, 1), 1)
        s = jnp.clip((step - top) / max(steps - top, 1), 0, 1)
        match schedule.shape:
            case "constant":
                return rise
            case "linear":
                return rise * (1 + (end - 1) * s)
            case "cosine":
                return rise * (end + (1 - end) * (1 + jnp.cos(jnp.pi * s)) / 2)

    return factor


def build_ramp(
    start: float, ramp: config.Ramp, updates_per_step: int = 1
) -> float | optax.Schedule:
    """Build a number that is a function of the number of updates so far, or the number itself.

    With s = t/steps in [0, 1] at step t it is start + (end − start)·s, or by a cosine
    start + (end − start)·½(1 − cos πs).

    Args:
        start: the number at step 0.
        ramp: where it goes.
        updates_per_step: how many updates a step has.
    """
    if not ramp.steps:
        return start

    def value(count: ArrayLike) -> Array:
        s = jnp.clip(jnp.asarray(count) // updates_per_step / ramp.steps, 0, 1)
        if ramp.shape == "cosine":
            s = (1 - jnp.cos(jnp.pi * s)) / 2
        return start + (ramp.end - start) * s

    return value

"""The textbook loss term: the penalty's subgradient added to the gradient."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from l1jax.penalties import Penalty, leaf_penalties, scaled


class AddSubgradientState(NamedTuple):
    """State of `add_subgradient`."""

    scale: Float[Array, ""]  # multiplies every strength of the penalty


def add_subgradient(penalty: Penalty) -> optax.GradientTransformation:
    """Add the penalty's subgradient to the gradient, g ← g + λ sign(w) for L1; chain it first.

    The same as differentiating loss + penalty. It oscillates around zero and never gives exact zeros:
    take `proximal_adam` or `proximal` for those.

    Args:
        penalty: what to penalise, over the parameters that `update` gets.

    Raises:
        ValueError: from `update` without `params`.
    """

    def init(params: optax.Params) -> AddSubgradientState:
        leaf_penalties(penalty, params)  # refuse patterns that match nothing before training starts
        return AddSubgradientState(scale=jnp.ones([], float))

    def update(
        updates: optax.Updates, state: Any, params: optax.Params | None = None
    ) -> tuple[optax.Updates, AddSubgradientState]:
        if params is None:
            raise ValueError("`params` (=None) must be given to `update`: the subgradient is taken there.")
        subgradient = scaled(penalty, state.scale).subgradient(params)
        return jax.tree.map(lambda u, s: u + s.astype(u.dtype), updates, subgradient), state

    return optax.GradientTransformation(init, update)

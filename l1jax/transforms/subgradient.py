"""The textbook loss term: the penalty's subgradient added to the gradient."""

from typing import NamedTuple

import jax
import optax

from l1jax.annotations import Array, PyTree
from l1jax.penalties import Penalty
from l1jax.penalties.coupled_leaves import leaf_subgradients
from l1jax.penalties.numerics import upcast
from l1jax.transforms.floating_leaves import on_floating_leaves
from l1jax.transforms.leaves import require_params_like
from l1jax.transforms.strengths import Scale, StrengthState, bind_strength


class AddSubgradientState(NamedTuple):
    """State of `add_subgradient`."""

    strength: StrengthState


def add_subgradient(penalty: Penalty, *, scale: Scale = None) -> optax.GradientTransformation:
    """Add the penalty's subgradient to the gradient, g ← g + λ sign(w) for L1; chain it first.

    This is the same as differentiating loss + penalty, with the same stationary points. But where a
    stationary point has a zero, the entry hovers around it within about a step and does not rest on
    it: take `proximal_adam` or `proximal` for exact zeros.

    Args:
        penalty: what to penalise, over the parameters that `update` gets.
        scale: multiplies the strength: a schedule, or a transformation such as `reweight`.

    Raises:
        ValueError: from `init` if a `by_path` pattern does not fit the parameters, or a penalised
            leaf is not of floating point; from `update` without `params`.

    Source: Shor, Minimization Methods for Non-Differentiable Functions (1985), chapter 2.

    >>> import jax.numpy as jnp, l1jax, optax
    >>> tx = optax.chain(l1jax.add_subgradient(l1jax.l1(0.5)), optax.sgd(1.0))
    >>> params = jnp.array([2.0, 0.0])
    >>> updates, _ = tx.update(jnp.zeros(2), tx.init(params), params)
    >>> (params + updates).tolist()
    [1.5, 0.0]
    """
    strength = bind_strength(penalty, scale)

    def init(params: optax.Params) -> AddSubgradientState:
        return AddSubgradientState(strength.init(params))

    def update(
        updates: optax.Updates, state: PyTree, params: optax.Params | None = None
    ) -> tuple[optax.Updates, AddSubgradientState]:
        params = require_params_like(params, updates, "the subgradient is taken there")
        penalties, strengths = strength.update(state.strength, params)
        leaves, treedef = jax.tree.flatten(updates)
        points = [upcast(p) for p in jax.tree.leaves(params)]
        columns = zip(penalties, leaves, leaf_subgradients(penalties, points), strict=True)
        sums = [_add_subgradient(penalty, u, slope) for penalty, u, slope in columns]
        return treedef.unflatten(sums), AddSubgradientState(strengths)

    return on_floating_leaves(
        optax.GradientTransformation(init, update), strength.check, is_optimizer=False
    )


def _add_subgradient(penalty: Penalty | None, u: Array, slope: Array) -> Array:
    """Return the sum of one leaf, rounded once, or u where it has no penalty."""
    if penalty is None:
        return u
    return (upcast(u) + slope).astype(u.dtype)

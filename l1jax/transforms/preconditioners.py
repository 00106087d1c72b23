"""The diagonal metric of optax's optimisers, read from their state.

An optimiser that moves x by learning_rate·m/d has the metric d/learning_rate; a preconditioner is
a function state → d, a tree like the parameters. The hyperparameters live in optax's closures, so
they are told here once more, never guessed.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

Preconditioner = Callable[[optax.OptState], PyTree]


def adam(b2: float = 0.999, eps: float = 1e-8, eps_root: float = 0.0) -> Preconditioner:
    """The denominator √(ν/(1 − b2ᵗ) + eps_root) + eps of `optax.adam`, `adamw` and `nadam`.

    Args:
        b2: the optimiser's decay of the second moment.
        eps: the optimiser's `eps`, outside the root.
        eps_root: the optimiser's `eps_root`, inside the root.

    Source: Kingma and Ba, ICLR 2015, algorithm 1.
    """

    def denominator(state: optax.OptState) -> PyTree:
        moments = _node(state, "nu", "count")
        correction = 1 - jnp.asarray(b2, float) ** moments.count
        return jax.tree.map(lambda nu: jnp.sqrt(nu / correction.astype(nu.dtype) + eps_root) + eps, moments.nu)

    return denominator


def _node(state: optax.OptState, *fields: str) -> Any:
    """The one part of a chained state that has all these fields."""

    def has_fields(node: Any) -> bool:
        return all(hasattr(node, field) for field in fields)

    found = [node for node in jax.tree.leaves(state, is_leaf=has_fields) if has_fields(node)]
    if len(found) != 1:
        raise ValueError(
            f"`state` (={type(state).__name__}) must hold exactly one part with the fields {list(fields)}, not "
            f"{len(found)}: give `inner` and `preconditioner` of the same optimiser."
        )
    return found[0]

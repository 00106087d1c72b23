"""The diagonal metric of optax's optimisers, read from their state.

An optimiser that moves x by learning_rate·m/d has the metric d/learning_rate; a preconditioner is
a function state → d, a tree like the parameters. The hyperparameters live in optax's closures and
several optimisers share a state type, so they are told here once more, never guessed. Below, t is
the number of updates so far and ν, μ are the state's `nu` and `mu`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, PyTree

Preconditioner = Callable[[optax.OptState], PyTree]


def adam(b2: ArrayLike = 0.999, eps: ArrayLike = 1e-8, eps_root: ArrayLike = 0.0) -> Preconditioner:
    """√(ν/(1 − b2ᵗ) + eps_root) + eps: `optax.adam`, `adamw` and `nadam`.

    Args:
        b2: the optimiser's decay of the second moment.
        eps: the optimiser's `eps`, outside the root.
        eps_root: the optimiser's `eps_root`, inside the root.

    Source: Kingma and Ba, ICLR 2015, algorithm 1.

    >>> import jax.numpy as jnp, l1jax, optax
    >>> tx, params = optax.adam(0.1), jnp.zeros(1)
    >>> _, state = tx.update(jnp.full(1, 0.3), tx.init(params))
    >>> round(float(l1jax.preconditioners.adam()(state)[0]), 3)  # |g| after one update
    0.3
    """

    def denominator(state: optax.OptState) -> PyTree:
        moments = _node(state, "nu", "count")
        return jax.tree.map(lambda nu: jnp.sqrt(nu + eps_root) + eps, _corrected(moments.nu, b2, moments.count))

    return denominator


adamw = adam
nadam = adam


def yogi(b2: ArrayLike = 0.999, eps: ArrayLike = 1e-3, eps_root: ArrayLike = 0.0) -> Preconditioner:
    """√(ν/(1 − b2ᵗ) + eps_root) + eps, as Adam's with Yogi's larger `eps`: `optax.yogi`.

    Source: Zaheer, Reddi, Sachan, Kale, Kumar: Adaptive methods for nonconvex optimization, NeurIPS 2018.

    >>> import jax.numpy as jnp, l1jax, optax
    >>> tx, params = optax.yogi(0.1), jnp.zeros(1)
    >>> _, state = tx.update(jnp.full(1, 0.3), tx.init(params))
    >>> round(float(l1jax.preconditioners.yogi()(state)[0]), 3)  # its ν starts at 1e-6
    0.303
    """
    return adam(b2, eps, eps_root)


def amsgrad(eps: ArrayLike = 1e-8, eps_root: ArrayLike = 0.0) -> Preconditioner:
    """√(ν_max + eps_root) + eps, the maximum of bias-corrected moments: `optax.amsgrad`.

    Source: Reddi, Kale, Kumar: On the convergence of Adam and beyond, ICLR 2018.

    >>> import jax.numpy as jnp, l1jax, optax
    >>> tx, params = optax.amsgrad(0.1), jnp.zeros(1)
    >>> _, state = tx.update(jnp.full(1, 0.3), tx.init(params))
    >>> round(float(l1jax.preconditioners.amsgrad()(state)[0]), 3)
    0.3
    """
    return lambda state: jax.tree.map(lambda nu: jnp.sqrt(nu + eps_root) + eps, _node(state, "nu_max").nu_max)


def adabelief(b2: ArrayLike = 0.999, eps: ArrayLike = 1e-16) -> Preconditioner:
    """√(ν/(1 − b2ᵗ)) + eps: `optax.adabelief`, whose ν contains `eps_root` already.

    Source: Zhuang et al.: AdaBelief optimizer, NeurIPS 2020.

    >>> import jax.numpy as jnp, l1jax, optax
    >>> tx, params = optax.adabelief(0.1), jnp.zeros(1)
    >>> _, state = tx.update(jnp.full(1, 0.3), tx.init(params))
    >>> round(float(l1jax.preconditioners.adabelief()(state)[0]), 3)  # |g − m|, m = 0.1·0.3
    0.27
    """
    return adam(b2, eps)


def rmsprop(
    decay: ArrayLike = 0.9,
    eps: ArrayLike = 1e-8,
    eps_in_sqrt: bool = True,
    centered: bool = False,
    bias_correction: bool = False,
) -> Preconditioner:
    """√(ν + eps), or √ν + eps without `eps_in_sqrt`: `optax.rmsprop` in all its forms.

    With `centered`, ν − μ² stands for ν; with `bias_correction` both moments are divided by 1 − decayᵗ.

    Source: Hinton, Neural networks for machine learning, lecture 6e (2012); centred: Graves,
    arXiv:1308.0850 (2013), equations 38 to 45.

    >>> import jax.numpy as jnp, l1jax, optax
    >>> tx, params = optax.rmsprop(0.1), jnp.zeros(1)
    >>> _, state = tx.update(jnp.full(1, 0.3), tx.init(params))
    >>> round(float(l1jax.preconditioners.rmsprop()(state)[0]), 3)  # √(0.1·0.3²)
    0.095
    """

    def root(nu: Array) -> Array:
        return jnp.sqrt(nu + eps) if eps_in_sqrt else jnp.sqrt(nu) + eps

    def denominator(state: optax.OptState) -> PyTree:
        fields = ["nu"] + ["mu"] * centered + ["count"] * bias_correction
        moments = _node(state, *fields)

        def hat(moment: PyTree) -> PyTree:
            return _corrected(moment, decay, moments.count) if bias_correction else moment

        if not centered:
            return jax.tree.map(root, hat(moments.nu))
        return jax.tree.map(lambda mu, nu: root(nu - jnp.square(mu)), hat(moments.mu), hat(moments.nu))

    return denominator


def adagrad(eps: ArrayLike = 1e-7) -> Preconditioner:
    """√(s + eps), s the sum of squared gradients: `optax.adagrad`.

    Where s is still 0 (a start at 0 and no gradient yet) optax does not move, and the prox has the
    step learning_rate/√eps: an entry that the loss does not see goes to zero.

    Source: Duchi, Hazan, Singer, JMLR 12 (2011).

    >>> import jax.numpy as jnp, l1jax, optax
    >>> tx, params = optax.adagrad(0.1), jnp.zeros(1)
    >>> _, state = tx.update(jnp.full(1, 0.3), tx.init(params))
    >>> round(float(l1jax.preconditioners.adagrad()(state)[0]), 3)  # √(0.1 + 0.3²)
    0.436
    """
    return lambda state: jax.tree.map(lambda s: jnp.sqrt(s + eps), _node(state, "sum_of_squares").sum_of_squares)


def _corrected(moment: PyTree, decay: ArrayLike, count: Array) -> PyTree:
    correction = 1 - jnp.asarray(decay, float) ** count
    return jax.tree.map(lambda m: m / correction.astype(m.dtype), moment)


def _node(state: optax.OptState, *fields: str) -> Any:
    """The one part of a chained state that has all these fields."""

    def has_fields(node: Any) -> bool:
        return set(fields) <= set(getattr(node, "_fields", ()))  # a tuple has a method `count`

    found = [node for node in jax.tree.leaves(state, is_leaf=has_fields) if has_fields(node)]
    if len(found) != 1:
        raise ValueError(
            f"`state` (={type(state).__name__}) must hold exactly one part with the fields {list(fields)}, not "
            f"{len(found)}: give `inner` and `preconditioner` of the same optimiser."
        )
    return found[0]

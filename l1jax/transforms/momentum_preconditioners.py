"""The diagonal metric of optimisers whose momentum has a weight or a history of its own.

Their updates are −learning_rate·c·g/d under steady gradients, where c grows to the weight of their
momentum; a preconditioner is d/c. It is exact at a fixed point, where gradients are steady.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from l1jax.annotations import Array, ArrayLike, PyTree
from l1jax.transforms.inner_state import adam_denominator, correct_bias, find_state

Preconditioner = Callable[[optax.OptState], PyTree]
"""From the state of an optimiser to its denominator d, a tree like the parameters."""


def adopt(eps: ArrayLike = 1e-6) -> Preconditioner:
    """Return max(√ν, eps), the denominator of `optax.contrib.adopt`.

    AdOpt divides each gradient by the ν before it, and averages the quotients.

    Args:
        eps: the optimiser's `eps`.

    Source: Taniguchi et al., ADOPT: modified Adam can converge with any β2, NeurIPS 2024.

    >>> import jax.numpy as jnp, l1jax, optax
    >>> tx = optax.contrib.adopt(0.1)
    >>> _, state = tx.update(jnp.full(1, 0.3), tx.init(jnp.zeros(1)), jnp.zeros(1))
    >>> round(float(l1jax.preconditioners.adopt()(state)[0]), 3)
    0.3
    """

    def denominator(state: optax.OptState) -> PyTree:
        moments = find_state(state, "ScaleByAdamState", "nu", "count")
        return jax.tree.map(lambda nu: jnp.maximum(jnp.sqrt(nu), eps), moments.nu)

    return denominator


def adan(b3: ArrayLike = 0.99, eps: ArrayLike = 1e-8, eps_root: ArrayLike = 1e-8) -> Preconditioner:
    """Return √(n/(1 − b3ᵗ) + eps_root) + eps, the denominator of `optax.adan`.

    Args:
        b3: the optimiser's decay of the second moment n.
        eps: the optimiser's `eps`, which is outside the root.
        eps_root: the optimiser's `eps_root`, which is inside the root.

    Source: Xie et al., Adan: adaptive Nesterov momentum algorithm, TPAMI 2024, algorithm 1.

    >>> import jax.numpy as jnp, l1jax, optax
    >>> tx = optax.adan(0.1)
    >>> _, state = tx.update(jnp.full(1, 0.3), tx.init(jnp.zeros(1)), jnp.zeros(1))
    >>> round(float(l1jax.preconditioners.adan()(state)[0]), 3)
    0.3
    """

    def denominator(state: optax.OptState) -> PyTree:
        moments = find_state(state, "ScaleByAdanState", "n", "t")
        corrected = correct_bias(moments.n, b3, moments.t)
        return jax.tree.map(lambda n: jnp.sqrt(n + eps_root) + eps, corrected)

    return denominator


def ademamix(
    b2: ArrayLike = 0.999,
    b3: optax.ScalarOrSchedule = 0.9999,
    alpha: optax.ScalarOrSchedule = 5.0,
    eps: ArrayLike = 1e-8,
    eps_root: ArrayLike = 0.0,
) -> Preconditioner:
    """Return Adam's denominator over 1 + alpha·(1 − b3ᵗ), for `optax.contrib.ademamix`.

    Its slow average of weight alpha is added to the fast one.

    Args:
        b2: the optimiser's decay of the second moment.
        b3: the optimiser's decay of the slow average, a number.
        alpha: the optimiser's weight of the slow average, a number.
        eps: the optimiser's `eps`, which is outside the root.
        eps_root: the optimiser's `eps_root`, which is inside the root.

    Raises:
        ValueError: if `b3` or `alpha` is a schedule: the weight of past gradients is not in the
            state then.

    Source: Pagliardini, Ablin, Grangier, The AdEMAMix optimizer, ICLR 2025, algorithm 1.

    >>> import jax.numpy as jnp, l1jax, optax
    >>> tx = optax.contrib.ademamix(0.1, b3=0.5, alpha=4.0)
    >>> _, state = tx.update(jnp.full(1, 0.3), tx.init(jnp.zeros(1)), jnp.zeros(1))
    >>> metric = l1jax.preconditioners.ademamix(b3=0.5, alpha=4.0)
    >>> round(float(metric(state)[0]), 3)  # |g|/(1 + 4·½)
    0.1
    """
    for name, number in {"b3": b3, "alpha": alpha}.items():
        if callable(number):
            raise ValueError(
                f"`{name}` (={number!r}) must be a number: with a schedule the weight of past "
                "gradients is not in the optimiser's state; give both a number, or take "
                "`l1jax.proximal_adam`."
            )

    def denominator(state: optax.OptState) -> PyTree:
        moments = find_state(state, "ScaleByAdemamixState", "nu", "count", "count_m2")
        filled = 1 - jnp.asarray(b3, float) ** moments.count_m2
        weight = 1 + jnp.asarray(alpha, float) * filled
        divisor = adam_denominator(moments, b2, eps, eps_root)
        return jax.tree.map(lambda d: d / weight.astype(d.dtype), divisor)

    return denominator


def novograd(
    b1: ArrayLike = 0.9, eps: ArrayLike = 1e-6, eps_root: ArrayLike = 0.0
) -> Preconditioner:
    """Return (√(ν + eps_root) + eps)·(1 − b1)/(1 − b1ᵗ) of each leaf, for `optax.novograd`.

    ν is one number per leaf, and the momentum is not normalised.

    Args:
        b1: the optimiser's decay of the momentum.
        eps: the optimiser's `eps`, which is outside the root.
        eps_root: the optimiser's `eps_root`, which is inside the root.

    Source: Ginsburg et al., Stochastic gradient methods with layer-wise adaptive moments,
    arXiv:1905.11286 (2019), algorithm 1.

    >>> import jax.numpy as jnp, l1jax, optax
    >>> tx = optax.novograd(0.1)
    >>> _, state = tx.update(jnp.array([0.3, 0.4]), tx.init(jnp.zeros(2)), jnp.zeros(2))
    >>> l1jax.preconditioners.novograd()(state).round(3).tolist()  # the norm of the gradient
    [0.5, 0.5]
    """

    def denominator(state: optax.OptState) -> PyTree:
        moments = find_state(state, "ScaleByNovogradState", "nu", "mu", "count")
        decay = jnp.asarray(b1, float)
        weight = (1 - decay**moments.count) / (1 - decay)

        def of_leaf(nu: Array, mu: Array) -> Array:
            divisor = (jnp.sqrt(nu + eps_root) + eps) / weight.astype(nu.dtype)
            return jnp.broadcast_to(divisor, mu.shape)

        return jax.tree.map(of_leaf, moments.nu, moments.mu)

    return denominator


def prodigy(b2: ArrayLike = 0.999, eps: ArrayLike = 1e-8) -> Preconditioner:
    """Return (√s/e + eps)/(e·√(1 − b2ᵗ)), with the state's estimate e, for `optax.contrib.prodigy`.

    s is its second moment. The learning rate is the one that the optimiser is given, 1 if none is.

    Args:
        b2: the second of the optimiser's `betas`.
        eps: the optimiser's `eps`.

    Source: Mishchenko, Defazio, Prodigy: an expeditiously adaptive parameter-free learner, ICML
    2024, algorithm 4.

    >>> import jax.numpy as jnp, l1jax, optax
    >>> tx = optax.contrib.prodigy(estim_lr0=0.5)
    >>> updates, state = tx.update(jnp.full(1, 0.3), tx.init(jnp.zeros(1)), jnp.zeros(1))
    >>> round(float((-updates * l1jax.preconditioners.prodigy()(state))[0]), 3)
    0.3
    """

    def denominator(state: optax.OptState) -> PyTree:
        found = find_state(state, "ProdigyState", "exp_avg_sq", "estim_lr", "count")
        root = jnp.sqrt(1 - jnp.asarray(b2, float) ** found.count)

        def of_leaf(square: Array) -> Array:
            scale = found.estim_lr.astype(square.dtype)
            return (jnp.sqrt(square) / scale + eps) / (scale * root.astype(square.dtype))

        return jax.tree.map(of_leaf, found.exp_avg_sq)

    return denominator

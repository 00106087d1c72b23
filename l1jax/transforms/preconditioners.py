"""The diagonal metric of optax's optimisers, read from their state.

An optimiser that moves x by learning_rate·m/d has the metric d/learning_rate; a preconditioner is
a function state → d, a tree like the parameters. The hyperparameters live in optax's closures, so
they must be given here once more; they are never guessed. Below, t is the number of updates so far,
and ν and μ are the state's `nu` and `mu`.

A state whose type belongs to another optimiser is an error, and so is one inside a wrapper that
changes the update or the parameters, such as `optax.contrib.schedule_free`. Chains,
`inject_hyperparams`, `masked`, `partition`, `MultiSteps` and `apply_if_finite` may be around it.

Some mistakes cannot be seen in a type: other hyperparameters than those of the optimiser; the
preconditioner of another of `optax.adam`, `yogi`, `adamax`, `adamaxw`, `radam` and
`optax.contrib.adopt`, whose states have one type; `optax.contrib.acprop`, whose state has
AdaBelief's; and `optax.lamb`, whose trust ratio is in no state. With the wrong metric the
parameters converge to another point than the minimum of loss + penalty. `preconditioned_proximal`
finds these by ten steps on a tiny tree, where the optimiser runs on one, and `l1jax.diagnose` by
solving a tiny problem.
"""

import jax
import jax.numpy as jnp
import optax

from l1jax.annotations import Array, ArrayLike, PyTree
from l1jax.transforms.inner_state import adam_denominator, correct_bias, find_state
from l1jax.transforms.momentum_preconditioners import Preconditioner as Preconditioner
from l1jax.transforms.momentum_preconditioners import adan, ademamix, adopt, novograd, prodigy

__all__ = [
    "Preconditioner",
    "adabelief",
    "adagrad",
    "adam",
    "adamax",
    "adamaxw",
    "adamw",
    "adan",
    "ademamix",
    "adopt",
    "amsgrad",
    "nadam",
    "novograd",
    "prodigy",
    "radam",
    "rmsprop",
    "yogi",
]


def adam(b2: ArrayLike = 0.999, eps: ArrayLike = 1e-8, eps_root: ArrayLike = 0.0) -> Preconditioner:
    """Return √(ν/(1 − b2ᵗ) + eps_root) + eps, the denominator of `optax.adam`, `adamw` and `nadam`.

    It is not for `adamax` and `radam`, whose state has the same type but which divide by something
    else, and not for another `b2` than the optimiser's, with which the metric would be wrong.

    Args:
        b2: the optimiser's decay of the second moment.
        eps: the optimiser's `eps`, which is outside the root.
        eps_root: the optimiser's `eps_root`, which is inside the root.

    Source: Kingma and Ba, ICLR 2015, algorithm 1.

    >>> import jax.numpy as jnp, l1jax, optax
    >>> tx = optax.adam(0.1)
    >>> _, state = tx.update(jnp.full(1, 0.3), tx.init(jnp.zeros(1)))
    >>> round(float(l1jax.preconditioners.adam()(state)[0]), 3)  # |g| after one update
    0.3
    """

    def denominator(state: optax.OptState) -> PyTree:
        moments = find_state(state, "ScaleByAdamState", "nu", "count")
        return adam_denominator(moments, b2, eps, eps_root)

    return denominator


adamw = adam
nadam = adam


def adamax(b2: ArrayLike = 0.999) -> Preconditioner:
    """Return the running maximum of |g| that `optax.adamax` and `adamaxw` divide by.

    The optimiser's `eps` is in its state already, and so is the decay: `b2` is accepted for
    symmetry.

    Args:
        b2: the optimiser's decay, which makes no difference here.

    Source: Kingma and Ba, ICLR 2015, algorithm 2.

    >>> import jax.numpy as jnp, l1jax, optax
    >>> tx = optax.adamax(0.1)
    >>> _, state = tx.update(jnp.full(1, 0.3), tx.init(jnp.zeros(1)))
    >>> round(float(l1jax.preconditioners.adamax()(state)[0]), 3)
    0.3
    """
    del b2

    def denominator(state: optax.OptState) -> PyTree:
        return find_state(state, "ScaleByAdamState", "nu", "count").nu

    return denominator


adamaxw = adamax


def radam(
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    eps_root: ArrayLike = 0.0,
    threshold: ArrayLike = 5.0,
) -> Preconditioner:
    """Return (√(ν/(1 − b2ᵗ) + eps_root) + eps)/r, the denominator of `optax.radam`.

    r is its rectification. In the first steps, before it adapts, the denominator is 1.

    Args:
        b2: the optimiser's decay of the second moment.
        eps: the optimiser's `eps`, which is outside the root.
        eps_root: the optimiser's `eps_root`, which is inside the root.
        threshold: the optimiser's threshold, below which its steps are those of SGD.

    Source: Liu et al., On the variance of the adaptive learning rate and beyond, ICLR 2020,
    algorithm 2.

    >>> import jax.numpy as jnp, l1jax, optax
    >>> tx = optax.radam(0.1)
    >>> _, state = tx.update(jnp.full(1, 0.3), tx.init(jnp.zeros(1)))
    >>> float(l1jax.preconditioners.radam()(state)[0])  # the first steps are those of SGD
    1.0
    """

    def denominator(state: optax.OptState) -> PyTree:
        moments = find_state(state, "ScaleByAdamState", "nu", "count")
        decay = jnp.asarray(b2, float)
        power = decay**moments.count
        limit = 2 / (1 - decay) - 1
        length = limit - 2 * moments.count * power / (1 - power)
        adapts = length >= threshold
        safe = jnp.where(adapts, length, limit)
        square = (safe - 4) * (safe - 2) * limit / ((limit - 4) * (limit - 2) * safe)
        divisor = adam_denominator(moments, b2, eps, eps_root)
        return jax.tree.map(
            lambda d: jnp.where(adapts, d / jnp.sqrt(square).astype(d.dtype), 1), divisor
        )

    return denominator


def yogi(b2: ArrayLike = 0.999, eps: ArrayLike = 1e-3, eps_root: ArrayLike = 0.0) -> Preconditioner:
    """Return √(ν/(1 − b2ᵗ) + eps_root) + eps, the denominator of `optax.yogi`.

    Args:
        b2: the optimiser's decay of the second moment.
        eps: the optimiser's `eps`, which is larger than Adam's and outside the root.
        eps_root: the optimiser's `eps_root`, which is inside the root.

    Source: Zaheer, Reddi, Sachan, Kale, Kumar, Adaptive methods for nonconvex optimization,
    NeurIPS 2018.

    >>> import jax.numpy as jnp, l1jax, optax
    >>> tx = optax.yogi(0.1)
    >>> _, state = tx.update(jnp.full(1, 0.3), tx.init(jnp.zeros(1)))
    >>> round(float(l1jax.preconditioners.yogi()(state)[0]), 3)  # its ν starts at 1e-6
    0.303
    """
    return adam(b2, eps, eps_root)


def amsgrad(eps: ArrayLike = 1e-8, eps_root: ArrayLike = 0.0) -> Preconditioner:
    """Return √(ν_max + eps_root) + eps, the denominator of `optax.amsgrad`.

    ν_max is the largest of the bias-corrected moments so far.

    Args:
        eps: the optimiser's `eps`, which is outside the root.
        eps_root: the optimiser's `eps_root`, which is inside the root.

    Source: Reddi, Kale, Kumar, On the convergence of Adam and beyond, ICLR 2018.

    >>> import jax.numpy as jnp, l1jax, optax
    >>> tx = optax.amsgrad(0.1)
    >>> _, state = tx.update(jnp.full(1, 0.3), tx.init(jnp.zeros(1)))
    >>> round(float(l1jax.preconditioners.amsgrad()(state)[0]), 3)
    0.3
    """

    def denominator(state: optax.OptState) -> PyTree:
        largest = find_state(state, "ScaleByAmsgradState", "nu_max").nu_max
        return jax.tree.map(lambda nu: jnp.sqrt(nu + eps_root) + eps, largest)

    return denominator


def adabelief(b2: ArrayLike = 0.999, eps: ArrayLike = 1e-16) -> Preconditioner:
    """Return √(ν/(1 − b2ᵗ)) + eps, the denominator of `optax.adabelief`.

    The optimiser's ν contains its `eps_root` already.

    Args:
        b2: the optimiser's decay of the second moment.
        eps: the optimiser's `eps`, which is outside the root.

    Source: Zhuang et al., AdaBelief optimizer, NeurIPS 2020.

    >>> import jax.numpy as jnp, l1jax, optax
    >>> tx = optax.adabelief(0.1)
    >>> _, state = tx.update(jnp.full(1, 0.3), tx.init(jnp.zeros(1)))
    >>> round(float(l1jax.preconditioners.adabelief()(state)[0]), 3)  # |g − m|, m = 0.1·0.3
    0.27
    """

    def denominator(state: optax.OptState) -> PyTree:
        moments = find_state(state, "ScaleByBeliefState", "nu", "count")
        return adam_denominator(moments, b2, eps, 0.0)

    return denominator


def rmsprop(
    decay: ArrayLike = 0.9,
    eps: ArrayLike = 1e-8,
    eps_in_sqrt: bool = True,
    centered: bool = False,
    bias_correction: bool = False,
) -> Preconditioner:
    """Return √(ν + eps), or √ν + eps without `eps_in_sqrt`, the denominator of `optax.rmsprop`.

    With `centered`, ν − μ² replaces ν; with `bias_correction` both moments are divided by
    1 − decayᵗ.

    Args:
        decay: the optimiser's decay of the moments.
        eps: the optimiser's `eps`.
        eps_in_sqrt: whether `eps` is inside the root.
        centered: whether the optimiser divides by the standard deviation.
        bias_correction: whether the optimiser corrects the bias of the moments.

    Source: Hinton, Neural networks for machine learning, lecture 6e (2012); centred: Graves,
    arXiv:1308.0850 (2013), equations 38 to 45.

    >>> import jax.numpy as jnp, l1jax, optax
    >>> tx = optax.rmsprop(0.1)
    >>> _, state = tx.update(jnp.full(1, 0.3), tx.init(jnp.zeros(1)))
    >>> round(float(l1jax.preconditioners.rmsprop()(state)[0]), 3)  # √(0.1·0.3²)
    0.095
    """
    kind = "ScaleByRms"
    fields = ["nu"]
    if centered:
        kind = "ScaleByRStdDev"
        fields.append("mu")
    if bias_correction:
        kind += "WithCount"
        fields.append("count")

    def root(nu: Array) -> Array:
        if eps_in_sqrt:
            return jnp.sqrt(nu + eps)
        return jnp.sqrt(nu) + eps

    def denominator(state: optax.OptState) -> PyTree:
        moments = find_state(state, f"{kind}State", *fields)

        def corrected(moment: PyTree) -> PyTree:
            if not bias_correction:
                return moment
            return correct_bias(moment, decay, moments.count)

        nu = corrected(moments.nu)
        if centered:
            mu = corrected(moments.mu)
            nu = jax.tree.map(lambda mu, nu: nu - jnp.square(mu), mu, nu)
        return jax.tree.map(root, nu)

    return denominator


def adagrad(eps: ArrayLike = 1e-7) -> Preconditioner:
    """Return √(s + eps), the denominator of `optax.adagrad`, with s the sum of squared gradients.

    Where s is still 0 (a start at 0 and no gradient yet) optax does not move, and the prox has the
    step learning_rate/√eps, so that an entry on which the loss does not depend goes to zero.

    Args:
        eps: the optimiser's `eps`, which is inside the root.

    Source: Duchi, Hazan, Singer, JMLR 12 (2011).

    >>> import jax.numpy as jnp, l1jax, optax
    >>> tx = optax.adagrad(0.1)
    >>> _, state = tx.update(jnp.full(1, 0.3), tx.init(jnp.zeros(1)))
    >>> round(float(l1jax.preconditioners.adagrad()(state)[0]), 3)  # √(0.1 + 0.3²)
    0.436
    """

    def denominator(state: optax.OptState) -> PyTree:
        sums = find_state(state, "ScaleByRssState", "sum_of_squares").sum_of_squares
        return jax.tree.map(lambda s: jnp.sqrt(s + eps), sums)

    return denominator

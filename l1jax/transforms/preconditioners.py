"""The diagonal metric of optax's optimisers, read from their state.

An optimiser that moves x by learning_rate·m/d has the metric d/learning_rate; a preconditioner is
a function state → d, a tree like the parameters. The hyperparameters live in optax's closures, so
they must be given here once more; they are never guessed. Below, t is the number of updates so far,
and ν and μ are the state's `nu` and `mu`.

A state whose type belongs to another optimiser is an error, and so is one inside a wrapper that
changes the update or the parameters, such as `optax.contrib.schedule_free`. Chains,
`inject_hyperparams`, `masked`, `partition`, `MultiSteps` and `apply_if_finite` may be around it.

Some mistakes cannot be seen in a type, and are yours to avoid: other hyperparameters than those of
the optimiser; `optax.adamax`, `adamaxw`, `radam` and `optax.contrib.adopt`, whose states have
Adam's type; `optax.contrib.acprop`, whose state has AdaBelief's; and `optax.lamb`, whose further
scaling has no state. With the wrong metric the parameters converge to another point than the
minimum of loss + penalty.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from l1jax.annotations import Array, ArrayLike, PyTree

Preconditioner = Callable[[optax.OptState], PyTree]
"""From the state of an optimiser to its denominator d, a tree like the parameters."""

# Type of an optax state → the preconditioner that reads the metric from it.
_FOR_TYPE = {
    "ScaleByAdamState": "`preconditioners.adam()`, or `preconditioners.yogi()` after `optax.yogi`",
    "ScaleByAmsgradState": "`preconditioners.amsgrad()`",
    "ScaleByBeliefState": "`preconditioners.adabelief()`",
    "ScaleByRmsState": "`preconditioners.rmsprop()`",
    "ScaleByRmsWithCountState": "`preconditioners.rmsprop(bias_correction=True)`",
    "ScaleByRStdDevState": "`preconditioners.rmsprop(centered=True)`",
    "ScaleByRStdDevWithCountState": (
        "`preconditioners.rmsprop(centered=True, bias_correction=True)`"
    ),
    "ScaleByRssState": "`preconditioners.adagrad()`",
}
# optax's wrappers that pass on the update of the optimiser that they wrap, or make no update.
_TRANSPARENT = (
    "ApplyIfFiniteState",
    "ConditionallyMaskState",
    "ConditionallyTransformState",
    "InjectHyperparamsState",
    "InjectStatefulHyperparamsState",
    "MaskedState",
    "MultiStepsState",
    "MultiTransformState",
    "PartitionState",
)


def adam(b2: ArrayLike = 0.999, eps: ArrayLike = 1e-8, eps_root: ArrayLike = 0.0) -> Preconditioner:
    """Return √(ν/(1 − b2ᵗ) + eps_root) + eps, the denominator of `optax.adam`, `adamw` and `nadam`.

    It is not for `adamax` and `radam`, whose state has the same type but which divide by something
    else, and not for another `b2` than the optimiser's: the state does not show it, and the metric
    would be wrong.

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
        moments = _find_state(state, "ScaleByAdamState", "nu", "count")
        return _adam_denominator(moments, b2, eps, eps_root)

    return denominator


adamw = adam
nadam = adam


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
        largest = _find_state(state, "ScaleByAmsgradState", "nu_max").nu_max
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
        moments = _find_state(state, "ScaleByBeliefState", "nu", "count")
        return _adam_denominator(moments, b2, eps, 0.0)

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
        moments = _find_state(state, f"{kind}State", *fields)

        def corrected(moment: PyTree) -> PyTree:
            if not bias_correction:
                return moment
            return _correct_bias(moment, decay, moments.count)

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
        sums = _find_state(state, "ScaleByRssState", "sum_of_squares").sum_of_squares
        return jax.tree.map(lambda s: jnp.sqrt(s + eps), sums)

    return denominator


def _adam_denominator(
    moments: PyTree, b2: ArrayLike, eps: ArrayLike, eps_root: ArrayLike
) -> PyTree:
    nu = _correct_bias(moments.nu, b2, moments.count)
    return jax.tree.map(lambda nu: jnp.sqrt(nu + eps_root) + eps, nu)


def _correct_bias(moment: PyTree, decay: ArrayLike, count: Array) -> PyTree:
    correction = 1 - jnp.asarray(decay, float) ** count
    return jax.tree.map(lambda m: m / correction.astype(m.dtype), moment)


class _FoundState(NamedTuple):
    """A part of a state, and the types around it through which its update is not visible."""

    state: PyTree
    wrappers: list[str]


def _find_state(state: optax.OptState, kind: str, *fields: str) -> PyTree:
    """Return the one part of a state that has all these fields.

    Raises:
        ValueError: if there is not exactly one, or it is a state of optax's of another type.
    """
    found = _find_states(state, fields, [])
    for part, wrappers in found:
        name = type(part).__name__
        if wrappers:
            raise ValueError(
                f"`state` holds {name} inside {wrappers[0]}, which makes another update of it than "
                "its optimiser; there is no preconditioner for it: use the optimiser that it wraps."
            )
        if _is_optax(part) and name != kind:
            remedy = "there is none for it"
            if name in _FOR_TYPE:
                remedy = f"give {_FOR_TYPE[name]}"
            raise ValueError(
                f"`state` holds {name}, but this preconditioner is for {kind}; {remedy}."
            )
    if len(found) != 1:
        hint = "" if found else _suggest_preconditioners(state)
        raise ValueError(
            f"`state` (={type(state).__name__}) must hold exactly one part with the fields "
            f"{list(fields)}, not {len(found)}: give `inner` and `preconditioner` of the same "
            f"optimiser{hint}."
        )
    return found[0].state


def _find_states(node: PyTree, fields: tuple[str, ...], wrappers: list[str]) -> list[_FoundState]:
    if set(fields) <= set(getattr(node, "_fields", ())):  # a tuple has a method `count`
        return [_FoundState(node, wrappers)]
    if _is_optax(node) and type(node).__name__ not in _TRANSPARENT:
        wrappers = [*wrappers, type(node).__name__]
    found = []
    for child in jax.tree.leaves(node, is_leaf=lambda child: child is not node):
        if child is not node:
            found += _find_states(child, fields, wrappers)
    return found


def _suggest_preconditioners(state: optax.OptState) -> str:
    """List the preconditioners for the parts of a state, as the end of an error's sentence."""

    def is_known(node: PyTree) -> bool:
        return type(node).__name__ in _FOR_TYPE

    parts = jax.tree.leaves(state, is_leaf=is_known)
    names = sorted({type(part).__name__ for part in parts if is_known(part)})
    return "".join(f", such as {_FOR_TYPE[name]} for {name}" for name in names)


def _is_optax(node: PyTree) -> bool:
    return type(node).__module__.partition(".")[0] == "optax"

"""The diagonal metric of optax's optimisers, read from their state.

An optimiser that moves x by learning_rate·m/d has the metric d/learning_rate; a preconditioner is
a function state → d, a tree like the parameters. The hyperparameters live in optax's closures, so
they are told here once more, never guessed. Below, t is the number of updates so far and ν, μ are the
state's `nu` and `mu`.

A state of a type that belongs to another optimiser is refused, and so is one inside a wrapper that
changes the update or the parameters, such as `optax.contrib.schedule_free`; chains, `inject_hyperparams`,
`masked`, `partition`, `MultiSteps` and `apply_if_finite` are seen through. What a type cannot show is
yours to get right: other hyperparameters than the optimiser's own, and `optax.adamax`, `adamaxw`, `radam`
and `optax.contrib.adopt`, whose states have Adam's type, `optax.contrib.acprop`, whose state has
AdaBelief's, and `optax.lamb`, whose further scaling has no state. The wrong metric converges to another
point than the minimum of loss + penalty.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, PyTree

Preconditioner = Callable[[optax.OptState], PyTree]

_FOR_TYPE = {  # of optax's states: what reads the metric from them
    "ScaleByAdamState": "`preconditioners.adam()`, or `preconditioners.yogi()` after `optax.yogi`",
    "ScaleByAmsgradState": "`preconditioners.amsgrad()`",
    "ScaleByBeliefState": "`preconditioners.adabelief()`",
    "ScaleByRmsState": "`preconditioners.rmsprop()`",
    "ScaleByRmsWithCountState": "`preconditioners.rmsprop(bias_correction=True)`",
    "ScaleByRStdDevState": "`preconditioners.rmsprop(centered=True)`",
    "ScaleByRStdDevWithCountState": "`preconditioners.rmsprop(centered=True, bias_correction=True)`",
    "ScaleByRssState": "`preconditioners.adagrad()`",
}
_TRANSPARENT = (  # optax's wrappers that hand on the update of what they wrap, or none at all
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
    """√(ν/(1 − b2ᵗ) + eps_root) + eps: `optax.adam`, `adamw` and `nadam`.

    Not `adamax` and `radam`, whose state has the same type but which divide by something else, and not for
    another `b2` than the optimiser's: the state does not show it, and the metric would be wrong.

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
        return _adam_denominator(_part(state, "ScaleByAdamState", "nu", "count"), b2, eps, eps_root)

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

    def denominator(state: optax.OptState) -> PyTree:
        largest = _part(state, "ScaleByAmsgradState", "nu_max").nu_max
        return jax.tree.map(lambda nu: jnp.sqrt(nu + eps_root) + eps, largest)

    return denominator


def adabelief(b2: ArrayLike = 0.999, eps: ArrayLike = 1e-16) -> Preconditioner:
    """√(ν/(1 − b2ᵗ)) + eps: `optax.adabelief`, whose ν contains `eps_root` already.

    Source: Zhuang et al.: AdaBelief optimizer, NeurIPS 2020.

    >>> import jax.numpy as jnp, l1jax, optax
    >>> tx, params = optax.adabelief(0.1), jnp.zeros(1)
    >>> _, state = tx.update(jnp.full(1, 0.3), tx.init(params))
    >>> round(float(l1jax.preconditioners.adabelief()(state)[0]), 3)  # |g − m|, m = 0.1·0.3
    0.27
    """

    def denominator(state: optax.OptState) -> PyTree:
        return _adam_denominator(_part(state, "ScaleByBeliefState", "nu", "count"), b2, eps, 0.0)

    return denominator


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

    kind = f"ScaleBy{'RStdDev' if centered else 'Rms'}{'WithCount' if bias_correction else ''}State"

    def root(nu: Array) -> Array:
        return jnp.sqrt(nu + eps) if eps_in_sqrt else jnp.sqrt(nu) + eps

    def denominator(state: optax.OptState) -> PyTree:
        fields = ["nu"] + ["mu"] * centered + ["count"] * bias_correction
        moments = _part(state, kind, *fields)

        def hat(moment: PyTree) -> PyTree:
            return _corrected(moment, decay, moments.count) if bias_correction else moment

        if not centered:
            return jax.tree.map(root, hat(moments.nu))
        return jax.tree.map(
            lambda mu, nu: root(nu - jnp.square(mu)), hat(moments.mu), hat(moments.nu)
        )

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

    def denominator(state: optax.OptState) -> PyTree:
        sums = _part(state, "ScaleByRssState", "sum_of_squares").sum_of_squares
        return jax.tree.map(lambda s: jnp.sqrt(s + eps), sums)

    return denominator


def _adam_denominator(moments: Any, b2: ArrayLike, eps: ArrayLike, eps_root: ArrayLike) -> PyTree:
    return jax.tree.map(
        lambda nu: jnp.sqrt(nu + eps_root) + eps, _corrected(moments.nu, b2, moments.count)
    )


def _corrected(moment: PyTree, decay: ArrayLike, count: Array) -> PyTree:
    correction = 1 - jnp.asarray(decay, float) ** count
    return jax.tree.map(lambda m: m / correction.astype(m.dtype), moment)


def _part(state: optax.OptState, kind: str, *fields: str) -> Any:
    """The one part of a state that has all these fields; refuse optax's types but `kind`, which is for them."""
    found = _parts(state, fields, [])
    for part, wrappers in found:
        name = type(part).__name__
        if wrappers:
            raise ValueError(
                f"`state` holds {name} inside {wrappers[0]}, which makes another update of it than its optimiser; "
                "there is no preconditioner for it: use the optimiser that it wraps."
            )
        if _is_optax(part) and name != kind:
            remedy = f"give {_FOR_TYPE[name]}" if name in _FOR_TYPE else "there is none for it"
            raise ValueError(
                f"`state` holds {name}, but this preconditioner is for {kind}; {remedy}."
            )
    if len(found) != 1:
        raise ValueError(
            f"`state` (={type(state).__name__}) must hold exactly one part with the fields {list(fields)}, not "
            f"{len(found)}: give `inner` and `preconditioner` of the same optimiser{'' if found else _hint(state)}."
        )
    return found[0][0]


def _parts(node: Any, fields: tuple[str, ...], wrappers: list[str]) -> list[tuple[Any, list[str]]]:
    """The parts of a state with these fields, each with the types around it that are not seen through."""
    if set(fields) <= set(getattr(node, "_fields", ())):  # a tuple has a method `count`
        return [(node, wrappers)]
    if _is_optax(node) and type(node).__name__ not in _TRANSPARENT:
        wrappers = [*wrappers, type(node).__name__]
    children = jax.tree.leaves(node, is_leaf=lambda child: child is not node)
    return [
        part for child in children if child is not node for part in _parts(child, fields, wrappers)
    ]


def _hint(state: optax.OptState) -> str:
    """Which preconditioners the parts of a state have, if any."""

    def is_known(node: Any) -> bool:
        return type(node).__name__ in _FOR_TYPE

    names = {
        type(node).__name__ for node in jax.tree.leaves(state, is_leaf=is_known) if is_known(node)
    }
    return "".join(f", such as {_FOR_TYPE[name]} for {name}" for name in sorted(names))


def _is_optax(node: Any) -> bool:
    return type(node).__module__.partition(".")[0] == "optax"

"""The part of an optax state that holds the moments of an adaptive optimiser."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from l1jax.annotations import Array, ArrayLike, PyTree

# Type of an optax state → the preconditioner that reads the metric from it.
_FOR_TYPE = {
    "ScaleByAdamState": (
        "`preconditioners.adam()`, or `yogi`, `adamax`, `radam` or `adopt`, whichever it is"
    ),
    "ScaleByAmsgradState": "`preconditioners.amsgrad()`",
    "ScaleByBeliefState": "`preconditioners.adabelief()`",
    "ScaleByRmsState": "`preconditioners.rmsprop()`",
    "ScaleByRmsWithCountState": "`preconditioners.rmsprop(bias_correction=True)`",
    "ScaleByRStdDevState": "`preconditioners.rmsprop(centered=True)`",
    "ScaleByRStdDevWithCountState": (
        "`preconditioners.rmsprop(centered=True, bias_correction=True)`"
    ),
    "ScaleByRssState": "`preconditioners.adagrad()`",
    "ScaleByAdanState": "`preconditioners.adan()`",
    "ScaleByAdemamixState": "`preconditioners.ademamix()`",
    "ScaleByNovogradState": "`preconditioners.novograd()`",
    "ProdigyState": "`preconditioners.prodigy()`",
}
# Type of an optax state → why it has no diagonal metric that its state shows, and what to take.
_WITHOUT_METRIC = {
    "ScaleByLionState": (
        "a step by signs has no metric; follow it by the plain `l1jax.proximal`, or take "
        "`l1jax.proximal_adam`"
    ),
    "MuonState": (
        "an orthogonalised step has no diagonal metric; give the matrices to "
        "`optax.chain(muon, l1jax.proximal(…))` and the rest to `l1jax.proximal_adam`, by "
        "`optax.partition`"
    ),
    "FactoredState": (
        "Adafactor's state does not show which axes it factors, nor its scaling by the parameters; "
        "take `l1jax.proximal_adam` or `proximal_rmsprop`"
    ),
    "SophiaState": (
        "Sophia needs the loss itself in each update, which `preconditioned_proximal` does not "
        "pass on; take `l1jax.proximal_adam`"
    ),
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


def adam_denominator(moments: PyTree, b2: ArrayLike, eps: ArrayLike, eps_root: ArrayLike) -> PyTree:
    """Return √(ν/(1 − b2ᵗ) + eps_root) + eps.

    Args:
        moments: a state with `nu` and `count`.
        b2: the decay of ν.
        eps: outside the root.
        eps_root: inside the root.
    """
    nu = correct_bias(moments.nu, b2, moments.count)
    return jax.tree.map(lambda nu: jnp.sqrt(nu + eps_root) + eps, nu)


def correct_bias(moment: PyTree, decay: ArrayLike, count: Array) -> PyTree:
    """Return a moment divided by 1 − decayᵗ.

    Args:
        moment: a tree of averages that started at zero.
        decay: of the average.
        count: t.
    """
    correction = 1 - jnp.asarray(decay, float) ** count
    return jax.tree.map(lambda m: m / correction.astype(m.dtype), moment)


class OtherStateError(ValueError):
    """A state that belongs to another optimiser than the preconditioner, whatever is in it."""


class _FoundState(NamedTuple):
    """A part of a state, and the types around it through which its update is not visible."""

    state: PyTree
    wrappers: list[str]


def find_state(state: optax.OptState, kind: str, *fields: str) -> PyTree:
    """Return the one part of a state that has all these fields.

    Args:
        state: of an optimiser.
        kind: the name of its class, if it is one of optax's.
        *fields: the names of its fields.

    Raises:
        ValueError: if there is not exactly one, or it is a state of optax's of another type.
    """
    for name, reason in _WITHOUT_METRIC.items():
        if _holds(state, name):
            raise OtherStateError(f"`state` holds {name}, which has no preconditioner: {reason}.")
    found = _find_states(state, fields, [])
    for part, wrappers in found:
        name = type(part).__name__
        if wrappers:
            raise OtherStateError(
                f"`state` holds {name} inside {wrappers[0]}, which makes another update of it than "
                "its optimiser; there is no preconditioner for it: use the optimiser that it wraps."
            )
        if _is_optax(part) and name != kind:
            remedy = "there is none for it"
            if name in _FOR_TYPE:
                remedy = f"give {_FOR_TYPE[name]}"
            raise OtherStateError(
                f"`state` holds {name}, but this preconditioner is for {kind}; {remedy}."
            )
    if len(found) != 1:
        hint = "" if found else _suggest_preconditioners(state)
        raise OtherStateError(
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


def _holds(node: PyTree, name: str) -> bool:
    if type(node).__name__ == name:
        return True
    children = jax.tree.leaves(node, is_leaf=lambda child: child is not node)
    return any(_holds(child, name) for child in children if child is not node)

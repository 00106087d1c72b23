"""What an optimiser and a penalty do together, found out on a tiny problem with a known optimum."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from l1jax.annotations import Array, PyTree
from l1jax.penalties import Penalty, check_penalty, first_strength, is_convex
from l1jax.penalties.numerics import is_inexact, tree_norm
from l1jax.transforms.tiny_problem import TinyProblem, pace_of, run_steps, state_types, tiny_problem

STEPS = 3000
WATCHED = 100  # of the last steps
CLOSE = 1e-3  # to zero, as a share of the optimum's largest entry
CREEPING = 50  # steps that close to zero
STRENGTH_TOLERANCE = 0.03
DISTANCE_TOLERANCE = 0.02

# State type → what to write instead, where it wraps a proximal optimiser or stands behind it.
REMEDIES = {
    "EmaState": "`optax.ema` averages updates behind the prox: put it in front, or use `b1`",
    "LookaheadState": (
        "`optax.lookahead` averages fast and slow parameters: use "
        "`l1jax.sparse_lookahead`, which keeps the zeros of the fast ones"
    ),
    "ScheduleFreeState": (
        "`schedule_free` evaluates an average, which keeps no zeros: use "
        "`l1jax.sparse_schedule_free`, whose average does"
    ),
    "MechanicState": (
        "`mechanize` scales the sum of all updates behind the prox: tune the learning rate and "
        "give it to the optimiser and its prox alike"
    ),
    "ReduceLROnPlateauState": (
        "`reduce_on_plateau` scales the update behind the prox: give the optimiser and its prox "
        "the smaller learning rate, by `optax.inject_hyperparams`"
    ),
    "ScaleByBacktrackingLinesearchState": (
        "a line search scales the update behind the prox: use `l1jax.minimize`, which backtracks "
        "with the prox inside"
    ),
    "ScaleByZoomLinesearchState": (
        "a line search scales the update behind the prox: use `l1jax.minimize`"
    ),
}


class Diagnosis(NamedTuple):
    """What `diagnose` found."""

    zeros: int
    """Exact zeros in the end."""
    expected_zeros: int
    """Those of the optimum."""
    strength: float
    """The strength in force, as a multiple of the penalty's; NaN if all is zero."""
    distance: float
    """How far the end is from optimality, as a share of the gradient's norm at zero."""
    moving: int
    """Entries that left zero again during the last steps."""
    creeping: int
    """Entries that were close to zero, and not zero, for many steps."""
    findings: tuple[str, ...]
    """What is wrong, and what to write instead; empty if nothing is."""


def diagnose(
    tx: optax.GradientTransformation, penalty: Penalty, params: PyTree | None = None
) -> Diagnosis:
    """Solve a tiny problem with the whole optimiser, and say what keeps it from exact zeros.

    The loss is a quadratic whose minimum together with the penalty is known. Its size follows from
    the strength and from the optimiser's first steps, so that 3,000 steps suffice. At rest, a
    proximal optimiser has the zeros of the optimum, −g ∈ ∂penalty holds with the stated strength,
    and no entry leaves zero any more. A composition that breaks one of these is silently wrong in
    training, too; the findings say what to write instead. Of methods that keep a sparse iterate
    apart, `l1jax.solution` is judged.

    It takes some seconds, mostly to compile. Schedules run from their beginning. Optimisers that
    add noise, need other arguments than value, grad and value_fn, or change shapes are not covered.

    Args:
        tx: the whole optimiser, with everything that wraps it, its prox included.
        penalty: the penalty that is in it; it needs a strength.
        params: parameters whose paths and shapes fit the penalty, as small as you like; None stands
            for one vector of 30 entries.

    Raises:
        ValueError: if `penalty` is not convex, has no strength greater than 0, or does not fit
            `params`, or if `tx` does not move the parameters.

    Source: Parikh and Boyd, Proximal Algorithms (2014), section 4.2.1, for the fixed points.

    >>> import l1jax, optax
    >>> penalty = l1jax.l1(0.1)
    >>> l1jax.diagnose(l1jax.proximal_sgd(0.1, penalty), penalty).findings
    ()
    >>> wrong = optax.chain(l1jax.proximal(penalty, 0.1), optax.sgd(0.1))
    >>> print(l1jax.diagnose(wrong, penalty).findings[0][:31])
    No entry is exactly zero in the
    """
    check_penalty("penalty", penalty)
    if not is_convex(penalty):
        raise ValueError(
            f"`penalty` (={type(penalty).__name__}) must be convex, so that the optimum is known; "
            "diagnose the same optimiser with `l1jax.l1` or `l1jax.group_l1` in its place."
        )
    strength = first_strength(penalty)
    if params is None:
        params = jnp.zeros(30)
    params = jax.tree.map(_zeros, params)
    if not jax.tree.leaves(params):
        raise ValueError("`params` must have a leaf of floating point.")
    tx = optax.with_extra_args_support(tx)
    pace = pace_of(tx, params, 10 * strength)
    tiny, optimum = tiny_problem(penalty, params, strength, 20 * pace)
    start = jax.tree.map(lambda c: c + 0.5 * jnp.sign(c) * jnp.abs(c).max(), tiny.center)
    ends, state = run_steps(tx, tiny.loss, start, STEPS)
    end = jax.tree.map(lambda leaf: leaf[-1], ends)
    return _judge(tiny, penalty, optimum, ends, end, state)


def _zeros(leaf: Any) -> Array | None:
    if not is_inexact(leaf):
        return None
    return jnp.zeros(jnp.shape(leaf))


def _judge(
    tiny: TinyProblem,
    penalty: Penalty,
    optimum: PyTree,
    ends: PyTree,
    end: PyTree,
    state: optax.OptState,
) -> Diagnosis:
    """Compare the end of a run with the optimum.

    Args:
        tiny: the problem.
        penalty: the penalty.
        optimum: of the problem.
        ends: the parameters after each step.
        end: after the last.
        state: of the optimiser then.
    """
    flat = np.concatenate(
        [np.asarray(leaf).reshape(STEPS, -1) for leaf in jax.tree.leaves(ends)], axis=1
    )
    expected = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(optimum)])
    close = CLOSE * np.abs(expected).max()
    creeping = ((flat != 0) & (np.abs(flat) < close)).sum(axis=0) > CREEPING
    zero = flat[-WATCHED:] == 0
    gradient = jax.grad(tiny.loss)(end)
    at_zero = jax.grad(tiny.loss)(jax.tree.map(jnp.zeros_like, end))
    distance = float(penalty.distance(end, gradient) / tree_norm(at_zero))
    found = Diagnosis(
        zeros=int(zero[-1].sum()),
        expected_zeros=int((expected == 0).sum()),
        strength=_strength_in_force(penalty, end, gradient),
        distance=distance,
        moving=int((zero[:-1] & ~zero[1:]).any(axis=0).sum()),
        creeping=int(creeping.sum()),
        findings=(),
    )
    return found._replace(findings=_findings(found, expected.size, state))


def _strength_in_force(penalty: Penalty, end: PyTree, gradient: PyTree) -> float:
    """Return the factor s with which −g is nearest to s·∂penalty where the parameters are not 0."""
    pull = jax.tree.map(jnp.ravel, penalty.subgradient(end))
    force = jax.tree.map(lambda g: -jnp.ravel(g), gradient)
    live = jax.tree.map(lambda x: (jnp.ravel(x) != 0).astype(x.dtype), end)
    products = jax.tree.map(lambda p, f, m: jnp.sum(p * f * m), pull, force, live)
    squares = jax.tree.map(lambda p, m: jnp.sum(p * p * m), pull, live)
    square = float(sum(jax.tree.leaves(squares)))
    if square == 0:
        return float("nan")
    return float(sum(jax.tree.leaves(products))) / square


def _findings(found: Diagnosis, entries: int, state: optax.OptState) -> tuple[str, ...]:
    """Say in sentences what is wrong.

    Args:
        found: the numbers.
        entries: how many parameters there are.
        state: the optimiser's, whose types name what wraps it.
    """
    findings = []
    if found.zeros == 0:
        findings.append(
            "No entry is exactly zero in the end: the prox must be the last link of the chain, as "
            "in `optax.chain(inner, l1jax.proximal(penalty, learning_rate))` or "
            "`l1jax.proximal_adam`; whatever comes behind it moves entries off zero."
        )
    elif found.zeros == entries:
        findings.append(
            f"All {entries} entries are zero in the end, where the optimum has "
            f"{found.expected_zeros} zeros: the gradient that reaches the prox is too small; clip "
            "by a fixed norm (`optax.clip_by_global_norm`) rather than relative to the parameters."
        )
    elif found.zeros != found.expected_zeros:
        findings.append(
            f"{found.zeros} entries are zero in the end, where the optimum has "
            f"{found.expected_zeros}."
        )
    elif found.creeping:
        findings.append(
            f"{found.creeping} entries come close to zero long before they reach it, and reach it "
            "only by underflow, which noisy gradients prevent: something averages or scales what "
            "the prox returns."
        )
    if found.moving:
        findings.append(
            f"{found.moving} entries leave zero again during the last {WATCHED} steps: something "
            "behind the prox moves them, or the steps do not settle."
        )
    if abs(found.strength - 1) > STRENGTH_TOLERANCE:
        findings.append(
            f"The strength in force is {found.strength:.2f} times the penalty's: the prox must "
            "have the optimiser's step, learning_rate/(1 − momentum) behind optax's momentum, and "
            "its metric behind an adaptive optimiser (`l1jax.preconditioned_proximal`)."
        )
    if not found.distance <= DISTANCE_TOLERANCE:
        findings.append(
            f"The end is {found.distance:.2g} from optimality, as a share of the gradient at zero: "
            "it does not minimise loss + penalty."
        )
    if findings:
        names = state_types(state)
        findings += [f"{remedy[0].upper()}{remedy[1:]}." for remedy in _remedies(names)]
    return tuple(findings)


def _remedies(names: set[str]) -> list[str]:
    return [remedy for name, remedy in REMEDIES.items() if name in names]

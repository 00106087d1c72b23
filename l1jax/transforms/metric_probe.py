"""A check that a preconditioner is the denominator of an optimiser, by a few tiny steps.

An optimiser with the denominator d moves parameters by u = −learning_rate·g/d under a steady
gradient g. So −u·d/learning_rate is g itself: linear in the gradient, with the constant 1 in every
entry of every leaf. Gradients from 1e-3 down to 1e-10 make a wrong power or `eps` visible, the
first steps a wrong decay, and leaves of different size a trust ratio. Weight decay is allowed: it
adds a multiple of the parameters, in front of the division or behind it. So is a number that is
added to all entries of −u·d: Yogi's first moment starts from 1e-6.
"""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax._src.xla_bridge import backends_are_initialized  # there is no public name for it
from jax.core import Tracer

from l1jax.annotations import Array, ArrayLike, PyTree
from l1jax.transforms.inner_state import OtherStateError
from l1jax.transforms.leaves import schedule_value
from l1jax.transforms.momentum_preconditioners import Preconditioner

STEPS = 10  # RAdam adapts from the sixth on
TOLERANCE = 0.02  # moments in bfloat16 round by 0.4 % a step
MOST_KEPT = 64

_records: dict[tuple[object, ...], "_Record"] = {}
"""From programs to what they returned: the same optimiser may be built anew at each update."""


class _Record(NamedTuple):
    """What an optimiser did; the first axis counts the steps, the second the entries."""

    rates: np.ndarray
    updates: np.ndarray
    denominators: np.ndarray
    gradients: np.ndarray  # of the entries that have a denominator
    params: np.ndarray


class _Fit(NamedTuple):
    """−u·d/learning_rate as a multiple of the gradient, after one step."""

    step: int  # counted from 1
    constant: float  # without weight decay, and without what moments do not start from zero
    error: float  # the largest relative error of this multiple
    least: float  # of the quotients, entry by entry
    greatest: float

    def is_one(self) -> bool:
        """Tell whether it is the gradient itself."""
        return bool(max(self.error, abs(self.constant - 1)) <= TOLERANCE)


def can_probe() -> bool:
    """Tell whether JAX has started its devices already.

    The first computation starts them, and then it is too late for `jax.distributed.initialize`.
    """
    return backends_are_initialized()


def check_metric(
    inner: optax.GradientTransformation,
    preconditioner: Preconditioner,
    learning_rate: optax.ScalarOrSchedule,
) -> None:
    """Raise unless −u·d/learning_rate is the gradient, where this can be found out.

    It cannot where the optimiser does not run on two tiny leaves (a mask or labels that are a tree,
    or that belong to paths), where a number is traced, and where nothing moves in the first steps.

    Args:
        inner: the optimiser.
        preconditioner: from its state to its denominator.
        learning_rate: that of the optimiser.

    Raises:
        ValueError: if it is another multiple of it, or no multiple; with the mismatch.
    """
    with jax.ensure_compile_time_eval():
        record = _record(inner, preconditioner, learning_rate)
    if record is None:
        return
    wrong = [fit for fit in _fits(record, record.updates) if not fit.is_one()]
    if not wrong:
        return
    for updates in _without_momentum(record):
        fits = _fits(record, updates)
        if fits and all(fit.is_one() for fit in fits):
            return
    raise ValueError(_describe(wrong[0]))


def _record(
    inner: optax.GradientTransformation,
    preconditioner: Preconditioner,
    learning_rate: optax.ScalarOrSchedule,
) -> _Record | None:
    """Run the optimiser, or return None where it does not run."""
    gradients, params = _tiny_trees()

    def step(state: PyTree, count: Array) -> tuple[PyTree, PyTree]:
        updates, state = inner.update(gradients, state, params)
        rate = schedule_value(learning_rate, count)
        return state, (rate, updates, preconditioner(state))

    def run() -> PyTree:
        return jax.lax.scan(step, inner.init(params), jnp.arange(STEPS))[1]

    try:
        program = jax.make_jaxpr(run)()
        if any(isinstance(const, Tracer) for const in program.consts):
            return None
        key = str(program), *(np.asarray(const).tobytes() for const in program.consts)
        if key in _records:
            return _records[key]
        rates, updates, denominators = jax.device_get(jax.jit(run)())
    except OtherStateError:
        raise
    except Exception:  # what needs the real parameters may raise anything; `init` raises it again
        return None
    if not isinstance(denominators, dict):
        return None
    names = [
        name
        for name, leaf in updates.items()
        if name in denominators and np.shape(denominators[name]) == leaf.shape
    ]
    if not names:
        return None

    def entries(tree: dict[str, np.ndarray], *shape: int) -> np.ndarray:
        return np.concatenate([np.reshape(tree[name], shape) for name in names], axis=-1)

    record = _Record(
        np.asarray(rates, float),
        entries(updates, STEPS, -1).astype(float),
        entries(denominators, STEPS, -1).astype(float),
        entries(gradients, -1).astype(float),
        entries(params, -1).astype(float),
    )
    moves = record.updates.any(axis=1)  # before the first update a denominator may be 0/0
    columns = record.rates, record.updates, record.denominators
    if not all(np.isfinite(column[moves]).all() for column in columns):
        return None
    if len(_records) == MOST_KEPT:
        _records.clear()
    _records[key] = record
    return record


def _tiny_trees() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return gradients and parameters.

    They are a matrix and a vector, because masks often tell leaves apart by their number of axes.
    """
    signs = np.array([1, -1, -1, 1, -1, 1, 1, -1], np.float32)
    gradients = {
        "matrix": (signs * np.logspace(-3, -7, 8, dtype=np.float32)).reshape(2, 4),
        "vector": signs[::-1] * np.logspace(-6, -10, 8, dtype=np.float32),
    }
    entries = np.array([0.8, 1.3, -0.6, -1.1, 0.7, -1.4, 0.9, 1.2], np.float32)
    return gradients, {"matrix": entries.reshape(2, 4), "vector": 0.1 * entries[::-1]}


def _fits(record: _Record, updates: np.ndarray) -> list[_Fit]:
    """Compare updates with the gradient, after each step in which something moves."""
    fits = []
    for step, (rate, u, d) in enumerate(
        zip(record.rates, updates, record.denominators, strict=True), start=1
    ):
        if rate == 0 or not u.any():
            continue
        found = -u * d / rate
        decays = record.params, record.params * d
        columns = np.stack([record.gradients, *decays, np.ones_like(d)], axis=1)
        # What is small beside the decay's part cannot be told from it: errors are relative to both.
        scale = 1 / np.maximum(np.abs(found), np.abs(record.gradients))
        rows = columns * scale[:, None]
        sizes = np.maximum(np.linalg.norm(rows, axis=0), np.finfo(float).tiny)
        coefficients = np.linalg.lstsq(rows / sizes, found * scale)[0] / sizes
        errors = np.abs(found - columns @ coefficients) * scale
        ratios = found / record.gradients
        fits.append(_Fit(step, coefficients[0], errors.max(), ratios.min(), ratios.max()))
    return fits


def _without_momentum(record: _Record) -> Iterator[np.ndarray]:
    """Yield the updates as they would be without each of optax's momenta.

    `optax.trace` of μ behind the division multiplies steady updates by 1 − μᵗ in the end, for a
    `learning_rate` that is divided by 1 − μ, and by 1 − μᵗ⁺¹ with Nesterov. The first step in which
    something moves tells μ; the further steps must then be right. The learning rate may act before
    the momentum or behind it, and an optimiser may not move in its first step. Nesterov's momentum
    inside Adam begins with more than 1, which a formula of b1 and t describes.
    """
    fits = _fits(record, record.updates)
    moves = np.any(record.updates != 0, axis=1)
    for delay in (0, 1):  # a schedule that starts at 0 hides the first step
        decays = np.linspace(0, 0.9999, 5000)
        decay = np.interp(fits[0].constant, _nesterov_in_adam(decays, 1 + delay), decays)
        weights = np.ones(STEPS)
        weights[moves] = _nesterov_in_adam(decay, 1 + delay + np.arange(moves.sum()))
        yield record.updates / weights[:, None]
    if not 0 < fits[0].constant < 1:
        return
    for rates in (np.ones(STEPS), np.where(record.rates == 0, 1, record.rates)):
        u = record.updates / rates[:, None]
        for num_steps in (1, 2, 3):
            decay = (1 - fits[0].constant) ** (1 / num_steps)
            for nesterov in (False, True):
                weight = -(1 - decay) * record.rates / rates
                first = weight[:, None] * record.gradients / record.denominators
                yield rates[:, None] * _before_trace(u, first, decay, nesterov, np.asarray(moves))


def _nesterov_in_adam(decay: ArrayLike, count: ArrayLike) -> np.ndarray:
    """Return the sum of the weights that the corrected momentum of `optax.nadam` has.

    Args:
        decay: b1.
        count: the number of updates, from 1.
    """
    b1 = np.asarray(decay)
    t = np.asarray(count)
    return b1 * (1 - b1**t) / (1 - b1 ** (t + 1)) + (1 - b1) / (1 - b1**t)


def _before_trace(
    u: np.ndarray, first: np.ndarray, decay: float, nesterov: bool, moves: np.ndarray
) -> np.ndarray:
    """Return what `optax.trace` was given, divided by 1 − decay; zeros up to the first step.

    Args:
        u: what it returned, in each step.
        first: what it was given, if that was the gradient over the denominator.
        decay: its decay.
        nesterov: whether it is Nesterov's.
        moves: the steps that count.
    """
    given = np.zeros_like(u)
    (steps,) = np.nonzero(moves)
    before = first[steps[0]]
    for last, step in itertools.pairwise(steps):
        change = u[step] - decay * u[last]
        if nesterov:
            change = (change + decay * before) / (1 + decay)
        before = change
        given[step] = change / (1 - decay)
    return given


def _describe(fit: _Fit) -> str:
    multiple = f"{fit.least:.3g} to {fit.greatest:.3g} times the gradient"
    if fit.error <= TOLERANCE:
        multiple = f"{fit.constant:.3g} times the gradient"
    return (
        "`preconditioner` must be the denominator of `inner`: −u·d/learning_rate must be the "
        f"gradient, but on a tiny problem it is {multiple} after step {fit.step}; give the "
        "preconditioner of this optimiser with its `b2` and `eps`, and as `learning_rate` the "
        "optimiser's own, divided by 1 − μ if optax's momentum μ follows. (`probe=False` leaves "
        "this check out, for instance where `inner` adds noise.)"
    )

"""Proximal forms of common optimisers, optimiser and prox built from one set of hyperparameters."""

import jax
import jax.numpy as jnp
import optax

from l1jax.annotations import Array, ArrayLike
from l1jax.penalties import Penalty, check_number, leaf_penalties
from l1jax.penalties.numerics import upcast
from l1jax.transforms import preconditioners
from l1jax.transforms.floating_leaves import on_floating_leaves
from l1jax.transforms.leaves import check_rate, schedule_value
from l1jax.transforms.metric import (
    LeafGroups,
    MetricOptimizer,
    MetricStep,
    group_means,
    proximal_in_metric,
    root_mean_square,
)
from l1jax.transforms.proximal import preconditioned_proximal, proximal
from l1jax.transforms.strengths import Scale


def proximal_sgd(
    learning_rate: optax.ScalarOrSchedule,
    penalty: Penalty,
    momentum: ArrayLike | None = None,
    nesterov: bool = False,
    *,
    scale: Scale = None,
) -> optax.GradientTransformation:
    """Take a gradient step, with or without momentum, and then the prox: p ← prox(p − ηm, η·n).

    m = g + μm is optax's momentum (g + μ(g + μm) with Nesterov), which is not normalised. n is the
    sum of the weights that it has given to gradients so far: (1 − μᵗ)/(1 − μ) at the t-th update,
    (1 − μᵗ⁺¹)/(1 − μ) with Nesterov. So the fixed points are the minimisers of loss + penalty for
    any momentum; with a step of η they would be those of loss + (1 − μ)·penalty.

    Args:
        learning_rate: η, a scalar or a schedule of the number of updates so far.
        penalty: what to penalise, over the parameters that `update` gets.
        momentum: μ in [0, 1); 0 or None for plain gradient descent. It is optax's, where 0 is none;
            the c of `rmda` is none at 1.
        nesterov: whether the momentum is Nesterov's.
        scale: multiplies the strength: a schedule, or a transformation such as `track_sparsity`.

    Raises:
        ValueError: for the reasons of `proximal`, and for a momentum outside [0, 1).

    Source: Parikh and Boyd, Proximal Algorithms (2014), section 4.2; momentum: Yun, Lozano, Yang,
    NeurIPS 2021.

    >>> import jax, jax.numpy as jnp, l1jax, optax
    >>> tx, params = l1jax.proximal_sgd(0.25, l1jax.l1(1.0), momentum=0.5), jnp.array([3.0, 0.2])
    >>> state, update = tx.init(params), jax.jit(tx.update)
    >>> for _ in range(40):  # ½‖p − (3, 0.2)‖² + ‖p‖₁ has its minimum at (2, 0)
    ...     updates, state = update(params - jnp.array([3.0, 0.2]), state, params)
    ...     params = optax.apply_updates(params, updates)
    >>> [round(x, 3) for x in params.tolist()]
    [2.0, 0.0]
    """
    check_rate(learning_rate)
    inner = optax.sgd(learning_rate, momentum, nesterov)
    step = _prox_step_with_momentum(learning_rate, momentum, nesterov)
    prox = proximal(penalty, step, scale=scale)
    return on_floating_leaves(
        optax.chain(inner, prox), lambda params: leaf_penalties(penalty, params)
    )


def proximal_rmsprop(
    learning_rate: optax.ScalarOrSchedule,
    penalty: Penalty,
    decay: ArrayLike = 0.9,
    eps: ArrayLike = 1e-8,
    momentum: ArrayLike | None = None,
    nesterov: bool = False,
    *,
    eps_in_sqrt: bool = True,
    centered: bool = False,
    bias_correction: bool = False,
    scale: Scale = None,
    per_group: bool = False,
) -> optax.GradientTransformation:
    """Step with RMSProp, then take the prox in its metric, with the step learning_rate/√(ν + ε).

    With a decaying learning rate it converges to a stationary point of loss + penalty, the optimum
    if the loss is convex, with exact zeros.
    Momentum is accounted for as in `proximal_sgd`; the learning rate acts after it, as in PyTorch.
    (In `optax.rmsprop` it acts before, which is the same as long as it is constant.)

    Args:
        learning_rate: a scalar or a schedule of the number of updates so far.
        penalty: what to penalise, over the parameters that `update` gets.
        decay: decay of the second moment, in [0, 1).
        eps: added inside its root.
        momentum: μ in [0, 1), or None for none.
        nesterov: whether the momentum is Nesterov's.
        eps_in_sqrt: whether `eps` is inside the root; outside as in PyTorch.
        centered: whether to divide by the deviation instead of the second moment's root.
        bias_correction: whether to divide the moments by 1 − decayᵗ.
        scale: multiplies the strength: a schedule, or a transformation such as `track_sparsity`.
        per_group: take one step size per group; see `preconditioned_proximal`.

    Raises:
        ValueError: for the reasons of `preconditioned_proximal`, and for a decay or a momentum
            outside [0, 1).

    Source: Hinton, Neural networks for machine learning, lecture 6e (2012); Yun, Lozano, Yang,
    NeurIPS 2021.

    >>> import jax.numpy as jnp, l1jax, optax
    >>> tx, params = l1jax.proximal_rmsprop(0.1, l1jax.l1(1.0), decay=0.75), jnp.array([2.0])
    >>> updates, _ = tx.update(jnp.array([1.0]), tx.init(params), params)
    >>> new = optax.apply_updates(params, updates)  # √ν = ½: 2 − 0.1·1/½ − 0.1·1/½
    >>> [round(x, 3) for x in new.tolist()]
    [1.6]
    """
    check_rate(learning_rate)
    check_number("decay", decay, below=1)
    check_number("eps", eps)
    scale_by = optax.scale_by_stddev if centered else optax.scale_by_rms
    by_moments = scale_by(decay, eps, eps_in_sqrt=eps_in_sqrt, bias_correction=bias_correction)
    by_momentum = optax.identity() if momentum is None else optax.trace(momentum, nesterov)
    by_rate = optax.scale_by_learning_rate(learning_rate)
    inner = optax.chain(by_moments, by_momentum, by_rate)
    metric = preconditioners.rmsprop(decay, eps, eps_in_sqrt, centered, bias_correction)
    if momentum is None:
        optimizer = _gradient_over_denominator(inner, metric)
        return proximal_in_metric(optimizer, penalty, learning_rate, scale, per_group)
    step = _prox_step_with_momentum(learning_rate, momentum, nesterov)
    return preconditioned_proximal(
        inner, metric, penalty, step, scale=scale, per_group=per_group, probe=False
    )


def proximal_adagrad(
    learning_rate: optax.ScalarOrSchedule,
    penalty: Penalty,
    initial_accumulator_value: ArrayLike = 0.1,
    eps: ArrayLike = 1e-7,
    *,
    scale: Scale = None,
    per_group: bool = False,
) -> optax.GradientTransformation:
    """Step with Adagrad, then take the prox in its metric, with the step learning_rate/√(s + ε).

    s is the sum of squared gradients. It converges to a stationary point of loss + penalty, the
    optimum if the loss is convex, with exact zeros.

    Args:
        learning_rate: a scalar or a schedule of the number of updates so far.
        penalty: what to penalise, over the parameters that `update` gets.
        initial_accumulator_value: what s starts with, at least 0.
        eps: added inside the root.
        scale: multiplies the strength: a schedule, or a transformation such as `track_sparsity`.
        per_group: take one step size per group; see `preconditioned_proximal`.

    Raises:
        ValueError: for the reasons of `preconditioned_proximal`, and for a negative number.

    Source: Duchi, Hazan, Singer, JMLR 12 (2011), section 5 (composite mirror descent).

    >>> import jax.numpy as jnp, l1jax, optax
    >>> tx = l1jax.proximal_adagrad(0.1, l1jax.l1(1.0), initial_accumulator_value=0.0)
    >>> params = jnp.array([2.0])
    >>> updates, _ = tx.update(jnp.array([0.5]), tx.init(params), params)
    >>> new = optax.apply_updates(params, updates)  # √s = ½: 2 − 0.1 − 0.1·1/½
    >>> [round(x, 3) for x in new.tolist()]
    [1.7]
    """
    check_rate(learning_rate)
    check_number("initial_accumulator_value", initial_accumulator_value)
    check_number("eps", eps)
    inner = optax.adagrad(learning_rate, initial_accumulator_value, eps)
    metric = preconditioners.adagrad(eps)
    optimizer = _gradient_over_denominator(inner, metric)
    return proximal_in_metric(optimizer, penalty, learning_rate, scale, per_group)


def _gradient_over_denominator(
    inner: optax.GradientTransformation, preconditioner: preconditioners.Preconditioner
) -> MetricOptimizer:
    """Return an optimiser whose step is −learning_rate·gradient/denominator.

    `inner` only keeps the state; the updates that it returns are not used and so not computed.
    """

    def step(
        grads: optax.Updates,
        state: optax.OptState,
        params: optax.Params,
        groups: LeafGroups,
        rate: Array,
    ) -> MetricStep:
        _, state = inner.update(grads, state, params)
        denominators = jax.tree.leaves(preconditioner(state))
        means = group_means(groups, denominators, root_mean_square)
        factors = [-rate * (1 / upcast(d)) for d in means]
        return MetricStep(jax.tree.leaves(grads), factors, means, state)

    return MetricOptimizer(inner.init, step)


def _prox_step_with_momentum(
    learning_rate: optax.ScalarOrSchedule, momentum: ArrayLike | None, nesterov: bool
) -> optax.ScalarOrSchedule:
    """Return the learning rate times the sum of the weights that momentum gives to gradients."""
    if momentum is None:
        return learning_rate
    check_number("momentum", momentum, below=1, remedy="None switches it off")

    def step(count: ArrayLike) -> Array:
        decay = jnp.asarray(momentum, float)
        num_weights = jnp.asarray(count) + 1 + nesterov
        weights = (1 - decay**num_weights) / (1 - decay)
        return schedule_value(learning_rate, jnp.asarray(count)) * weights

    return step

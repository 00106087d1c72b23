"""Adam, AdamW and NAdam with the prox in their metric."""

import jax
import jax.numpy as jnp
import optax
from jax.typing import DTypeLike

from l1jax.annotations import Array, ArrayLike, PyTree
from l1jax.penalties import Penalty, check_number, is_concrete_number, select_leaves
from l1jax.penalties.numerics import upcast
from l1jax.transforms import preconditioners
from l1jax.transforms.leaves import check_rate, schedule_value
from l1jax.transforms.metric import (
    LeafGroups,
    MetricOptimizer,
    MetricStep,
    group_means,
    proximal_in_metric,
)
from l1jax.transforms.strengths import Scale


def proximal_adam(
    learning_rate: optax.ScalarOrSchedule,
    penalty: Penalty,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    eps_root: ArrayLike = 0.0,
    *,
    weight_decay: optax.ScalarOrSchedule = 0.0,
    decay_pattern: str = "",
    nesterov: bool = False,
    mu_dtype: DTypeLike | None = None,
    scale: Scale = None,
    per_group: bool = False,
) -> optax.GradientTransformation:
    """Step with Adam, then take the prox in Adam's metric, with the step learning_rate/(√ν̂ + ε).

    For L1 each entry is soft-thresholded at learning_rate·λ/(√ν̂ᵢ + ε), with both moments corrected
    for their bias. With a decaying learning rate it converges to a stationary point of
    loss + penalty, the optimum if the loss is convex, with exact zeros. With noisy gradients single
    zeros come and go.

    With a `weight_decay` w the step is that of `optax.adamw`, learning_rate·(μ̂/(√ν̂ + ε) + w·p),
    and the prox comes behind it. Decay alone makes no zeros; a fixed point has
    −g − w·(√ν̂ + ε)·p ∈ ∂penalty, an L2 term in Adam's metric, as that of AdamW is. For an L2 term
    that is a part of the problem take `l1jax.elastic_net`, or `l1jax.sum_of` with `l1jax.l2`.

    Args:
        learning_rate: a scalar or a schedule of the number of updates so far.
        penalty: what to penalise, over the parameters that `update` gets.
        b1: decay of the first moment, in [0, 1).
        b2: decay of the second moment, in [0, 1).
        eps: added to the root of the second moment.
        eps_root: added inside that root.
        weight_decay: w ≥ 0, a scalar or a schedule of the number of updates so far.
        decay_pattern: regular expression, searched in the leaf's path: which leaves decay.
        nesterov: whether the first moment is that of NAdam, as in `optax.nadamw`.
        mu_dtype: the type in which the state keeps the first moment, such as bfloat16; None for
            that of the parameters.
        scale: multiplies the strength: a schedule, or a transformation such as `track_sparsity`.
        per_group: take one step size per group, with the mean of ν over the group for ν; see
            `preconditioned_proximal`.

    Raises:
        ValueError: for the reasons of `preconditioned_proximal`, for a decay of a moment outside
            [0, 1), a `weight_decay` that is negative or not finite, and a `decay_pattern` that is
            no regular expression; from `init` if it matches no leaf.

    Source: Kingma and Ba, ICLR 2015; Yun, Lozano, Yang, NeurIPS 2021; weight decay: Loshchilov,
    Hutter, ICLR 2019; Nesterov: Dozat, ICLR workshop 2016.

    >>> import jax.numpy as jnp, l1jax, optax
    >>> tx = l1jax.proximal_adam(0.1, l1jax.by_path({"kernel": l1jax.l1(2.0)}))
    >>> params = {"kernel": jnp.array([1.0, 0.05]), "bias": jnp.array([1.0])}
    >>> grads = {"kernel": jnp.array([1.0, 0.5]), "bias": jnp.array([1.0])}
    >>> updates, _ = tx.update(grads, tx.init(params), params)
    >>> kernel = optax.apply_updates(params, updates)["kernel"]
    >>> [round(x, 3) for x in kernel.tolist()]  # 1 − 0.1 − 0.1·2/1; 0
    [0.7, 0.0]
    """
    check_rate(learning_rate)
    check_number("b1", b1, below=1)
    check_number("b2", b2, below=1)
    check_number("eps", eps)
    check_number("eps_root", eps_root)
    if not callable(weight_decay):
        check_number("weight_decay", weight_decay, remedy="0 switches it off")
    select_leaves((), decay_pattern, "decay_pattern")  # raises if it is no regular expression
    has_decay = not (is_concrete_number(weight_decay) and weight_decay == 0)
    scale_by_moments = optax.scale_by_adam(b1, b2, eps, eps_root, mu_dtype)
    scale_by_rate = optax.scale_by_learning_rate(learning_rate)
    denominator = preconditioners.adam(b2, eps, eps_root)

    def init(params: optax.Params) -> optax.OptState:
        select_leaves(params, decay_pattern, "decay_pattern")  # raises if it matches no leaf
        return scale_by_moments.init(params), scale_by_rate.init(params)  # as optax.adam

    def step(
        grads: optax.Updates,
        state: PyTree,
        params: optax.Params,
        groups: LeafGroups,
        rate: Array,
    ) -> MetricStep:
        moments_state, rate_state = state
        moments: PyTree = scale_by_moments.update(grads, moments_state)[1]
        _, rate_state = scale_by_rate.update(grads, rate_state)
        nu = group_means(groups, jax.tree.leaves(moments.nu))
        denominators = denominator(moments._replace(nu=nu))
        # The reciprocal appears in the prox, too, so that the compiled step divides only once.
        corrected_rate = rate / (1 - jnp.asarray(b1, float) ** moments.count)
        factors = [-corrected_rate * (1 / upcast(d)) for d in denominators]
        mu = moments.mu
        if mu_dtype is not None:  # the step is taken with what the state rounds
            mu = optax.tree.update_moment(grads, moments_state.mu, b1, 1)
        if nesterov:
            mu = _look_ahead(mu, grads, b1, moments.count)
        decays = None
        if has_decay:
            share = rate * schedule_value(weight_decay, moments_state.count)
            selected = jax.tree.leaves(select_leaves(params, decay_pattern))
            decays = [share if is_selected else None for is_selected in selected]
        next_state = moments, rate_state
        return MetricStep(jax.tree.leaves(mu), factors, denominators, next_state, decays)

    optimizer = MetricOptimizer(init, step)
    return proximal_in_metric(optimizer, penalty, learning_rate, scale, per_group)


def _look_ahead(mu: PyTree, grads: PyTree, b1: ArrayLike, count: Array) -> PyTree:
    """Return NAdam's first moment, still to be divided by 1 − b1ᵗ.

    It is b1·mu·(1 − b1ᵗ)/(1 − b1ᵗ⁺¹) + (1 − b1)·g.

    Args:
        mu: the first moment, g included.
        grads: g.
        b1: its decay.
        count: t, the number of gradients in it.
    """
    decay = jnp.asarray(b1, float)
    weight = decay * (1 - decay**count) / (1 - decay ** (count + 1))
    return jax.tree.map(lambda m, g: (weight * m + (1 - decay) * g).astype(m.dtype), mu, grads)

"""Proximal gradient steps: plain, and in the diagonal metric of the optimiser."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from l1jax.annotations import Array, ArrayLike, Int, PyTree
from l1jax.penalties import Penalty, path_name
from l1jax.penalties.coupled_leaves import CoupledPart
from l1jax.penalties.groups import Groups
from l1jax.penalties.numerics import upcast
from l1jax.penalties.sparsity import show_paths
from l1jax.transforms.floating_leaves import on_floating_leaves
from l1jax.transforms.leaves import (
    check_rate,
    prox_updates,
    require_params_like,
    schedule_value,
)
from l1jax.transforms.metric import (
    LeafGroups,
    MetricOptimizer,
    MetricStep,
    group_means,
    proximal_in_metric,
    recompute,
    root_mean_square,
    to_group_layout,
)
from l1jax.transforms.metric_probe import can_probe, check_metric
from l1jax.transforms.preconditioners import Preconditioner
from l1jax.transforms.strengths import Scale, StrengthState, bind_strength


class ProximalState(NamedTuple):
    """State of `proximal`."""

    count: Int[Array, ""]  # updates applied so far
    strength: StrengthState


def proximal(
    penalty: Penalty, learning_rate: optax.ScalarOrSchedule, *, scale: Scale = None
) -> optax.GradientTransformation:
    """Turn a gradient step into a proximal gradient step; chain it last.

    Replaces the update u by prox(p + u, learning_rate) − p, so that every pruned entry of
    `optax.apply_updates(params, updates)` is exactly zero. Leaves without a penalty pass untouched.

    After plain gradient descent with this learning rate the fixed points are those of
    loss + penalty. After Adam they satisfy g = −λ(√ν + ε) sign(x), an L1 that is weighted by the
    curvature and decoupled like AdamW's decay; `proximal_adam` solves the stated problem instead.
    After optax's momentum μ, which is not normalised, give learning_rate/(1 − μ), or take
    `proximal_sgd`.

    Args:
        penalty: what to penalise, over the parameters that `update` gets. It comes first here, and
            after the learning rate in `proximal_adam` and its kind.
        learning_rate: the step of the prox, a scalar or a schedule; the chain's own learning rate.
        scale: multiplies the strength: a schedule, or a transformation such as `track_sparsity`.

    Raises:
        ValueError: from `init` if a `by_path` pattern does not fit the parameters, or a penalised
            leaf is not of floating point; from `update` without `params`.

    Source: Parikh and Boyd, Proximal Algorithms (2014), section 4.2.

    >>> import jax.numpy as jnp, l1jax, optax
    >>> tx = optax.chain(optax.sgd(0.5), l1jax.proximal(l1jax.l1(1.0), 0.5))
    >>> params = jnp.array([2.0, 0.1])
    >>> updates, _ = tx.update(jnp.array([1.0, 0.0]), tx.init(params), params)
    >>> optax.apply_updates(params, updates).tolist()
    [1.0, 0.0]
    """
    check_rate(learning_rate)
    strength = bind_strength(penalty, scale)

    def init(params: optax.Params) -> ProximalState:
        return ProximalState(jnp.zeros([], jnp.int32), strength.init(params))

    def update(
        updates: optax.Updates, state: PyTree, params: optax.Params | None = None
    ) -> tuple[optax.Updates, ProximalState]:
        params = require_params_like(params, updates, "the prox is taken at params + updates")
        step = schedule_value(learning_rate, state.count)
        penalties, strengths = strength.update(state.strength, params)
        updates = prox_updates(penalties, updates, params, step)
        return updates, state._replace(count=optax.safe_increment(state.count), strength=strengths)

    return on_floating_leaves(
        optax.GradientTransformation(init, update), strength.check, is_optimizer=False
    )


def preconditioned_proximal(
    inner: optax.GradientTransformation,
    preconditioner: Preconditioner,
    penalty: Penalty,
    learning_rate: optax.ScalarOrSchedule,
    *,
    scale: Scale = None,
    per_group: bool = False,
    probe: bool = True,
) -> optax.GradientTransformation:
    """Follow an adaptive optimiser by the prox in the optimiser's own diagonal metric.

    With u the inner update and d its denominator, the new parameters are
    argmin over y of penalty(y) + ½ Σ dᵢ/learning_rate·(yᵢ − pᵢ − uᵢ)². Fixed points satisfy
    −g ∈ ∂penalty: exactly the minimisers' condition for loss + penalty, for any metric.

    MCP, SCAD, the log-sum and group MCP are an L1 or group L1 plus a smooth, concave function. That
    function counts as a part of the loss: its gradient is added before `inner`, and the prox is
    that of the convex part. The prox of the whole penalty would throw entries from stationary
    points to zero, again and again, as soon as its step is at least γ, which happens with any
    learning rate where the denominator is small enough.

    The state does not show every mistake: not another `b2`, `eps` or learning rate, and of some
    optimisers not even which one it is. So ten steps of `inner` on two tiny leaves tell whether
    −u·d/learning_rate is the gradient, and a mismatch is an error with its size. This takes a few
    tenths of a second, at construction, or at the first `init` if JAX has not started its devices
    yet. Not everything can be found out so: an optimiser that needs the real parameters (a mask, or
    labels of `partition`, that is a tree or belongs to paths) is not tried, and neither is one with
    a number that is traced, as inside `optax.inject_hyperparams`; differences of less than 2 %, and
    those that appear later than in the tenth step, are not seen. `l1jax.diagnose` takes longer and
    sees those, too.

    Args:
        inner: an optax optimiser that includes its learning rate, such as `optax.adam(1e-3)`. Its
            weight decay, if it has one, adds to the penalty.
        preconditioner: its denominator as a function of its state, from `l1jax.preconditioners`.
        penalty: what to penalise, over the parameters that `update` gets.
        learning_rate: that of the inner optimiser, a scalar or a schedule; divided by 1 − μ if the
            inner optimiser ends with optax's momentum μ, which is not normalised.
        scale: multiplies the strength: a schedule, or a transformation such as `track_sparsity`.
        per_group: take one step size per group, for penalties that move groups of entries together
            (`group_l1` and its like, also in a `sum_of`; for `linf` and `l1_ball` the leaf is the
            group). The root mean square of dᵢ over the group replaces dᵢ in the prox, and in the
            gradient step, where u is multiplied by dᵢ and divided by it; so the fixed points stay
            the same, and the prox of a group needs no inner iteration.
        probe: whether to check the preconditioner and the learning rate by ten tiny steps.

    Raises:
        ValueError: if `penalty` is no penalty, or `learning_rate` is negative or not finite, or if
            the probe finds that the preconditioner or the learning rate does not belong to `inner`;
            from `init` if a `by_path` pattern does not fit the parameters, if a penalised leaf is
            not of floating point, or if the preconditioner has no denominator for some leaf; from
            `update` without `params`.

    Source: Yun, Lozano, Yang: Adaptive proximal gradient methods, NeurIPS 2021, algorithm 1.

    >>> import jax.numpy as jnp, l1jax, optax
    >>> metric = l1jax.preconditioners.amsgrad()
    >>> tx = l1jax.preconditioned_proximal(optax.amsgrad(0.1), metric, l1jax.l1(2.0), 0.1)
    >>> params = jnp.array([1.0, 1.0])  # Adam's first step is 0.1; the threshold 0.1·2/|g|
    >>> updates, _ = tx.update(jnp.array([1.0, 4.0]), tx.init(params), params)
    >>> [round(x, 3) for x in optax.apply_updates(params, updates).tolist()]
    [0.7, 0.85]
    """
    check_rate(learning_rate)
    # The first computation would start JAX's devices, before `jax.distributed.initialize` could.
    probes_now = probe and can_probe()
    if probes_now:
        check_metric(inner, preconditioner, learning_rate)

    def init(params: optax.Params) -> optax.OptState:
        if probe and not probes_now:
            check_metric(inner, preconditioner, learning_rate)
        state = inner.init(params)
        # This raises, too, if the state belongs to another optimiser than the preconditioner.
        _check_denominators(jax.eval_shape(preconditioner, state), params)
        return state

    def step(
        grads: optax.Updates,
        state: optax.OptState,
        params: optax.Params,
        groups: LeafGroups,
        rate: Array,
    ) -> MetricStep:
        updates, state = inner.update(grads, state, params)
        denominators = jax.tree.leaves(preconditioner(state))
        if not any(groups):
            ones = [1.0] * len(groups)
            return MetricStep(jax.tree.leaves(updates), ones, denominators, state)
        again = jax.tree.leaves(recompute(preconditioner, state))
        means = group_means(groups, again, root_mean_square)

        def rescale(group: Groups | CoupledPart | None, d: Array, mean: Array) -> ArrayLike:
            if group is None:
                return 1.0
            return to_group_layout(group, upcast(d)) / mean

        columns = zip(groups, denominators, means, strict=True)
        factors = [rescale(*leaf) for leaf in columns]
        return MetricStep(jax.tree.leaves(updates), factors, means, state)

    optimizer = MetricOptimizer(init, step)
    return proximal_in_metric(optimizer, penalty, learning_rate, scale, per_group)


def _check_denominators(denominators: PyTree, params: PyTree) -> None:
    """Raise unless a metric has a number for each entry of the parameters."""
    shapes = {
        path_name(path): leaf.shape
        for path, leaf in jax.tree_util.tree_leaves_with_path(denominators)
    }
    missing = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        name = path_name(path)
        if shapes.get(name) != jnp.shape(leaf):
            missing.append(name or "the array")
    if missing:
        raise ValueError(
            f"`preconditioner` has no denominator for each entry of {show_paths(missing)}: `inner` "
            "moves these leaves by another optimiser, as `optax.contrib.muon` does with matrices, "
            "or not at all; put `preconditioned_proximal` inside `optax.partition` or `masked`, "
            "around one optimiser."
        )

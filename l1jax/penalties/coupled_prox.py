"""The prox of a sum of norms of groups that lie in several leaves."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from l1jax.annotations import Array, ArrayLike, Float
from l1jax.penalties.coupled_groups import GroupSums

Numbers = Float[Array, " groups"]


def coupled_shrinkage(sums: GroupSums, xs: list[Array], thresholds: list[Array]) -> list[Array]:
    """Return (1 − τ/‖x‖)₊ x of each group, exactly 0 where ‖x‖ ≤ τ.

    Args:
        sums: the groups.
        xs: the leaves.
        thresholds: τ, arrays that broadcast to the leaves and are the same throughout a group; 0
            for entries in no group.
    """
    shrunk = []
    for x, size, threshold in zip(xs, sums.spread(sums.norm(xs), 1), thresholds, strict=True):
        factor = jnp.where(size <= threshold, 0, 1 - threshold / jnp.where(size == 0, 1, size))
        shrunk.append(x * factor.astype(x.dtype))
    return _keep_free(sums, xs, shrunk)


def coupled_group_prox(sums: GroupSums, xs: list[Array], thresholds: list[Array]) -> list[Array]:
    """Return the prox of Σ_g λ_g‖x_g‖ in a diagonal metric.

    It is 0 if and only if Σ(xᵢ/τᵢ)² ≤ 1, else xᵢρ/(ρ + τᵢ), where ρ is the norm of the result.

    Args:
        sums: the groups.
        xs: the leaves.
        thresholds: τᵢ = λ_g·stepᵢ, arrays that broadcast to the leaves.
    """
    pairs = list(zip(xs, thresholds, strict=True))
    ratios = [jnp.where(x == 0, 0, jnp.square(x / threshold)) for x, threshold in pairs]
    zero = sums.total(ratios) <= 1
    rho = coupled_norm_of_prox(sums, xs, thresholds, zero)
    new = []
    for (x, threshold), is_zero, norm in zip(
        pairs, sums.spread(zero), sums.spread(rho, 1), strict=True
    ):
        norm = norm.astype(x.dtype)
        new.append(jnp.where(is_zero, 0, x * (norm / (norm + threshold))))
    return _keep_free(sums, xs, new)


def _keep_free(sums: GroupSums, xs: list[Array], new: list[Array]) -> list[Array]:
    """Return the new arrays, with the entries in no group as they were."""
    columns = zip(sums.in_groups(), xs, new, strict=True)
    return [y if in_group.all() else jnp.where(in_group, y, x) for in_group, x, y in columns]


class _NewtonState(NamedTuple):
    """State of the iteration; a number per group, except `count`."""

    count: Array  # iterations so far
    rho: Numbers  # a lower bound of the root
    excess: Numbers  # N(ρ) − 1
    step: Numbers  # Newton's step from here


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def coupled_norm_of_prox(
    sums: GroupSums, xs: list[Array], thresholds: list[Array], zero: Array
) -> Numbers:
    """Solve N(ρ) = ‖x/(ρ + τ)‖ = 1 for ρ > 0 in each group, as `group_prox.norm_of_prox` does.

    Args:
        sums: the groups.
        xs: the leaves.
        thresholds: τᵢ, arrays that broadcast to the leaves.
        zero: whether the prox of a group is 0, so that there is no root; the result is 1 there.
    """
    pairs = list(zip(xs, thresholds, strict=True))

    def newton(count: Array, rho: Numbers) -> _NewtonState:
        squares = []
        slopes = []
        for (x, threshold), own in zip(pairs, sums.spread(rho, 1), strict=True):
            bottom = own.astype(x.dtype) + threshold
            square = jnp.square(x / bottom)
            squares.append(square)
            slopes.append(square / bottom)
        square = sums.total(squares)
        excess = jnp.sqrt(square) - 1
        slope = sums.total(slopes)
        step = excess * square / jnp.where(zero, 1, slope)
        return _NewtonState(count, rho, excess, step)

    def unfinished(state: _NewtonState) -> Array:
        inexact = state.excess * state.step > jnp.finfo(state.rho.dtype).eps * state.rho
        return (state.count < 20) & jnp.any(~zero & inexact)

    def climb(state: _NewtonState) -> _NewtonState:
        return newton(state.count + 1, state.rho + state.step)

    square = jnp.where(zero, 1, sums.total([jnp.square(x) for x in xs]))
    moment = sums.total([jnp.square(x) * threshold for x, threshold in pairs])
    jensen = jnp.maximum(jnp.sqrt(square) - moment / square, 0)
    end: _NewtonState = jax.lax.while_loop(unfinished, climb, newton(jnp.zeros([], int), jensen))
    return jnp.where(zero, 1, end.rho + end.step)


@coupled_norm_of_prox.defjvp
def _coupled_norm_of_prox_jvp(
    sums: GroupSums,
    primals: tuple[list[Array], list[Array], Array],
    tangents: tuple[list[Array], list[Array], Any],
) -> tuple[Array, Array]:
    """Differentiate N(ρ) = 1 implicitly."""
    xs, thresholds, zero = primals
    x_dots, threshold_dots, _ = tangents
    rho = coupled_norm_of_prox(sums, xs, thresholds, zero)
    changes = []
    squares = []
    columns = zip(xs, thresholds, x_dots, threshold_dots, sums.spread(rho, 1), strict=True)
    for x, threshold, x_dot, threshold_dot, own in columns:
        inverse = 1 / (own.astype(x.dtype) + threshold)
        ratio = x * inverse
        changes.append(ratio * (x_dot - ratio * threshold_dot) * inverse)
        squares.append(jnp.square(ratio) * inverse)
    change = jnp.where(zero, 0, sums.total(changes))
    return rho, change / jnp.where(zero, 1, sums.total(squares))


def strength_of_groups(strength: ArrayLike, factors: Float[np.ndarray, " groups"]) -> Array:
    """Multiply the strength by a factor of each group."""
    return jnp.multiply(strength, jnp.asarray(factors, jnp.result_type(strength, float)))


def scale_groups(sums: GroupSums, xs: list[Array], factors: Array) -> list[Array]:
    """Multiply each group by its factor, and entries in no group by 0.

    Args:
        sums: adds up the entries of each group.
        xs: the arrays.
        factors: one for each group.
    """
    pairs = zip(xs, sums.spread(factors), strict=True)
    return [x * factor.astype(x.dtype) for x, factor in pairs]


def distance_of_groups(sums: GroupSums, xs: list[Array], grads: list[Array], slope: Array) -> Array:
    """Return ‖g + slope·x/‖x‖‖ where the group is not 0, (‖g‖ − slope)₊ where it is.

    Args:
        sums: adds up the entries of each group.
        xs: the arrays.
        grads: g, the gradient of the loss in each.
        slope: of the penalty in ‖x‖, one for each group.
    """
    size = sums.norm(xs)
    pulls = scale_groups(sums, xs, slope / jnp.where(size == 0, 1, size))
    left = sums.norm([grad + pull for grad, pull in zip(grads, pulls, strict=True)])
    return jnp.where(size > 0, left, jnp.maximum(left - slope, 0))

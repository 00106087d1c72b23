"""A diagonal metric in which badly scaled parameters are well scaled."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from l1jax.annotations import Array, Float, Int
from l1jax.solve.problem import Problem, dot, multiply, scalar_dtype
from l1jax.solve.program import Leaves

PROBES = 8
MAX_PASSES = 10
EVEN = 3.0  # in units of e: a spread of row norms that the few probes alone can cause


class _Balance(NamedTuple):
    """State of `equilibrate`."""

    count: Int[Array, ""]
    metric: Leaves  # d
    norms: Leaves  # of the rows in that metric
    curvature: Float[Array, ""]


def equilibrate(problem: Problem, at: Leaves) -> tuple[Leaves, Float[Array, ""]]:
    """Find d such that the rows of d^(−1/2) H d^(−1/2) have similar norms, H the Hessian of f.

    The norms are estimated from products of H with fixed arbitrary signs. If those of H itself are
    similar, d is 1.

    Args:
        problem: whose f is meant.
        at: where the Hessian is taken.

    Returns:
        d, and the largest curvature in this metric that the products have met.

    Source: Bradley, Murray, Matrix-free approximate equilibration, arXiv:1110.2805 (2011).
    """
    product = problem.linearise(at).hessian

    def uneven(state: _Balance) -> Array:
        limit = MAX_PASSES if problem.takes_metric else 1
        return (state.count == 0) | ((state.count < limit) & (_spread(state.norms) > EVEN))

    def balance(state: _Balance) -> _Balance:
        metric = _without_zeros(multiply(state.metric, state.norms))
        norms, curvature = _row_norms(product, metric, state.count)
        return _Balance(state.count + 1, metric, norms, curvature)

    ones = [jnp.ones_like(x) for x in at]
    start = _Balance(jnp.zeros([], jnp.int32), ones, ones, jnp.ones([], scalar_dtype(at)))
    end = jax.lax.while_loop(uneven, balance, start)
    return end.metric, end.curvature


def _row_norms(
    product: Callable[[Leaves], Leaves], metric: Leaves, seed: Array
) -> tuple[Leaves, Array]:
    """Return the root mean square of d^(−1/2) H d^(−1/2) z over signs z, and a curvature.

    Args:
        product: v ↦ Hv.
        metric: d.
        seed: makes the signs others.
    """
    scales = [1 / jnp.sqrt(d) for d in metric]
    entries = sum(d.size for d in metric)

    def probe(seed: Array) -> tuple[Leaves, Array]:
        signs = _signs(metric, seed)
        image = multiply(scales, product(multiply(scales, signs)))
        return [jnp.square(x) for x in image], jnp.sqrt(dot(image, image) / entries)

    squares, curvatures = jax.lax.map(probe, seed * PROBES + jnp.arange(PROBES))
    return [jnp.sqrt(jnp.mean(s, axis=0)) for s in squares], jnp.max(curvatures)


def _signs(like: Leaves, seed: Array) -> Leaves:
    """Return arbitrary signs; a hash is enough and compiles faster than random numbers."""
    signs = []
    start = jnp.uint32(1)
    for leaf in like:
        bits = (jnp.arange(leaf.size, dtype=jnp.uint32) + start) * jnp.uint32(0x9E3779B1)
        bits ^= seed.astype(jnp.uint32) * jnp.uint32(0x85EBCA77)
        for _ in range(2):
            bits = (bits ^ (bits >> 15)) * jnp.uint32(0x2C1B3C6D)
        signs.append((1 - 2 * (bits >> 31).astype(leaf.dtype)).reshape(leaf.shape))
        start += jnp.uint32(leaf.size)
    return signs


def _spread(norms: Leaves) -> Array:
    """Return log(largest/smallest) of the norms that are not zero."""
    logs = _logs(norms)
    largest = jnp.max(jnp.stack([jnp.max(x, initial=-jnp.inf) for x in logs]))
    smallest = jnp.min(
        jnp.stack([jnp.min(jnp.where(jnp.isfinite(x), x, jnp.inf), initial=jnp.inf) for x in logs])
    )
    return largest - smallest  # NaN or −∞ if there is no curvature: nothing to balance


def _without_zeros(metric: Leaves) -> Leaves:
    """Replace zeros by the geometric mean of the others, and scale so that it is 1."""
    logs = _logs(metric)
    finite = [jnp.isfinite(x) for x in logs]
    total = sum(jnp.sum(jnp.where(f, x, 0)) for f, x in zip(finite, logs, strict=True))
    count = sum(jnp.sum(f) for f in finite)
    mean = total / jnp.maximum(count, 1)
    return [
        jnp.exp(jnp.where(f, x - mean, 0).astype(x.dtype))
        for f, x in zip(finite, logs, strict=True)
    ]


def _logs(leaves: Leaves) -> Leaves:
    dtype = scalar_dtype(leaves)
    tiny = jnp.finfo(dtype).tiny
    return [jnp.where(x > tiny, jnp.log(jnp.maximum(x, tiny)), -jnp.inf) for x in leaves]

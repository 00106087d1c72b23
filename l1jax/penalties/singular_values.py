"""Functions of the singular values of matrices, of shape (…, rows, columns)."""

import jax
import jax.numpy as jnp

from l1jax.annotations import Array
from l1jax.penalties.numerics import with_exact_products

MOST_STEPS = 5000


@jax.custom_jvp
@with_exact_products
def threshold_singular_values(x: Array, threshold: Array) -> Array:
    """Return U (σ − τ)₊ Vᵀ, exactly 0 where no singular value is above τ.

    Args:
        x: the matrices.
        threshold: τ ≥ 0, one number, or one per matrix in the shape (…, 1).
    """
    u, sizes, vt = jnp.linalg.svd(x, full_matrices=False)
    return (u * _shrink(sizes, threshold)[..., None, :]) @ vt


@threshold_singular_values.defjvp
@with_exact_products
def _threshold_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    """Differentiate a function f of singular values, which is odd.

    For H = U A Vᵀ the derivative has the entries (f(σᵢ) − f(σⱼ))/(σᵢ − σⱼ) times the symmetric part
    of A and (f(σᵢ) + f(σⱼ))/(σᵢ + σⱼ) times the antisymmetric part, and f(σᵢ)/σᵢ for the rest of H.

    Source: Lewis and Sendov, SIAM J. Matrix Anal. Appl. 23 (2001).
    """
    x, threshold = primals
    x_dot, threshold_dot = tangents
    u, sizes, vt = jnp.linalg.svd(x, full_matrices=False)
    new = _shrink(sizes, threshold)
    above = (sizes > threshold).astype(x.dtype)

    def quotient(top: Array, bottom: Array, otherwise: Array) -> Array:
        is_zero = bottom == 0
        return jnp.where(is_zero, otherwise, top / jnp.where(is_zero, 1, bottom))

    def rows(values: Array) -> Array:
        return values[..., :, None]

    def columns(values: Array) -> Array:
        return values[..., None, :]

    differences = quotient(
        rows(new) - columns(new), rows(sizes) - columns(sizes), rows(above) * columns(above)
    )
    both = quotient(
        rows(new) + columns(new), rows(sizes) + columns(sizes), jnp.zeros_like(differences)
    )
    shares = quotient(new, sizes, jnp.zeros_like(sizes))
    left = u.mT @ x_dot
    right = x_dot @ vt.mT
    inner = left @ vt.mT
    symmetric = (inner + inner.mT) / 2
    antisymmetric = (inner - inner.mT) / 2
    core = differences * symmetric + both * antisymmetric
    core = core - jnp.eye(sizes.shape[-1], dtype=x.dtype) * columns(above * threshold_dot)
    change = u @ core @ vt
    if x.shape[-2] > x.shape[-1]:
        change = change + (right - u @ inner) * columns(shares) @ vt
    elif x.shape[-2] < x.shape[-1]:
        change = change + (u * columns(shares)) @ (left - inner @ vt)
    return (u * columns(new)) @ vt, change


def matrix_prox(x: Array, steps: Array, strength: Array) -> Array:
    """Minimise λ‖Y‖_* + ½ Σ (yᵢ − xᵢ)²/stepᵢ by an accelerated proximal gradient method.

    The quadratic's curvature is between the reciprocals of the largest and the smallest step, so
    that the error falls by about 1 − √(smallest/largest) in each step. It ends when a step changes
    nothing beyond rounding.

    Args:
        x: the matrices.
        steps: the steps, like `x`; 0 where an entry does not move.
        strength: λ.

    Source: Nesterov, Introductory lectures on convex optimization (2004), scheme 2.2.22.
    """
    largest = jnp.max(steps, (-2, -1), keepdims=True)
    # With a share of 1e-8 an entry does not move any more.
    steps = jnp.maximum(steps, 1e-8 * largest)
    steps = jnp.where(largest > 0, steps, 1)
    smallest = jnp.min(steps, (-2, -1), keepdims=True)
    root = jnp.sqrt(smallest / jnp.where(largest > 0, largest, 1))
    momentum = (1 - root) / (1 + root)
    threshold = jnp.where(largest > 0, smallest, 0)[..., 0] * strength
    edge = jnp.linalg.norm(x / steps, ord=2, axis=(-2, -1), keepdims=True)
    is_zero = (edge <= strength) & (largest > 0)
    size = jnp.max(jnp.abs(x), (-2, -1), keepdims=True)
    tolerance = 2 * jnp.finfo(x.dtype).eps * size * root

    def unfinished(carry: tuple[Array, Array, Array, Array]) -> Array:
        count, _, _, change = carry
        return (count < MOST_STEPS) & jnp.any(~is_zero & (change > tolerance))

    def advance(carry: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        count, y, z, _ = carry
        new = threshold_singular_values(z - smallest / steps * (z - x), threshold)
        change = jnp.max(jnp.abs(new - z), (-2, -1), keepdims=True)
        return count + 1, new, new + momentum * (new - y), change

    start = jnp.zeros([], jnp.int32), x, x, jnp.full_like(size, jnp.inf)
    _, y, _, _ = jax.lax.while_loop(unfinished, advance, start)
    return jnp.where(is_zero, 0, y)


@jax.custom_jvp
def nuclear_value(x: Array) -> Array:
    """Return the sum of all singular values; its derivative is `polar_factor`."""
    return jnp.sum(jnp.linalg.svd(x, compute_uv=False))


@nuclear_value.defjvp
def _nuclear_value_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,) = primals
    (x_dot,) = tangents
    return nuclear_value(x), jnp.sum(polar_factor(x) * x_dot)


@with_exact_products
def polar_factor(x: Array) -> Array:
    """Return UVᵀ of the singular vectors whose values are not 0, up to rounding."""
    u, vt = _space(x)
    return u @ vt


@with_exact_products
def split_by_space(x: Array, y: Array) -> tuple[Array, Array]:
    """Split `y` into what shares rows or columns with `x`, and what is orthogonal to both.

    Args:
        x: matrices whose singular values that are rounding count as 0.
        y: matrices of the same shape.
    """
    u, vt = _space(x)
    off = y - u @ (u.mT @ y)
    off = off - (off @ vt.mT) @ vt
    return y - off, off


def _space(x: Array) -> tuple[Array, Array]:
    """Return U and Vᵀ with zeros in place of the vectors whose singular value is 0."""
    u, sizes, vt = jnp.linalg.svd(x, full_matrices=False)
    rounding = 8 * max(x.shape[-2:]) * jnp.finfo(x.dtype).eps
    counts = sizes > rounding * jnp.max(sizes, -1, keepdims=True, initial=0)
    return jnp.where(counts[..., None, :], u, 0), jnp.where(counts[..., :, None], vt, 0)


def _shrink(sizes: Array, threshold: Array) -> Array:
    # Not max(σ − τ, 0), which would turn NaN into 0 in some orders of its arguments.
    return jnp.where(sizes <= threshold, 0, sizes - threshold)

"""Where a path of strengths begins: the smallest strength whose solution is all zero."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.flatten_util import ravel_pytree

from l1jax.annotations import Array, ArrayLike, Float, PyTree
from l1jax.penalties.base import Penalty, leaf_penalties, scaled, strengths
from l1jax.penalties.coupled_leaves import leaf_distances, penalty_name
from l1jax.penalties.l1 import L2
from l1jax.penalties.numerics import tree_norm
from l1jax.penalties.sparsity import path_name
from l1jax.penalties.sum_of import SumOf

_REMEDY = "give the strengths yourself, or let `track_sparsity` find the one for a sparsity"

Loss = Callable[[PyTree], Array]
"""The unpenalised loss as a function of the parameters."""


def largest_strength(loss: Loss, params: PyTree, penalty: Penalty) -> float:
    """Find the smallest strength at which every penalised leaf of a linear model is zero.

    The leaves without a penalty (an intercept) are fitted first by Newton's method, with the others
    at zero. The strength is the dual norm of the gradient there: max|g| for `l1`, the largest
    ‖g_g‖/√n_g for `group_l1`. For MCP, SCAD and the log-sum it is the smallest strength at which
    zero is stationary.

    The function needs concrete values, so it does not run under `jit`.

    Args:
        loss: the unpenalised loss as a function of `params`, convex as that of a linear model.
        params: where the fit of the free leaves starts; of the others only the shape counts.
        penalty: what to penalise. Several strengths in it keep their ratios; how large they are
            makes no difference.

    Returns:
        The value for the penalty's first strength that is not zero. `l1` and most others have only
        one; the first of `by_path` is that of the first pattern.

    Raises:
        ValueError: if the penalty has no such strength (`l0`, `l_half`, `l2`, `l1_ball`), or the
            model is not linear: all-zero kernels next to a hidden layer have zero gradients, which
            say nothing about a strength.

    Source: Friedman, Hastie, Tibshirani, J. Stat. Softw. 33 (2010), section 2.5.

    >>> features = jnp.array([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]])
    >>> target = jnp.array([3.0, 1.0, 2.0])
    >>> def loss(params):
    ...     return jnp.mean((features @ params["kernel"] + params["bias"] - target) ** 2) / 2
    >>> params = {"bias": jnp.zeros(()), "kernel": jnp.zeros(2)}
    >>> round(l1jax.largest_strength(loss, params, l1jax.by_path({"kernel": l1jax.l1(1.0)})), 4)
    0.6667
    """
    leaves, treedef = jax.tree.flatten(params)
    if any(isinstance(leaf, Tracer) for leaf in leaves):
        raise ValueError(
            "`params` must be concrete arrays, not traced ones; call `largest_strength` outside "
            "`jit`."
        )
    penalties = leaf_penalties(penalty, params)
    for leaf_penalty in penalties:
        _check_has_largest_strength(leaf_penalty)
    first = first_strength(penalty)
    start = treedef.unflatten(
        [
            leaf if leaf_penalty is None else jnp.zeros_like(leaf)
            for leaf_penalty, leaf in zip(penalties, leaves, strict=True)
        ]
    )
    fitted = _fit_free_leaves(loss, start, penalties)
    _check_convex(loss, fitted)
    grads = jax.grad(loss)(fitted)
    if not jnp.isfinite(tree_norm(grads)):
        raise ValueError("`loss` must have a finite gradient where the penalised leaves are zero.")
    penalised = _penalised_gradients(grads, penalties)

    @jax.jit
    def distance_at_zero(scale: Array) -> Array:
        at_scale = [scaled(leaf_penalty, scale) for leaf_penalty, _ in penalised]
        gradients = [grad for _, grad in penalised]
        zeros = [jnp.zeros_like(grad) for grad in gradients]
        return tree_norm(leaf_distances(at_scale, zeros, gradients))

    return float(_find_threshold(lambda scale: float(distance_at_zero(scale)) == 0)) * first


def first_strength(penalty: Penalty) -> float:
    """Return the penalty's first strength that is not zero.

    The result of `largest_strength` is a value for this strength.

    Raises:
        ValueError: if there is none.
    """
    for strength in strengths(penalty):
        if float(strength) > 0:
            return float(strength)
    raise ValueError(
        "`penalty` must have a strength greater than 0: it says which ratios the strengths keep."
    )


def _check_has_largest_strength(penalty: Penalty | None) -> None:
    """Raise if no strength of a leaf's penalty is the smallest at which the leaf is zero."""
    parts: tuple[Penalty | None, ...] = (penalty,)
    if isinstance(penalty, SumOf):
        parts = penalty.parts or (L2(0.0),)
    for part in parts:
        reason = getattr(part, "no_largest_strength", None)
        if reason:
            raise ValueError(f"`penalty` has {penalty_name(part)}, which {reason}; {_REMEDY}.")


def _penalised_gradients(
    grads: PyTree, penalties: list[Penalty | None]
) -> list[tuple[Penalty, Array]]:
    """Return the penalty and the gradient of each leaf that has a penalty.

    Raises:
        ValueError: if such a gradient is zero.
    """
    penalised = []
    leaves = jax.tree_util.tree_leaves_with_path(grads)
    for (path, grad), penalty in zip(leaves, penalties, strict=True):
        if penalty is None:
            continue
        if not jnp.any(grad != 0):
            raise ValueError(
                f"`loss` must be a linear model's, but the gradient of "
                f"{path_name(path) or 'the array'} is zero where the penalised leaves are zero, as "
                f"it is next to a hidden layer; {_REMEDY}."
            )
        penalised.append((penalty, grad))
    return penalised


def _fit_free_leaves(loss: Loss, params: PyTree, penalties: list[Penalty | None]) -> PyTree:
    """Minimise the loss over the leaves without a penalty.

    A step of Newton's method is halved until the norm of the gradient falls.
    """
    leaves, treedef = jax.tree.flatten(params)
    free, unravel = ravel_pytree(
        [jnp.asarray(leaf) for p, leaf in zip(penalties, leaves, strict=True) if p is None]
    )
    free = free.astype(free.dtype)  # not weakly typed any more
    if not free.size:
        return params

    def with_free(vector: Array) -> PyTree:
        fitted = iter(unravel(vector))
        return treedef.unflatten(
            [next(fitted) if p is None else leaf for p, leaf in zip(penalties, leaves, strict=True)]
        )

    grad = jax.grad(lambda vector: loss(with_free(vector)))

    @jax.jit
    def newton(vector: Array) -> tuple[Array, Array]:
        """Newton's step, and the norm of the gradient."""
        g, curvature = jax.linearize(grad, vector)
        step, _ = jax.scipy.sparse.linalg.cg(curvature, -g, tol=1e-10, maxiter=500)
        return step, jnp.linalg.norm(g)

    grad_norm = jax.jit(lambda vector: jnp.linalg.norm(grad(vector)))
    start = grad_norm(free)
    for _ in range(100):
        step, size = newton(free)
        candidates = (free + step / 2**halvings for halvings in range(12))
        better = next((point for point in candidates if grad_norm(point) < size), None)
        if better is None:
            break
        free = better
    params = with_free(free)
    size = grad_norm(free)
    scale = jnp.maximum(start, tree_norm(jax.grad(loss)(params)))
    if not size <= jnp.sqrt(jnp.finfo(free.dtype).eps) * scale:
        raise ValueError(
            "`loss` must have a minimum over the leaves without a penalty; its gradient there "
            f"stays at {size:.1e}. Penalise them, or {_REMEDY}."
        )
    return params


def _check_convex(loss: Loss, params: PyTree) -> None:
    """Raise if a loss has a direction of negative curvature, found by Lanczos' iteration."""
    point, unravel = ravel_pytree(params)
    _, curvature = jax.linearize(jax.grad(lambda vector: loss(unravel(vector))), point)
    curvature = jax.jit(curvature)
    basis = [np.random.default_rng(0).normal(size=point.size)]
    basis[0] /= np.linalg.norm(basis[0])
    images: list[Float[np.ndarray, " n"]] = []
    for _ in range(min(point.size, 30)):
        images.append(np.asarray(curvature(jnp.asarray(basis[-1], point.dtype)), np.float64))
        rest = images[-1]
        for _ in range(2):  # a second pass removes what rounding has left
            rest = rest - np.stack(basis).T @ (np.stack(basis) @ rest)
        if np.linalg.norm(rest) <= 1e-6 * np.linalg.norm(images[-1]):
            break
        basis.append(rest / np.linalg.norm(rest))
    curvatures = np.linalg.eigvalsh(np.stack(basis[: len(images)]) @ np.stack(images).T)
    if curvatures[0] < -np.sqrt(jnp.finfo(point.dtype).eps) * np.abs(curvatures).max():
        raise ValueError(
            f"`loss` must be convex, as a linear model's is, but it curves downwards; {_REMEDY}."
        )


def _find_threshold(is_zero: Callable[[ArrayLike], bool]) -> np.floating:
    """Find the smallest floating-point number from which `is_zero` holds, 0 if it always does."""
    dtype = jnp.zeros((), float).dtype.type
    two = dtype(2)
    high = dtype(1)
    while not is_zero(high):
        high *= two
        if not high < 1e30:
            raise ValueError(
                "`penalty` must penalise every entry of its leaves; a weight of 0 frees an entry."
            )
    low = high / two
    while is_zero(low):
        if low < 1e-30:
            return dtype(0)
        high = low
        low = low / two
    while low < (middle := (low + high) / two) < high:
        if is_zero(middle):
            high = middle
        else:
            low = middle
    return high

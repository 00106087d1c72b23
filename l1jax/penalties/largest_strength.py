"""Where a path of strengths begins: the smallest strength whose solution is all zero."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from l1jax.penalties.base import Penalty, leaf_penalties, norm, scaled
from l1jax.penalties.l0 import L0, LHalf
from l1jax.penalties.l1 import L2
from l1jax.penalties.max_norm import L1Ball
from l1jax.penalties.sparsity import path_name
from l1jax.penalties.sum_of import SumOf

_REMEDY = "give the strengths yourself, or let `track_sparsity` find the one for a sparsity"


def largest_strength(loss: Callable[[PyTree], Array], params: PyTree, penalty: Penalty) -> float:
    """Find the smallest strength at which every penalised leaf of a linear model is zero.

    The leaves without a penalty (an intercept) are fitted first, with the others at zero, by
    Newton's method; then the strength is the dual norm of the gradient there: max|g| for `l1`, the
    largest ‖g_g‖/√n_g for `group_l1`. For MCP, SCAD and the log-sum it is the smallest strength at
    which zero is stationary.

    Runs on concrete values, not under `jit`.

    Args:
        loss: the unpenalised loss as a function of params; convex, as a linear model's is.
        params: where the fit of the free leaves starts; the penalised ones give only their shape.
        penalty: several strengths in it keep their ratios; how large they are makes no difference.

    Returns:
        The value for the penalty's first strength that is not zero, the only one of `l1` and most
        others, that of the first pattern of `by_path`.

    Raises:
        ValueError: if the penalty has no such strength (`l0`, `l_half`, `l2`, `l1_ball`), or the
            model is not linear: all-zero kernels in front of or behind a hidden layer have zero
            gradients, which says nothing of a strength.

    Source: Friedman, Hastie, Tibshirani, J. Stat. Softw. 33 (2010), section 2.5.

    >>> features, target = jnp.array([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]]), jnp.array([3.0, 1.0, 2.0])
    >>> def loss(params):
    ...     return jnp.mean((features @ params["kernel"] + params["bias"] - target) ** 2) / 2
    >>> params = {"bias": jnp.zeros(()), "kernel": jnp.zeros(2)}
    >>> round(l1jax.largest_strength(loss, params, l1jax.by_path({"kernel": l1jax.l1(1.0)})), 4)
    0.6667
    """
    leaves, treedef = jax.tree.flatten(params)
    if any(isinstance(leaf, Tracer) for leaf in leaves):
        raise ValueError(
            "`params` must be concrete arrays, not traced ones; call `largest_strength` outside `jit`."
        )
    penalties = leaf_penalties(penalty, params)
    for leaf_penalty in penalties:
        _refuse_penalty(leaf_penalty)
    first = first_strength(penalty)
    start = treedef.unflatten(
        [
            leaf if p is None else jnp.zeros_like(leaf)
            for p, leaf in zip(penalties, leaves, strict=True)
        ]
    )
    fitted = _fit_free(loss, start, penalties)
    _refuse_concave(loss, fitted)
    grads = jax.grad(loss)(fitted)
    if not jnp.isfinite(norm(grads)):
        raise ValueError("`loss` must have a finite gradient where the penalised leaves are zero.")

    penalised = []
    for (path, grad), leaf_penalty in zip(
        jax.tree_util.tree_leaves_with_path(grads), penalties, strict=True
    ):
        if leaf_penalty is not None:
            if not jnp.any(grad != 0):
                raise ValueError(
                    f"`loss` must be a linear model's, but the gradient of {path_name(path) or 'the array'} is zero "
                    f"where the penalised leaves are zero, as it is next to a hidden layer; {_REMEDY}."
                )
            penalised.append((leaf_penalty, grad))

    @jax.jit
    def excess(scale: Array) -> Array:
        return norm(
            [scaled(p, scale).distance(jnp.zeros_like(grad), grad) for p, grad in penalised]
        )

    return float(_threshold(lambda scale: float(excess(scale)) == 0)) * first


def _refuse_penalty(penalty: Any) -> None:
    parts = penalty.parts or (L2(0.0),) if isinstance(penalty, SumOf) else (penalty,)
    for part in parts:
        if isinstance(part, L0 | LHalf | L2 | L1Ball):
            why = {
                L2: "gives no zeros at any strength",
                L1Ball: "has a radius, no strength",
            }.get(type(part), "has a stationary point at zero for any strength")
            raise ValueError(f"`penalty` has {type(part).__name__}, which {why}; {_REMEDY}.")


def first_strength(penalty: Penalty) -> float:
    """The penalty's first strength that is not zero, which `largest_strength` is a value for.

    Raises:
        ValueError: if there is none.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(penalty):
        if getattr(path[-1], "name", "").endswith("strength") and float(leaf) > 0:
            return float(leaf)
    raise ValueError(
        "`penalty` must have a strength greater than 0: it says which ratios the strengths keep."
    )


def _fit_free(
    loss: Callable[[PyTree], Array], params: PyTree, penalties: list[Penalty | None]
) -> PyTree:
    """Minimise the loss over the leaves without a penalty, by Newton steps halved until the gradient falls."""
    leaves, treedef = jax.tree.flatten(params)
    free, unravel = ravel_pytree(
        [jnp.asarray(leaf) for p, leaf in zip(penalties, leaves, strict=True) if p is None]
    )
    free = free.astype(free.dtype)  # not weakly typed any more

    def with_free(vector: Array) -> PyTree:
        rest = iter(unravel(vector))
        return treedef.unflatten(
            [next(rest) if p is None else leaf for p, leaf in zip(penalties, leaves, strict=True)]
        )

    if not free.size:
        return params
    grad = jax.grad(lambda vector: loss(with_free(vector)))

    @jax.jit
    def newton(vector: Array) -> tuple[Array, Array]:
        g, curvature = jax.linearize(grad, vector)
        return jax.scipy.sparse.linalg.cg(curvature, -g, tol=1e-10, maxiter=500)[
            0
        ], jnp.linalg.norm(g)

    size_at = jax.jit(lambda vector: jnp.linalg.norm(grad(vector)))
    start = size_at(free)
    for _ in range(100):
        direction, size = newton(free)
        moves = (free + direction / 2**halvings for halvings in range(12))
        better = next((move for move in moves if size_at(move) < size), None)
        if better is None:
            break
        free = better
    params = with_free(free)
    size, scale = size_at(free), jnp.maximum(start, norm(jax.grad(loss)(params)))
    if not size <= jnp.sqrt(jnp.finfo(free.dtype).eps) * scale:
        raise ValueError(
            f"`loss` must have a minimum over the leaves without a penalty; its gradient there stays at {size:.1e}. "
            f"Penalise them, or {_REMEDY}."
        )
    return params


def _refuse_concave(loss: Callable[[PyTree], Array], params: PyTree) -> None:
    """Refuse a loss with a direction of negative curvature, found by Lanczos' iteration."""
    point, unravel = ravel_pytree(params)
    _, curvature = jax.linearize(jax.grad(lambda vector: loss(unravel(vector))), point)
    curvature = jax.jit(curvature)
    basis = [np.random.default_rng(0).normal(size=point.size)]
    basis[0] /= np.linalg.norm(basis[0])
    images: list[Float[np.ndarray, " n"]] = []
    for _ in range(min(point.size, 30)):
        images.append(np.asarray(curvature(jnp.asarray(basis[-1], point.dtype)), np.float64))
        rest = images[-1]
        for _ in range(2):
            rest = rest - np.stack(basis).T @ (np.stack(basis) @ rest)
        if np.linalg.norm(rest) <= 1e-6 * np.linalg.norm(images[-1]):
            break
        basis.append(rest / np.linalg.norm(rest))
    curvatures = np.linalg.eigvalsh(np.stack(basis[: len(images)]) @ np.stack(images).T)
    if curvatures[0] < -np.sqrt(jnp.finfo(point.dtype).eps) * np.abs(curvatures).max():
        raise ValueError(
            f"`loss` must be convex, as a linear model's is, but it curves downwards; {_REMEDY}."
        )


def _threshold(is_zero: Callable[[Any], bool]) -> Any:
    """The smallest floating-point number from which on `is_zero`; 0 if it always is."""
    dtype = jnp.zeros((), float).dtype.type
    high = dtype(1)
    while not is_zero(high):
        high *= dtype(2)
        if not high < 1e30:
            raise ValueError(
                "`penalty` must penalise every entry of its leaves; a weight of 0 frees an entry."
            )
    low = high / dtype(2)
    while is_zero(low):
        if low < 1e-30:
            return dtype(0)
        high, low = low, low / dtype(2)
    while low < (middle := (low + high) / dtype(2)) < high:
        low, high = (low, middle) if is_zero(middle) else (middle, high)
    return high

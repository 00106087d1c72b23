"""Sparsity without a prox: on the factors of a product, weight decay acts like L1."""

import functools
import operator
from collections.abc import Callable, Hashable
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from l1jax.annotations import Array, ArrayLike, Float, PyTree
from l1jax.penalties import Groups, group_axes, path_name, select_leaves
from l1jax.penalties.groups import Blocks, as_groups
from l1jax.penalties.numerics import Leaf, upcast
from l1jax.transforms.floating_leaves import as_array
from l1jax.transforms.leaves import select_floating_leaves


class Factors(NamedTuple):
    """The factors of one array w in a factorised tree: w is `weight` times all `gates`."""

    weight: Float[Array, "*shape"]
    gates: tuple[Float[Array, "..."], ...]  # like the weight, or of length 1 along a group's axes


class Merge(Protocol):
    """The function from factors to parameters."""

    def __call__(self, factors: PyTree, threshold: ArrayLike = 0.0) -> PyTree:
        """Multiply the factors; products of at most `threshold` in size become exactly 0."""
        ...


class Reparametrisation(NamedTuple):
    """Two functions between parameters and their factors, and the ridge that makes them sparse.

    Train the factors on loss(merge(factors)) + λ·ridge(factors) with any optimiser. The products of
    its minimisers are the minimisers of loss + λ·(the penalty that the factory names).
    """

    split: Callable[[PyTree], PyTree]
    """params → balanced factors, whose product they are."""
    merge: Merge
    """factors → params."""
    ridge: Callable[[PyTree], Float[Array, ""]]
    """factors → Σ (‖weight‖² + Σ ‖gate‖²)/depth over the factorised leaves."""


def hadamard(pattern: str = "", depth: int = 2) -> Reparametrisation:
    """Write w as an entrywise product of `depth` factors, w = u ⊙ v for 2.

    The least ridge among all factors with the product w is Σ |wᵢ|^(2/depth), which is ‖w‖₁ for
    depth 2 and not convex for greater depths. Training converges to factors whose product is a
    stationary point of loss + λ Σ |wᵢ|^(2/depth). Gradient descent approaches zeros but does not
    reach them: `merge` with a small threshold, such as 1e-6, makes them exact. An entry whose
    factors are all 0 stays 0.

    Args:
        pattern: regular expression, searched in the leaf's path: which leaves are factorised.
        depth: number of factors, at least 2.

    Raises:
        ValueError: if `depth` is below 2 or `pattern` no regular expression; from `split` if the
            pattern matches no leaf.

    Source: Hoff, Lasso, fractional norm and structured sparsity estimation using a Hadamard product
    parametrization, Comput. Stat. Data Anal. 115 (2017).

    >>> import jax.numpy as jnp, l1jax
    >>> split, merge, ridge = l1jax.hadamard("kernel")
    >>> factors = split({"kernel": jnp.array([4.0, -1.0]), "bias": jnp.array([3.0])})
    >>> factors["kernel"].weight.tolist(), factors["kernel"].gates[0].tolist()
    ([2.0, -1.0], [2.0, 1.0])
    >>> float(ridge(factors))
    5.0
    >>> merge(factors, threshold=1.0)["kernel"].tolist()
    [4.0, 0.0]
    """

    def factors(w: Array, path: str) -> Factors:
        root = (jnp.abs(upcast(w)) ** (1 / depth)).astype(w.dtype)
        return Factors(jnp.sign(w) * root, (root,) * (depth - 1))

    return _reparametrisation(factors, pattern, depth)


def d_gating(axis: Groups | list[int], pattern: str = "", depth: int = 2) -> Reparametrisation:
    """Write each group of w as a weight times `depth` − 1 scalar gates.

    The least ridge among all factors with the product w is Σ ‖w_group‖₂^(2/depth), which is the
    group lasso for depth 2 (without the factor √size of `group_l1`) and not convex for greater
    depths. Training converges to factors whose product is a stationary point of loss + λ times
    that. As with `hadamard`, exact zeros come from the threshold of `merge`.

    Args:
        axis: the axes to reduce over, as in `group_l1`: one group per remaining index; or
            `output_channels()`, `input_channels()`, `scales()`.
        pattern: regular expression, searched in the leaf's path: which leaves are factorised.
        depth: number of factors, at least 2.

    Raises:
        ValueError: for the reasons of `hadamard`; if `axis` is `kernel_blocks`; and from `split` if
            a leaf does not have the axes.

    Source: Kolb, Frost, Bischl, Rügamer, Differentiable sparsity via D-gating: simple and versatile
    structured penalization, NeurIPS 2025.

    >>> import jax.numpy as jnp, l1jax
    >>> split, merge, ridge = l1jax.d_gating(axis=0)
    >>> factors = split(jnp.array([[3.0], [4.0]]))  # one group of norm 5
    >>> factors.gates[0].shape, round(float(ridge(factors)), 5)
    ((1, 1), 5.0)
    >>> merge(factors).round(5).tolist()
    [[3.0], [4.0]]
    """
    groups = as_groups(axis)
    if isinstance(groups, Blocks):
        raise ValueError(f"`axis` (={groups}) must name whole axes, which a gate broadcasts over.")

    def factors(w: Array, path: str) -> Factors:
        axes = group_axes(groups, w.shape, path)
        norm = jnp.sqrt(jnp.sum(jnp.square(upcast(w)), axes, keepdims=True))
        gate = norm ** (1 / depth)
        others = gate ** (depth - 1)
        weight = upcast(w) / jnp.where(norm == 0, 1, others)
        return Factors(weight.astype(w.dtype), (gate.astype(w.dtype),) * (depth - 1))

    return _reparametrisation(factors, pattern, depth)


def _reparametrisation(
    factors: Callable[[Array, str], Factors], pattern: str, depth: int
) -> Reparametrisation:
    """Put together the functions of a reparametrisation.

    `factors` splits one array, whose path it needs for errors.
    """
    if depth < 2:
        raise ValueError(
            f"`depth` (={depth}) must be at least 2: one factor is the parameter itself."
        )
    select_leaves((), pattern)  # raises if it is no regular expression

    def split(params: PyTree) -> PyTree:
        def split_leaf(path: tuple[Hashable, ...], w: Leaf, is_selected: bool) -> Leaf | Factors:
            if not is_selected:
                return w
            return factors(as_array(w), path_name(path) or "the array")

        selected = select_floating_leaves(params, pattern)
        return jax.tree_util.tree_map_with_path(split_leaf, params, selected)

    def merge(factors: PyTree, threshold: ArrayLike = 0.0) -> PyTree:
        def merge_leaf(leaf: Leaf | Factors) -> Leaf:
            if not isinstance(leaf, Factors):
                return leaf
            w = functools.reduce(operator.mul, map(upcast, leaf.gates), upcast(leaf.weight))
            w = jnp.where(jnp.abs(w) <= threshold, jnp.zeros_like(w), w)
            return w.astype(leaf.weight.dtype)

        return jax.tree.map(merge_leaf, factors, is_leaf=_is_factors)

    def ridge(tree: PyTree) -> Float[Array, ""]:
        nodes = jax.tree.leaves(tree, is_leaf=_is_factors)
        arrays = jax.tree.leaves([node for node in nodes if _is_factors(node)])
        return jnp.asarray(sum(jnp.sum(jnp.square(upcast(x))) for x in arrays) / depth, float)

    return Reparametrisation(split, merge, ridge)


def _is_factors(node: PyTree) -> bool:
    return isinstance(node, Factors)

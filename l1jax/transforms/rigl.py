"""RigL, a baseline to compare L1 with: dynamic sparse training without any hook in the train loop."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, PyTree

from l1jax.transforms.floating_leaves import on_floating_leaves
from l1jax.transforms.leaves import require_params_like, select_floating_leaves
from l1jax.transforms.pruning import largest, map_masked, mask_leaves, zero_outside

DENSITIES = ("uniform", "erdos_renyi", "erdos_renyi_kernel")


class RiglState(NamedTuple):
    """State of `rigl`."""

    count: Int[Array, ""]  # updates applied so far
    mask: PyTree  # True where an entry lives; None for leaves that stay dense
    inner: optax.OptState


def rigl(
    inner: optax.GradientTransformation,
    sparsity: float,
    every: int = 100,
    drop_fraction: float = 0.3,
    stop: int = 75_000,
    *,
    densities: str = "uniform",
    pattern: str = "",
    seed: int = 0,
) -> optax.GradientTransformation:
    """Train with a fixed share of zeros, and move the zeros to where the gradient is small.

    Starts from a random mask and keeps each leaf's share of zeros. After every so many updates
    the entries of least |p|, a share drop_fraction·½(1 + cos(π·count/stop)) of the living, die, and as many
    dead ones of greatest |gradient| come to life at zero; there is no gradient step at those updates.
    The gradient of a zero entry is the dense one that training computes anyway. `inner` sees
    gradients that are zero outside the mask. Converges to a stationary point of the loss among the
    parameters with the last mask.

    Args:
        inner: the optimiser to wrap, such as `optax.adam(1e-3)`.
        sparsity: share of zeros over all sparse leaves, in [0, 1).
        every: updates between two changes of the mask.
        drop_fraction: share of the living entries that the first change replaces, in [0, 1].
        stop: number of updates after which the mask is fixed, in the paper ¾ of the training.
        densities: how the living entries are spread: "uniform", the same share in every leaf;
            "erdos_renyi", in proportion to (in + out)/(in·out), the last two axes; or
            "erdos_renyi_kernel", to Σ axes/Π axes. Leaves whose share would exceed 1 are dense.
        pattern: regular expression, searched in the leaf's path: which leaves are sparse.
        seed: of the first mask.

    Raises:
        ValueError: if an argument is out of its range; from `init` if the pattern matches no leaf;
            from `update` without `params`.

    Source: Evci, Gale, Menick, Castro, Elsen, Rigging the lottery, ICML 2020, algorithm 1 and section 3
    (densities; Erdős–Rényi: Mocanu et al., Nature Communications 9 (2018)).

    >>> import jax.numpy as jnp, l1jax, optax
    >>> tx, params = l1jax.rigl(optax.sgd(0.1), sparsity=0.75), jnp.ones(8)
    >>> updates, _ = tx.update(jnp.ones(8), tx.init(params), params)
    >>> [round(x, 1) for x in jnp.sort(optax.apply_updates(params, updates)).tolist()]
    [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.9, 0.9]
    """
    if not 0 <= sparsity < 1:
        raise ValueError(
            f"`sparsity` (={sparsity}) must be a share of zeros of at least 0 and below 1."
        )
    if not 0 <= drop_fraction <= 1:
        raise ValueError(f"`drop_fraction` (={drop_fraction}) must be a share from 0 to 1.")
    if every < 1 or stop < 1:
        raise ValueError(f"`every` (={every}) and `stop` (={stop}) must be at least 1 update.")
    if densities not in DENSITIES:
        raise ValueError(f"`densities` (={densities!r}) must be one of {', '.join(DENSITIES)}.")

    def init(params: optax.Params) -> RiglState:
        full = mask_leaves(params, pattern)
        leaves, treedef = jax.tree.flatten(full)
        keys = jax.random.split(jax.random.key(seed), max(len(leaves), 1))
        shares = _shares([leaf.shape for leaf in leaves], sparsity, densities)
        masks = [
            leaf
            & largest(jax.random.uniform(key, leaf.shape), jnp.asarray(round(share * leaf.size)))
            for key, leaf, share in zip(keys, leaves, shares, strict=False)
        ]
        return RiglState(jnp.zeros([], jnp.int32), treedef.unflatten(masks), inner.init(params))

    def rewire(count: Array, mask: Array, p: Array, g: Array) -> Array:
        """The mask without its smallest entries, filled up with the largest gradients outside."""
        living = jnp.sum(mask)
        fraction = drop_fraction / 2 * (1 + jnp.cos(jnp.pi * count / stop))
        kept = largest(
            jnp.where(mask, jnp.abs(p), -1.0),
            living - jnp.floor(fraction * living).astype(living.dtype),
        )
        return kept | largest(jnp.where(kept, -1.0, jnp.abs(g)), living - jnp.sum(kept))

    def update(
        updates: optax.Updates, state: PyTree, params: optax.Params | None = None
    ) -> tuple[optax.Updates, RiglState]:
        params = require_params_like(params, updates, "the smallest of them lose their place")
        sparse = map_masked(
            lambda mask, g: jnp.where(mask, g, jnp.zeros_like(g)), state.mask, updates
        )
        inner_updates, inner_state = inner.update(sparse, state.inner, params)
        change = (state.count > 0) & (state.count < stop) & (state.count % every == 0)
        mask = jax.lax.cond(
            change,
            lambda: map_masked(
                lambda m, _, p, g: rewire(state.count, m, p, g),
                state.mask,
                state.mask,
                params,
                updates,
            ),
            lambda: state.mask,
        )
        inner_updates = jax.tree.map(
            lambda u: jnp.where(change, jnp.zeros_like(u), u), inner_updates
        )
        alive = jax.tree.map(jnp.logical_and, mask, state.mask)  # what comes to life starts at zero
        updates = map_masked(zero_outside, alive, inner_updates, params)
        return updates, state._replace(
            count=optax.safe_increment(state.count), mask=mask, inner=inner_state
        )

    return on_floating_leaves(
        optax.GradientTransformation(init, update),
        lambda params: select_floating_leaves(params, pattern),
    )


def _shares(shapes: list[tuple[int, ...]], sparsity: float, densities: str) -> list[float]:
    """The share of living entries in each leaf; those of Erdős and Rényi are as near to the total as leaves allow."""
    if densities == "uniform":
        return [1 - sparsity] * len(shapes)
    axes = [shape[-2:] if densities == "erdos_renyi" else shape for shape in shapes]
    sizes, shares = [math.prod(shape) for shape in shapes], [1.0] * len(shapes)
    raw = [(sum(lengths) or 1) / max(math.prod(lengths), 1) for lengths in axes]
    sparse = [i for i, size in enumerate(sizes) if size]
    while sparse:
        dense = sum(sizes) - sum(sizes[i] for i in sparse)
        factor = ((1 - sparsity) * sum(sizes) - dense) / sum(raw[i] * sizes[i] for i in sparse)
        if all(factor * raw[i] <= 1 for i in sparse):
            for i in sparse:
                shares[i] = factor * raw[i]
            break
        sparse = [i for i in sparse if factor * raw[i] <= 1]
    return shares

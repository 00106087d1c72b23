"""RigL, a baseline to compare L1 with: dynamic sparse training as an optax transformation."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from l1jax.annotations import Array, Int, PyTree
from l1jax.transforms.floating_leaves import on_floating_leaves
from l1jax.transforms.largest import largest
from l1jax.transforms.leaves import require_params_like, select_floating_leaves
from l1jax.transforms.pruning import map_masked, mask_leaves, zero_outside

DENSITIES = ("uniform", "erdos_renyi", "erdos_renyi_kernel")


class RiglState(NamedTuple):
    """State of `rigl`."""

    count: Int[Array, ""]  # updates applied so far
    mask: PyTree  # True where an entry may be non-zero; None for leaves that stay dense
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

    It starts from a random mask and keeps each leaf's share of zeros. After every so many updates,
    of the entries in the mask a share drop_fraction·½(1 + cos(π·count/stop)) with the least |p|
    leaves it, and as many entries outside with the greatest |gradient| enter it at zero; there is
    no gradient step at those updates. The gradient of a zero entry is the dense one, which training
    computes anyway. `inner` sees gradients that are zero outside the mask. It converges to a
    stationary point of the loss among the parameters with the last mask.

    Args:
        inner: the optimiser to wrap, such as `optax.adam(1e-3)`.
        sparsity: share of zeros over all sparse leaves, in [0, 1).
        every: updates between two changes of the mask.
        drop_fraction: share of the entries in the mask that the first change replaces, in [0, 1].
        stop: number of updates after which the mask is fixed, in the paper ¾ of the training.
        densities: how the entries in the mask are spread over the leaves: "uniform", the same share
            in every leaf; "erdos_renyi", a share in proportion to (in + out)/(in·out) of the last
            two axes; or "erdos_renyi_kernel", in proportion to Σ axes/Π axes. Leaves whose share
            would exceed 1 are dense.
        pattern: regular expression, searched in the leaf's path: which leaves are sparse.
        seed: the seed of the first mask.

    Raises:
        ValueError: if an argument is out of its range; from `init` if the pattern matches no leaf;
            from `update` without `params`.

    Source: Evci, Gale, Menick, Castro, Elsen, Rigging the lottery, ICML 2020, algorithm 1 and
    section 3 (densities; Erdős–Rényi: Mocanu et al., Nature Communications 9 (2018)).

    >>> import jax.numpy as jnp, l1jax, optax
    >>> tx = l1jax.rigl(optax.sgd(0.1), sparsity=0.75)
    >>> params = jnp.ones(8)
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
        masks = []
        for key, leaf, share in zip(keys, leaves, shares, strict=False):
            count = jnp.asarray(round(share * leaf.size))
            masks.append(leaf & largest(jax.random.uniform(key, leaf.shape), count))
        return RiglState(jnp.zeros([], jnp.int32), treedef.unflatten(masks), inner.init(params))

    def rewire(count: Array, mask: Array, p: Array, g: Array) -> Array:
        """Take the smallest entries out of a mask, and in the largest gradients outside."""
        num_entries = jnp.sum(mask)
        fraction = drop_fraction / 2 * (1 + jnp.cos(jnp.pi * count / stop))
        num_dropped = jnp.floor(fraction * num_entries).astype(num_entries.dtype)
        remaining = largest(jnp.where(mask, jnp.abs(p), -1.0), num_entries - num_dropped)
        candidates = jnp.where(remaining, -1.0, jnp.abs(g))
        return remaining | largest(candidates, num_entries - jnp.sum(remaining))

    def update(
        updates: optax.Updates, state: PyTree, params: optax.Params | None = None
    ) -> tuple[optax.Updates, RiglState]:
        params = require_params_like(params, updates, "the smallest of them lose their place")
        sparse_grads = map_masked(
            lambda mask, g: jnp.where(mask, g, jnp.zeros_like(g)), state.mask, updates
        )
        inner_updates, inner_state = inner.update(sparse_grads, state.inner, params)
        changes = (state.count > 0) & (state.count < stop) & (state.count % every == 0)

        def rewire_leaf(mask: Array, _: Array, p: Array, g: Array) -> Array:
            return rewire(state.count, mask, p, g)

        mask = jax.lax.cond(
            changes,
            lambda: map_masked(rewire_leaf, state.mask, state.mask, params, updates),
            lambda: state.mask,
        )
        inner_updates = jax.tree.map(
            lambda u: jnp.where(changes, jnp.zeros_like(u), u), inner_updates
        )
        # An entry that enters the mask starts at zero, so it has no update yet.
        in_both = jax.tree.map(jnp.logical_and, mask, state.mask)
        new_updates = map_masked(zero_outside, in_both, inner_updates, params)
        count = optax.safe_increment(state.count)
        return new_updates, state._replace(count=count, mask=mask, inner=inner_state)

    return on_floating_leaves(
        optax.GradientTransformation(init, update),
        lambda params: select_floating_leaves(params, pattern),
    )


def _shares(shapes: list[tuple[int, ...]], sparsity: float, densities: str) -> list[float]:
    """Return the share of each leaf's entries that is in the mask.

    Those of Erdős and Rényi are as near to the given total as the leaves allow.
    """
    if densities == "uniform":
        return [1 - sparsity] * len(shapes)
    axes = shapes
    if densities == "erdos_renyi":
        axes = [shape[-2:] for shape in shapes]
    sizes = [math.prod(shape) for shape in shapes]
    shares = [1.0] * len(shapes)
    proportions = [(sum(lengths) or 1) / max(math.prod(lengths), 1) for lengths in axes]
    sparse = [i for i, size in enumerate(sizes) if size]
    while sparse:
        num_dense = sum(sizes) - sum(sizes[i] for i in sparse)
        num_left = (1 - sparsity) * sum(sizes) - num_dense
        factor = num_left / sum(proportions[i] * sizes[i] for i in sparse)
        if all(factor * proportions[i] <= 1 for i in sparse):
            for i in sparse:
                shares[i] = factor * proportions[i]
            break
        sparse = [i for i in sparse if factor * proportions[i] <= 1]
    return shares

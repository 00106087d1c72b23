"""RigL, a baseline to compare L1 with: dynamic sparse training without any hook in the train loop."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, PyTree

from l1jax.transforms.leaves import required
from l1jax.transforms.pruning import largest, map_masked, mask_leaves, zero_outside


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
    pattern: str = "",
    seed: int = 0,
) -> optax.GradientTransformation:
    """Train with a fixed share of zeros, and move the zeros to where the gradient is small.

    Starts from a random mask with the same share of zeros in every leaf. After every so many updates
    the entries of least |p|, a share drop_fraction·½(1 + cos(π·count/stop)) of the living, die, and as many
    dead ones of greatest |gradient| come to life at zero; there is no gradient step at those updates.
    The gradient of a zero entry is the dense one that training computes anyway. `inner` sees
    gradients that are zero outside the mask. Converges to a stationary point of the loss among the
    parameters with the last mask.

    Args:
        inner: the optimiser to wrap, such as `optax.adam(1e-3)`.
        sparsity: share of zeros in each leaf, in [0, 1).
        every: updates between two changes of the mask.
        drop_fraction: share of the living entries that the first change replaces, in [0, 1].
        stop: number of updates after which the mask is fixed, in the paper ¾ of the training.
        pattern: regular expression, searched in the leaf's path: which leaves are sparse.
        seed: of the first mask.

    Raises:
        ValueError: if an argument is out of its range; from `init` if the pattern matches no leaf;
            from `update` without `params`.

    Source: Evci, Gale, Menick, Castro, Elsen, Rigging the lottery, ICML 2020, algorithm 1.

    >>> import jax.numpy as jnp, l1jax, optax
    >>> tx, params = l1jax.rigl(optax.sgd(0.1), sparsity=0.75), jnp.ones(8)
    >>> updates, _ = tx.update(jnp.ones(8), tx.init(params), params)
    >>> [round(x, 1) for x in jnp.sort(optax.apply_updates(params, updates)).tolist()]
    [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.9, 0.9]
    """
    if not 0 <= sparsity < 1:
        raise ValueError(f"`sparsity` (={sparsity}) must be a share of zeros of at least 0 and below 1.")
    if not 0 <= drop_fraction <= 1:
        raise ValueError(f"`drop_fraction` (={drop_fraction}) must be a share from 0 to 1.")
    if every < 1 or stop < 1:
        raise ValueError(f"`every` (={every}) and `stop` (={stop}) must be at least 1 update.")

    def init(params: optax.Params) -> RiglState:
        full = mask_leaves(params, pattern)
        leaves, treedef = jax.tree.flatten(full)
        keys = jax.random.split(jax.random.key(seed), max(len(leaves), 1))
        masks = [
            largest(jax.random.uniform(key, leaf.shape), jnp.asarray(round((1 - sparsity) * leaf.size)))
            for key, leaf in zip(keys, leaves, strict=False)
        ]
        return RiglState(jnp.zeros([], jnp.int32), treedef.unflatten(masks), inner.init(params))

    def rewire(count: Array, mask: Array, p: Array, g: Array) -> Array:
        """The mask without its smallest entries, filled up with the largest gradients outside."""
        living = jnp.sum(mask)
        fraction = drop_fraction / 2 * (1 + jnp.cos(jnp.pi * count / stop))
        kept = largest(jnp.where(mask, jnp.abs(p), -1.0), living - jnp.floor(fraction * living).astype(living.dtype))
        return kept | largest(jnp.where(kept, -1.0, jnp.abs(g)), living - jnp.sum(kept))

    def update(
        updates: optax.Updates, state: Any, params: optax.Params | None = None
    ) -> tuple[optax.Updates, RiglState]:
        params = required(params, "the smallest of them lose their place")
        sparse = map_masked(lambda mask, g: jnp.where(mask, g, jnp.zeros_like(g)), state.mask, updates)
        inner_updates, inner_state = inner.update(sparse, state.inner, params)
        change = (state.count > 0) & (state.count < stop) & (state.count % every == 0)
        mask = jax.lax.cond(
            change,
            lambda: map_masked(
                lambda m, _, p, g: rewire(state.count, m, p, g), state.mask, state.mask, params, updates
            ),
            lambda: state.mask,
        )
        inner_updates = jax.tree.map(lambda u: jnp.where(change, jnp.zeros_like(u), u), inner_updates)
        alive = jax.tree.map(jnp.logical_and, mask, state.mask)  # what comes to life starts at zero
        updates = map_masked(zero_outside, alive, inner_updates, params)
        return updates, state._replace(count=optax.safe_increment(state.count), mask=mask, inner=inner_state)

    return optax.GradientTransformation(init, update)

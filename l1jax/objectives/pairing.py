"""Pair each image of a batch with its own noise, so that their ways cross less.

A permutation π is wanted that makes Σ|image_i − noise_π(i)|² least. The auction: every image that
has no noise yet bids for the one of the largest benefit (its inner product with the image) less
price, by as much as it is better than the second plus ε; the highest bidder gets it, its former
owner bids again, and the price is the bid. When all have one, the sum is at most n·ε from the best.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

PHASES = 4
"""Auctions, each with a smaller ε and the prices of the one before (ε-scaling)."""
SHRINKING = 6.0  # of ε from phase to phase
ROUNDS = 100  # of bids in each phase, at most, as a multiple of the batch


class Auction(NamedTuple):
    """An auction between two rounds of bids."""

    prices: Float[Array, " n"]
    noise_of: Int[Array, " n"]  # of each image; n for none
    image_of: Int[Array, " n"]  # that has each noise; n for none
    rounds: Int[Array, ""]


def optimal_pairing(
    image: Float[Array, "n *entries"], noise: Float[Array, "n *entries"], tolerance: float = 1e-4
) -> Int[Array, " n"]:
    """Find the noise of each image, such that the squared distances have the least mean.

    It can be compiled and mapped. With images that are not finite it is some permutation.

    Args:
        image: of the batch.
        noise: as many, of the same shape.
        tolerance: ε as a share of the range of the inner products: the mean of the inner products
            is that close to the best.

    Returns:
        The permutation: image i goes with noise[result[i]].

    Source: Tong et al., TMLR 2024, section 3.2 (minibatch optimal transport); Pooladian et al.,
        ICML 2023; Bertsekas, "Auction algorithms for network flow problems", 1992.
    """
    n = len(image)
    benefit = jnp.matmul(
        image.reshape(n, -1), noise.reshape(n, -1).T, precision=jax.lax.Precision.HIGHEST
    )
    benefit = benefit - jnp.min(benefit)
    smallest = tolerance * jnp.maximum(jnp.max(benefit), jnp.finfo(benefit.dtype).tiny)
    none = _like(jnp.full(n, n), benefit)
    prices = _like(jnp.zeros(n, benefit.dtype), benefit)
    auction = Auction(prices, none, none, _like(jnp.int32(0), benefit))
    for phase in reversed(range(PHASES)):
        fresh = Auction(auction.prices, none, none, _like(jnp.int32(0), benefit))
        auction = _hold(fresh, benefit, smallest * SHRINKING**phase)
    return _completed(auction.noise_of)


def _hold(auction: Auction, benefit: Float[Array, "n n"], epsilon: Float[Array, ""]) -> Auction:
    """Hold rounds of bids until every image has its noise."""
    n = len(benefit)

    def unfinished(auction: Auction) -> Bool[Array, ""]:
        return jnp.any(auction.noise_of == n) & (auction.rounds < ROUNDS * n)

    def bid(auction: Auction) -> Auction:
        images = jnp.arange(n)
        gain = benefit - auction.prices
        wanted = jnp.argmax(gain, axis=1)
        best = gain[images, wanted]
        second = jnp.max(gain.at[images, wanted].set(-jnp.inf), axis=1)
        increase = jnp.where(jnp.isfinite(second), best - second, 0) + epsilon
        offer = jnp.where(auction.noise_of == n, increase, 0)  # what is offered above the price
        highest = jnp.zeros_like(offer).at[wanted].max(offer)
        wins = (offer > 0) & (offer == highest[wanted])
        winner = jnp.full_like(wanted, n).at[wanted].min(jnp.where(wins, images, n))
        image_of = jnp.where(winner < n, winner, auction.image_of)
        noise_of = jnp.full_like(wanted, n).at[image_of].set(images, mode="drop")
        return Auction(auction.prices + highest, noise_of, image_of, auction.rounds + 1)

    return jax.lax.while_loop(unfinished, bid, auction)


def _completed(noise_of: Int[Array, " n"]) -> Int[Array, " n"]:
    """Give images without noise what is left, in order; there are none but after many rounds."""
    n = len(noise_of)
    is_free = jnp.all(noise_of[:, None] != jnp.arange(n), axis=0)
    free_first = jnp.argsort(~is_free, stable=True)
    rank = jnp.cumsum(noise_of == n) - 1
    return jnp.where(noise_of == n, free_first[rank], noise_of)


def _like(x: Array, benefit: Array) -> Array:
    """Let an array vary over the mapped axes over which the benefits do, as loops need it."""
    return jax.lax.pcast(x, tuple(jax.typeof(benefit).manual_axis_type.varying), to="varying")

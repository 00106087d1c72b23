"""Variational bounds of a likelihood; everything per image, in nats.

Every likelihood here is that of the stored pixels, whole numbers from 0 to 255, or of black and
white pixels drawn from them, so that bounds of different models of the same images can be compared:

- bernoulli: each pixel is white with probability pixel/255, drawn anew at every step (Burda,
  Grosse, Salakhutdinov, ICLR 2016, section 5); the likelihood is that of the black and white image;
- gaussian: the density of (pixel + u)/256 with u uniform in [0, 1), minus log 256 per entry, which
  bounds the likelihood of the pixel itself (Theis, van den Oord, Bethge, ICLR 2016, section 3.1);
- discretized_logistic: the logistic distribution's mass of the interval around the pixel, the first
  and the last one open to infinity (Salimans et al., ICLR 2017, section 2.1).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Shaped

Images = Float[Array, "batch height width channels"]
Outputs = Float[Array, "batch height width outputs"]
PerImage = Float[Array, " batch"]


class Likelihood(NamedTuple):
    """The distribution of an image given a decoder's outputs.

    Attributes:
        prepare: (pixels in 0…255, uniform numbers in [0, 1)) → the images that the likelihood is
            of, which are also the encoder's input.
        log_likelihood: (decoder's outputs, prepared images) → nats per image.
    """

    prepare: Callable[[Shaped[Array, "batch height width channels"], Images], Images]
    log_likelihood: Callable[[Outputs, Images], PerImage]


def _split(outputs: Outputs) -> tuple[Images, Images]:
    """Return location in [0, 1] and log-scale of each entry."""
    location, log_scale = jnp.split(outputs, 2, axis=-1)
    return jax.nn.sigmoid(location), log_scale


def _total(x: Images) -> PerImage:
    return jnp.sum(x, axis=(1, 2, 3))


def _bernoulli(logits: Outputs, x: Images) -> PerImage:
    """Compute Σ x log σ(a) + (1 − x) log(1 − σ(a))."""
    return _total(x * logits - jax.nn.softplus(logits))


def _gaussian(outputs: Outputs, x: Images) -> PerImage:
    """Compute Σ −½((x − m)/s)² − log s − ½ log 2π − log 256."""
    location, log_scale = _split(outputs)
    squared = jnp.square((x - location) * jnp.exp(-log_scale))
    return _total(-0.5 * squared - log_scale - 0.5 * np.log(2 * np.pi) - np.log(256))


def _discretized_logistic(outputs: Outputs, x: Images) -> PerImage:
    """Compute Σ log(σ(b) − σ(a)), with b and a the ends of the pixel's interval.

    log(σ(b) − σ(a)) = log(1 − e^(a − b)) − softplus(−b) − softplus(a) for a < b.
    """
    location, log_scale = _split(outputs)
    inverse = jnp.exp(-log_scale)
    centre = (x - location) * inverse
    half = inverse / (2 * 255)
    above = centre + half
    below = centre - half
    # Both branches of a `where` are differentiated: neither may overflow where the other is used.
    width = jnp.maximum(2 * half, 1e-7)
    inside = jnp.log(-jnp.expm1(-width)) - jax.nn.softplus(-above) - jax.nn.softplus(below)
    first = -jax.nn.softplus(-above)
    last = -jax.nn.softplus(below)
    return _total(jnp.where(x <= 0.25 / 255, first, jnp.where(x >= 254.75 / 255, last, inside)))


LIKELIHOODS = {
    "bernoulli": Likelihood(lambda pixels, u: (u < pixels / 255).astype(u.dtype), _bernoulli),
    "gaussian": Likelihood(lambda pixels, u: (pixels + u) / 256, _gaussian),
    "discretized_logistic": Likelihood(
        lambda pixels, u: pixels.astype(u.dtype) / 255, _discretized_logistic
    ),
}


def gaussian_kl(
    mean: Float[Array, "batch latent"], log_variance: Float[Array, "batch latent"]
) -> Float[Array, "batch latent"]:
    """Compute ½(μ² + σ² − 1 − log σ²), the divergence of N(μ, σ²) from N(0, 1).

    It is in nats per image and latent dimension.

    Source: Kingma, Welling, ICLR 2014, appendix B.
    """
    return 0.5 * (jnp.square(mean) + jnp.exp(log_variance) - 1 - log_variance)


def negative_elbo(
    log_likelihood: PerImage,
    kl: Float[Array, "batch latent"],
    beta: ArrayLike = 1.0,
    free_nats: float = 0.0,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Compute −E log p(x|z) + β Σ_j max(free_nats, E KL_j), nats per image, mean over the batch.

    Args:
        log_likelihood: log p(x|z) at one z per image.
        kl: divergence of each latent dimension.
        beta: weight of the divergence; 1 for the bound (Higgins et al., ICLR 2017).
        free_nats: divergence of a dimension up to which it costs nothing more than this (Kingma
            et al., NeurIPS 2016, appendix C.8).
        axis_name: mapped axis over which `kl` is averaged besides the batch, before the maximum.
    """
    mean_kl = jnp.mean(kl, axis=0)
    if free_nats:
        if axis_name is not None:
            mean_kl = jax.lax.pmean(mean_kl, axis_name)
        mean_kl = jnp.maximum(mean_kl, free_nats)
    return -jnp.mean(log_likelihood) + jnp.asarray(beta) * jnp.sum(mean_kl)


def log_weights(
    log_likelihood: Float[Array, "samples batch"],
    latents: Float[Array, "samples batch latent"],
    mean: Float[Array, "batch latent"],
    log_variance: Float[Array, "batch latent"],
) -> Float[Array, "samples batch"]:
    """Compute log p(x|z) + log p(z) − log q(z|x) at each draw of z, with the prior N(0, I).

    Args:
        log_likelihood: log p(x|z) of each draw.
        latents: the draws of z.
        mean: of q(z|x).
        log_variance: of q(z|x).
    """
    noise = (latents - mean) * jnp.exp(-0.5 * log_variance)
    log_ratio = 0.5 * (jnp.square(noise) + log_variance - jnp.square(latents))
    return log_likelihood + jnp.sum(log_ratio, axis=-1)


def importance_weighted_bound(weights: Float[Array, "samples batch"]) -> PerImage:
    """Compute the log of the mean weight, a lower bound on log p(x).

    Its expectation rises with the number of draws.

    Source: Burda, Grosse, Salakhutdinov, ICLR 2016, equation 8.
    """
    return jax.nn.logsumexp(weights, axis=0) - jnp.log(weights.shape[0])


def bits_per_dimension(
    nats: Shaped[Array, "..."], image_shape: tuple[int, int, int]
) -> Shaped[Array, "..."]:
    """Convert nats per image to bits per entry, one for each pixel and channel."""
    return nats / (np.prod(image_shape) * np.log(2))

"""Regularisation of networks: spectral normalisation, norms over activations, dropout."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from l1jax.models.network import AXIS, local_slice

Norm = Literal["none", "batch", "layer", "group"]
GROUP_SIZE = 16  # channels per group of group norm, as in table 3 of its paper


class SpectralNorm(nn.Module):
    """Divide a kernel by its largest singular value σ, with one power iteration per training pass.

    The kernel is read as a matrix, inputs × outputs. The vector `u`, one entry per output, is kept
    in `batch_stats`. σ depends on the kernel and `u` alone, and is the same in training and
    inference. A kernel of zeros stays zero in the forward pass, and its gradients are finite.

    The loss f does not change when the kernel W is scaled, as before batch norm, so L1 does not
    limit the network: ⟨∇f(W), W⟩ = 0 and stationarity, −∇f(W) ∈ λ∂‖W‖₁, imply λ‖W‖₁ = 0. The only
    stationary point is W = 0. Training reaches a balance between the penalty, which shrinks W, and
    the steps, which make it grow. The zeros therefore depend on the learning rate as much as on the
    strength: choose the strength by the zeros it gives, and compare strengths at one learning rate.

    Source: Miyato, Kataoka, Koyama, Yoshida, ICLR 2018, algorithm 1.
    """

    @nn.compact
    def __call__(self, kernel: Float[Array, "..."]) -> Float[Array, "..."]:
        """Normalise; in training, update `u` by one power iteration, the same on all devices."""
        matrix = kernel.reshape(-1, kernel.shape[-1])
        u = self.variable(
            "batch_stats", "u", lambda: _random_unit(self.make_rng("params"), matrix.shape[-1])
        )
        sigma, new_u = largest_singular_value(matrix, u.value)
        if self.is_mutable_collection("batch_stats") and not self.is_initializing():
            u.value = jax.lax.pmean(new_u, AXIS)  # equal already, but its type varies over devices
        return kernel / jnp.where(sigma > 0, sigma, 1)


def largest_singular_value(
    matrix: Float[Array, "inputs outputs"], u: Float[Array, " outputs"]
) -> tuple[Float[Array, ""], Float[Array, " outputs"]]:
    """Estimate σ by one power iteration from `u`; its gradient is that of vᵀWu at fixed v and u.

    Wu can be zero for a sparse kernel W; then the iteration starts from its largest column.

    Returns:
        σ = vᵀWu′ with v ∝ Wu and u′ ∝ Wᵀv, and u′; 0 and `u` for a matrix of zeros.
    """
    fixed = jax.lax.stop_gradient(matrix)
    product = _dot(fixed, u)
    largest_column = fixed[:, jnp.argmax(jnp.sum(jnp.abs(fixed), axis=0))]
    v = _unit(jnp.where(jnp.any(product != 0), product, largest_column))
    new_u = _unit(_dot(v, fixed))
    new_u = jnp.where(jnp.any(new_u != 0), new_u, u)
    return _dot(v, _dot(matrix, new_u)), new_u


class Dropout(nn.Module):
    """Set a share `rate` of the entries to zero in training and scale up the rest.

    The mask is drawn for the whole batch over all devices, from the stream "dropout", so that any
    number of devices drops the same entries.

    Raises:
        ValueError: in training, if the network was applied without a key.
    """

    rate: float

    @nn.compact
    def __call__(self, x: Float[Array, "batch ..."], train: bool) -> Float[Array, "batch ..."]:
        """Drop entries in training; do nothing in inference or at rate 0."""
        if not train or self.rate == 0:
            return x
        if not self.has_rng("dropout"):
            raise ValueError(
                "`key` (=None) must be a key where a network with `dropout` "
                f"(={self.rate}) is applied in training: pass apply(…, key=key), the same on every "
                "device."
            )
        global_shape = (x.shape[0] * jax.lax.axis_size(AXIS), *x.shape[1:])
        mask = jax.random.bernoulli(self.make_rng("dropout"), 1 - self.rate, global_shape)
        return jnp.where(local_slice(mask), x / (1 - self.rate), 0)


def batch_norm(train: bool, name: str, **options: Any) -> nn.BatchNorm:
    """Make a batch norm whose statistics are those of the whole batch, over all devices.

    Args:
        train: whether to use the batch's statistics rather than the running ones.
        name: name of the module.
        options: further fields of `flax.linen.BatchNorm`.
    """
    return nn.BatchNorm(
        use_running_average=not train,
        momentum=0.9,
        epsilon=1e-5,
        axis_name=AXIS,
        name=name,
        **options,
    )


def norm(kind: str, train: bool, name: str, **options: Any) -> Callable[[Array], Array]:
    """Make a norm over activations.

    Args:
        kind: "none" for the identity; "batch"; "layer", over each example; "group", over each
            example's groups of 16 channels, or one group if 16 does not divide the channels.
        train: whether batch norm uses the batch's statistics rather than the running ones.
        name: name of the module.
        options: further fields of the module.

    Raises:
        ValueError: if there is no norm of this kind.
    """

    def per_example(x: Float[Array, "batch ..."]) -> Float[Array, "batch ..."]:
        groups = 1
        if kind == "group" and x.shape[-1] % GROUP_SIZE == 0:
            groups = x.shape[-1] // GROUP_SIZE
        return nn.GroupNorm(num_groups=groups, epsilon=1e-5, name=name, **options)(x)

    match kind:
        case "none":
            return lambda x: x
        case "batch":
            return batch_norm(train, name, **options)
        case "layer" | "group":
            return per_example
    raise ValueError(f'`norm` (={kind!r}) must be one of "none", "batch", "layer", "group".')


def _dot(a: Array, b: Array) -> Array:
    return jnp.dot(a, b, precision="highest")


def _unit(x: Float[Array, " n"]) -> Float[Array, " n"]:
    length = jnp.sqrt(jnp.sum(jnp.square(x)))
    return x / jnp.where(length > 0, length, 1)


def _random_unit(key: Array, size: int) -> Float[Array, " {size}"]:
    return _unit(jax.random.normal(key, (size,)))

"""Regularisation of networks: spectral normalisation, norms over activations, dropout, DropPath."""

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
        return _drop(self, "dropout", self.rate, x, x.shape[1:], train)


class DropPath(nn.Module):
    """Set a residual block's branch to zero for a share `rate` of the examples in training.

    Such an example passes the block by its shortcut alone; the branch of the others is scaled up,
    so that its mean does not change. The mask is drawn as that of `Dropout` is.

    Raises:
        ValueError: in training, if the network was applied without a key.

    Source: Huang, Sun, Liu, Sedra, Weinberger, ECCV 2016, section 3, with the scale in training
        instead of inference.
    """

    rate: float

    @nn.compact
    def __call__(self, branch: Float[Array, "batch ..."], train: bool) -> Float[Array, "batch ..."]:
        """Drop the branch of some examples in training; do nothing in inference or at rate 0."""
        one_per_example = (1,) * (branch.ndim - 1)
        return _drop(self, "drop_path", self.rate, branch, one_per_example, train)


def drop_path_rates(last: float, blocks: int) -> tuple[float, ...]:
    """Return the rate of each block's `DropPath`: in proportion to the depth, up to `last`.

    Args:
        last: rate of the last block.
        blocks: how many there are.

    Source: Huang et al., ECCV 2016, equation 4.

    >>> drop_path_rates(0.5, 4)
    (0.125, 0.25, 0.375, 0.5)
    """
    return tuple(last * depth / blocks for depth in range(1, blocks + 1))


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


def _drop(
    module: Dropout | DropPath,
    field: str,
    rate: float,
    x: Float[Array, "batch ..."],
    mask_shape: tuple[Any, ...],
    train: bool,
) -> Float[Array, "batch ..."]:
    """Set what a random mask says to zero, and scale up the rest.

    Args:
        module: in whose compact method this is called, and whose stream the mask is drawn from.
        field: of the model's configuration that has the rate, for the error.
        rate: share that is set to zero.
        x: examples of this device.
        mask_shape: of one example's mask, which is broadcast to the example; the lengths of an
            export are symbols.
        train: whether anything is dropped at all.

    Raises:
        ValueError: if the network was applied without a key.
    """
    if not train or rate == 0:
        return x
    if not module.has_rng("dropout"):
        raise ValueError(
            f"`key` (=None) must be a key where a network with `{field}` (={rate}) is applied in "
            "training: pass apply(…, key=key), the same on every device."
        )
    global_shape = (x.shape[0] * jax.lax.axis_size(AXIS), *mask_shape)
    mask = jax.random.bernoulli(module.make_rng("dropout"), 1 - rate, global_shape)
    return jnp.where(local_slice(mask), x / (1 - rate), 0)


def _dot(a: Array, b: Array) -> Array:
    return jnp.dot(a, b, precision="highest")


def _unit(x: Float[Array, " n"]) -> Float[Array, " n"]:
    length = jnp.sqrt(jnp.sum(jnp.square(x)))
    return x / jnp.where(length > 0, length, 1)


def _random_unit(key: Array, size: int) -> Float[Array, " {size}"]:
    return _unit(jax.random.normal(key, (size,)))

"""Class-conditional parts of networks: labels that are appended, projected, or scale a norm."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from l1jax.models.linear import Dense, at_least_float32
from l1jax.models.network import Labels
from l1jax.models.regularisation import batch_norm


def one_hot(label: Labels, classes: int, dtype: Any = jnp.float32) -> Float[Array, "batch vector"]:
    """Turn labels into vectors of 0 and 1; those of several labels per example are concatenated.

    Args:
        label: the labels, one or several for each example.
        classes: how many there are.
        dtype: of the vectors.
    """
    return jax.nn.one_hot(label, classes, dtype=dtype).reshape(label.shape[0], -1)


def with_label(
    x: Float[Array, "batch ..."], label: Labels | None, classes: int
) -> Float[Array, "batch ..."]:
    """Append the one-hot label to the last axis, at every pixel of an image.

    Args:
        x: vectors or images.
        label: the label of each example; None only if there are no classes.
        classes: number of classes; with 0, `x` is returned unchanged.
    """
    if not classes:
        return x
    assert label is not None
    vector = one_hot(label, classes, x.dtype)
    vector = jnp.expand_dims(vector, tuple(range(1, x.ndim - 1)))
    vector = jnp.broadcast_to(vector, (*x.shape[:-1], vector.shape[-1]))
    return jnp.concatenate([x, vector], axis=-1)


def logits(
    features: Float[Array, "batch features"],
    label: Labels | None,
    classes: int,
    dense: Callable[..., Dense],
) -> Float[Array, " batch"]:
    """Compute one logit per example: w·φ + b, with classes plus the projection ⟨e(label), φ⟩.

    It must be called in a compact method, whose module gets the layers `logit` and `projection`. It
    computes in float32 at least.

    Args:
        features: the discriminator's last features φ.
        label: the label of each example; None only if there are no classes.
        classes: number of classes; 0 for an unconditional discriminator.
        dense: makes the dense layers, from the number of outputs and the keywords of `Dense`.

    Source: Miyato, Koyama, ICLR 2018, equation 4.
    """
    features = at_least_float32(features)
    logit = dense(1, name="logit", dtype=None)(features)[:, 0]
    if not classes:
        return logit
    assert label is not None
    embedding = dense(features.shape[-1], use_bias=False, name="projection", dtype=None)
    return logit + jnp.sum(embedding(one_hot(label, classes, features.dtype)) * features, axis=-1)


class ConditionalBatchNorm(nn.Module):
    """Batch norm whose scale and shift depend on the example's class.

    `scale` has the shape classes × channels. `output_channels()` groups it by channel; if a group
    is zero, the channel is constant for each class.

    Source: de Vries et al., NeurIPS 2017, section 3, with one γ and β per class as in Miyato,
        Koyama, ICLR 2018.
    """

    classes: int
    dtype: Any = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch h w c"], train: bool, label: Int[Array, " batch"]
    ) -> Float[Array, "batch h w c"]:
        """Normalise over the whole batch, then scale and shift each example by its class."""
        x = batch_norm(train, "moments", use_scale=False, use_bias=False, dtype=self.dtype)(x)
        shape = (self.classes, x.shape[-1])
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        example_scale = scale[label].astype(x.dtype)[:, None, None]
        example_bias = bias[label].astype(x.dtype)[:, None, None]
        return x * example_scale + example_bias

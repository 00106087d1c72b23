"""Class-conditional parts of networks: labels that are appended, projected, or scale a norm."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, ArrayLike, Float, Int

from l1jax.models.linear import Dense, at_least_float32
from l1jax.models.network import ClassWeights, Labels
from l1jax.models.regularisation import batch_norm


def one_hot(
    label: Labels | ClassWeights, classes: int, dtype: Any = jnp.float32
) -> Float[Array, "batch vector"]:
    """Turn labels into vectors of 0 and 1; those of several labels per example are concatenated.

    Args:
        label: the labels, one or several for each example; or the weights of the classes, which are
            the vectors.
        classes: how many there are.
        dtype: of the vectors.
    """
    if _are_weights(label):
        return label.astype(dtype)
    return jax.nn.one_hot(label, classes, dtype=dtype).reshape(label.shape[0], -1)


def no_class(label: Labels | ClassWeights, classes: int) -> Labels | ClassWeights:
    """Return labels, or weights, whose one-hot vectors are zero: those of none of the classes."""
    if _are_weights(label):
        return jnp.zeros_like(label)
    return jnp.full_like(label, classes)


def rows_of_labels(
    table: Float[Array, "classes channels"], label: Int[Array, " batch"] | ClassWeights
) -> Float[Array, "batch channels"]:
    """Look up the row of each example's class, or the mean of all rows with the classes' weights.

    The weights 0 and 1 give a class's row to the last bit.
    """
    if _are_weights(label):
        return jnp.matmul(label.astype(table.dtype), table, precision=jax.lax.Precision.HIGHEST)
    return table[label]


def class_path(
    start: ArrayLike, end: ArrayLike, frames: int, classes: int
) -> Float[Array, "*paths frames classes"]:
    """Move from one class to another in even steps of their weights, both included.

    A network that reads a one-hot label, or has a row of a table for each class, mixes what the two
    classes have there; the ends are the classes themselves.

    Args:
        start: the class at the start, or one for each path.
        end: the class at the end, or one for each path.
        frames: steps of a path, at least 2.
        classes: how many there are.

    >>> class_path(0, 2, 3, classes=3).tolist()
    [[1.0, 0.0, 0.0], [0.5, 0.0, 0.5], [0.0, 0.0, 1.0]]
    """
    first, last = jnp.broadcast_arrays(jnp.asarray(start), jnp.asarray(end))
    position = jnp.asarray([[frame / (frames - 1)] for frame in range(frames)])
    ends = [jax.nn.one_hot(label, classes)[..., None, :] for label in (first, last)]
    return (1 - position) * ends[0] + position * ends[1]


def _are_weights(label: Labels | ClassWeights) -> bool:
    return jnp.issubdtype(label.dtype, jnp.floating)


def with_label(
    x: Float[Array, "batch ..."], label: Labels | ClassWeights | None, classes: int
) -> Float[Array, "batch ..."]:
    """Append the one-hot label to the last axis, at every pixel of an image.

    Args:
        x: vectors or images.
        label: the label of each example, or weights of the classes, which are appended instead;
            None only if there are no classes.
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
        self,
        x: Float[Array, "batch h w c"],
        train: bool,
        label: Int[Array, " batch"] | ClassWeights,
    ) -> Float[Array, "batch h w c"]:
        """Normalise over the whole batch, then scale and shift each example by its class."""
        x = batch_norm(train, "moments", use_scale=False, use_bias=False, dtype=self.dtype)(x)
        shape = (self.classes, x.shape[-1])
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        example_scale = rows_of_labels(scale, label).astype(x.dtype)[:, None, None]
        example_bias = rows_of_labels(bias, label).astype(x.dtype)[:, None, None]
        return x * example_scale + example_bias

"""Layers of a decoder-only transformer: rotary attention, feed-forward units, blocks."""

import math
from typing import Any, Literal, NamedTuple

import jax
import jax.export
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from l1jax.models.linear import Dense, at_least_float32
from l1jax.models.regularisation import Dropout, DropPath

Activation = Literal["swiglu", "gelu"]
Heads = Float[Array, "batch length _heads head_size"]


class LayerCache(NamedTuple):
    """Keys, already rotated, and values of the last `context` tokens in one attention layer.

    The token at position t is in slot t mod context.
    """

    key: Float[Array, "batch heads head_size context"]
    value: Float[Array, "batch heads head_size context"]


class Shape(NamedTuple):
    """Sizes that the layers of one transformer share; see `l1jax.models.transformer`."""

    width: int
    layers: int
    heads: int
    key_value_heads: int
    hidden: int
    activation: Activation
    context: int
    rotary_base: float
    dropout: float
    drop_path: float  # of the block; of a whole transformer, of its last block
    dtype: Any
    head_size: int
    """Entries of one head's queries, keys and values."""


def rotate(x: Heads, positions: Int[Array, " length"], base: float) -> Heads:
    """Turn the pairs (x_i, x_{i + size/2}) of each head by the angle position·base^(−2i/size).

    The product of a rotated query and a rotated key depends on their distance alone.

    Args:
        x: queries or keys.
        positions: of the tokens, from the beginning of the sequence.
        base: the slowest pair turns by about 1/base radians per token.

    Source: Su et al., RoFormer, 2021, section 3.4.2, with pairs of halves as in GPT-NeoX.
    """
    half = x.shape[-1] // 2
    wide = at_least_float32(x)
    frequencies = base ** (-jnp.arange(half, dtype=wide.dtype) / half)
    angles = positions[:, None, None] * frequencies
    cosine = jnp.cos(angles)
    sine = jnp.sin(angles)
    first, second = jnp.split(wide, 2, axis=-1)
    turned = [first * cosine - second * sine, second * cosine + first * sine]
    return jnp.concatenate(turned, axis=-1).astype(x.dtype)


class SelfAttention(nn.Module):
    """Causal attention of a sequence to itself, with rotary positions; it has no parameters.

    A token attends to itself and to the `context` − 1 before it. With fewer heads of keys and
    values than of queries, neighbouring queries share them.
    """

    heads: int
    key_value_heads: int
    context: int
    rotary_base: float

    @nn.compact
    def __call__(
        self,
        query: Float[Array, "batch length _query"],
        key: Float[Array, "batch length keys"],
        value: Float[Array, "batch length keys"],
    ) -> Float[Array, "batch length _query"]:
        """Split the channels into heads, attend, and join the heads again."""
        length = query.shape[1]
        positions = jnp.arange(length)
        mask = None
        if jax.export.is_symbolic_dim(length) or length > self.context:
            mask = window_mask(positions, self.context)
        y = jax.nn.dot_product_attention(
            rotate(split_heads(query, self.heads), positions, self.rotary_base),
            rotate(split_heads(key, self.key_value_heads), positions, self.rotary_base),
            split_heads(value, self.key_value_heads),
            mask=mask,
            is_causal=mask is None,
        )
        return y.reshape(query.shape)


def split_heads(x: Float[Array, "batch length channels"], count: int) -> Heads:
    """Split the channels into as many heads."""
    return x.reshape(*x.shape[:2], count, x.shape[-1] // count)


def window_mask(positions: Int[Array, " length"], context: int) -> Bool[Array, "1 1 length length"]:
    """Return which tokens (columns) each token sees: itself and the `context` − 1 before it."""
    distance = positions[:, None] - positions
    return ((distance >= 0) & (distance < context))[None, None]


class Attention(nn.Module):
    """Causal attention over the last `context` tokens, with rotary positions and no biases.

    With fewer heads of keys and values than of queries, neighbouring queries share them.

    Source: Vaswani et al., NeurIPS 2017; Ainslie et al., EMNLP 2023 (grouped heads); Jiang et al.,
        Mistral 7B, 2023, section 2 (the sliding window).
    """

    shape: Shape

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch length width"],
        positions: Int[Array, " length"],
        cache: LayerCache | None,
    ) -> tuple[Float[Array, "batch length width"], LayerCache | None]:
        """Attend within `x`, or from its one token to the cache, which then holds it, too."""
        shape = self.shape
        base = shape.rotary_base

        def project(count: int, name: str) -> Float[Array, "batch length channels"]:
            return Dense(count * shape.head_size, False, dtype=shape.dtype, name=name)(x)

        query = project(shape.heads, "query")
        key = project(shape.key_value_heads, "key")
        value = project(shape.key_value_heads, "value")
        if cache is None:
            attend = SelfAttention(
                shape.heads, shape.key_value_heads, shape.context, base, name="heads"
            )
            y = attend(query, key, value)
        else:
            query = rotate(split_heads(query, shape.heads), positions, base)
            key = rotate(split_heads(key, shape.key_value_heads), positions, base)
            value = split_heads(value, shape.key_value_heads)
            cache = remember(cache, key, value, positions[0] % shape.context)
            is_filled = jnp.arange(shape.context) <= positions[0]  # all, from `context` on
            y = attend_to_cache(query, cache, is_filled).reshape(query.shape[0], 1, -1)
        return _residual_dense(shape, "output")(y), cache


def remember(cache: LayerCache, key: Heads, value: Heads, slot: Int[Array, ""]) -> LayerCache:
    """Write the key and the value of one token into a slot of the cache.

    Args:
        cache: of one layer.
        key: of the token.
        value: of the token.
        slot: from 0 on.
    """

    def written(kept: Array, token: Heads) -> Array:
        column = token.transpose(0, 2, 3, 1)
        return jax.lax.dynamic_update_slice_in_dim(kept, column, slot, axis=3)

    return LayerCache(written(cache.key, key), written(cache.value, value))


def attend_to_cache(query: Heads, cache: LayerCache, is_filled: Bool[Array, " context"]) -> Heads:
    """Attend from one token to what is in the cache.

    It computes what `jax.nn.dot_product_attention` does, which would transpose the whole cache for
    each token.

    Args:
        query: of one token; neighbouring heads share those of the cache if there are fewer.
        cache: in which the token's own key and value are, too.
        is_filled: the slots that hold a token.
    """
    batch, _, _, head_size = query.shape
    shared = query.reshape(batch, cache.key.shape[1], -1, head_size)
    wide = jnp.promote_types(query.dtype, jnp.float32)
    scores = jnp.einsum("bkqh,bkhs->bkqs", shared, cache.key, preferred_element_type=wide)
    scores /= math.sqrt(head_size)
    weights = jax.nn.softmax(jnp.where(is_filled, scores, -jnp.inf), axis=-1).astype(query.dtype)
    return jnp.einsum("bkqs,bkhs->bkqh", weights, cache.value).reshape(query.shape)


class FeedForward(nn.Module):
    """Two matrices and an activation between them, no biases.

    swiglu: down(silu(gate(x)) · up(x)). gelu: down(gelu(up(x))), with the exact Gaussian.

    Source: Shazeer, GLU Variants Improve Transformer, 2020; Hendrycks, Gimpel, 2016.
    """

    shape: Shape

    @nn.compact
    def __call__(self, x: Float[Array, "batch length width"]) -> Float[Array, "batch length width"]:
        """Transform each token on its own."""
        shape = self.shape
        units = Dense(shape.hidden, False, dtype=shape.dtype, name="up")(x)
        if shape.activation == "swiglu":
            gate = Dense(shape.hidden, False, dtype=shape.dtype, name="gate")(x)
            units = nn.silu(gate) * units
        else:
            units = nn.gelu(units, approximate=False)
        return _residual_dense(shape, "down")(units)


class Block(nn.Module):
    """Attention and feed-forward units, each behind a norm and added to its input.

    Source: Xiong et al., ICML 2020 (the norm before the layer); Zhang, Sennrich, NeurIPS 2019
        (RMSNorm).
    """

    shape: Shape

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch length width"],
        positions: Int[Array, " length"],
        train: bool,
        cache: LayerCache | None,
    ) -> tuple[Float[Array, "batch length width"], LayerCache | None]:
        """Return the residual stream after the block, and the cache with the token in it.

        A block without heads, or without units, leaves that part out.
        """
        shape = self.shape
        if shape.heads:
            y = rms_norm(shape, "attention_norm")(x)
            y, cache = Attention(shape, name="attention")(y, positions, cache)
            x += _dropped(shape, "attention", y, train).astype(x.dtype)
        if shape.hidden:
            y = rms_norm(shape, "feed_forward_norm")(x)
            y = FeedForward(shape, name="feed_forward")(y)
            x += _dropped(shape, "feed_forward", y, train).astype(x.dtype)
        return x, cache


def rms_norm(shape: Shape, name: str) -> nn.RMSNorm:
    """Make a norm x/√(mean x² + 10⁻⁶)·scale whose mean is computed in float32."""
    return nn.RMSNorm(epsilon=1e-6, dtype=shape.dtype, name=name)


def _dropped(
    shape: Shape, name: str, branch: Float[Array, "batch length width"], train: bool
) -> Float[Array, "batch length width"]:
    """Return what training leaves of a branch, entry by entry and then example by example."""
    kept = Dropout(shape.dropout, name=f"{name}_dropout")(branch, train)
    return DropPath(shape.drop_path, name=f"{name}_drop_path")(kept, train)


def _residual_dense(shape: Shape, name: str) -> Dense:
    """Make a layer whose output is added to the residual stream, 2·layers times in all.

    Its fan-in initialisation is divided by √(2·layers), so that the stream's variance does not grow
    with the depth (Radford et al., GPT-2, 2019, section 2.3).
    """
    scale = 1 / (2 * shape.layers)
    initializer = nn.initializers.variance_scaling(scale, "fan_in", "truncated_normal")
    return Dense(shape.width, False, initializer, dtype=shape.dtype, name=name)

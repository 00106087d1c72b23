"""Decoder-only transformers over tokens, with a cache of keys and values for generation."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int, Key, PyTree

from l1jax.models.linear import Dense, Precision, at_least_float32, checkpointed, compute_dtype
from l1jax.models.network import Labels, Network
from l1jax.models.regularisation import Dropout, drop_path_rates
from l1jax.models.summary import summarise
from l1jax.models.transformer_layers import Activation, Block, LayerCache, Shape, rms_norm


class Cache(NamedTuple):
    """What generation remembers of the tokens before.

    Attributes:
        position: number of tokens seen.
        layers: keys and values of the last `context` tokens, layer by layer.
    """

    position: Int[Array, ""]
    layers: tuple[LayerCache, ...]


class LanguageModel(NamedTuple):
    """A network that predicts the next token from those before it.

    network: its `apply` maps tokens, [batch, length] integers of any length, to logits
        [batch, length, vocabulary] of the token that follows each. A token sees itself and the
        `context` − 1 before it, layer by layer.
    vocabulary: number of different tokens.
    context: tokens that attention sees.
    init_cache: (batch size) → the cache before the first token.
    decode: (params, tokens of one position, cache) → (their logits [batch, vocabulary], cache).
        The logits equal those of `apply` at this position.
    """

    network: Network
    vocabulary: int
    context: int
    init_cache: Callable[[int], Cache]
    decode: Callable[
        [PyTree, Int[Array, " batch"], Cache], tuple[Float[Array, "batch vocabulary"], Cache]
    ]

    def summary(self) -> str:
        """Tabulate layers, output shapes, parameters and FLOPs of one context of tokens.

        The products of queries with keys, and of their weights with values, are not in the FLOPs.
        """
        return summarise(self.network.init, "generator")


class Transformer(nn.Module):
    """Embedding, blocks, norm, logits; see `transformer`."""

    shape: Shape
    vocabulary: int
    checkpointing: bool
    blocks: tuple[Shape, ...]

    @nn.compact
    def __call__(
        self,
        tokens: Int[Array, "batch length"],
        train: bool,
        cache: Cache | None = None,
    ) -> tuple[Float[Array, "batch length vocabulary"], Cache | None]:
        """Return logits in float32; with a cache, for one token, and the cache with it."""
        shape = self.shape
        initializer = nn.initializers.variance_scaling(1.0, "fan_in", "normal", out_axis=0)
        embed = nn.Embed(self.vocabulary, shape.width, embedding_init=initializer, name="embedding")
        x = Dropout(shape.dropout, name="embedding_dropout")(embed(tokens), train)
        if cache is None:
            positions = jnp.arange(tokens.shape[1])
            for i, own in enumerate(self.blocks):
                # The defaults bind this turn's: the backward pass calls the function again.
                def block(x: Array, own: Shape = own, name: str = f"block_{i}") -> Array:
                    return Block(own, name=name)(x, positions, train, None)[0]

                x = checkpointed(self, block, x, self.checkpointing)
        else:
            layers = []
            for i, (own, layer) in enumerate(zip(self.blocks, cache.layers, strict=True)):
                block_i = Block(own, name=f"block_{i}")
                x, updated = block_i(x, cache.position[None], train, layer)
                layers.append(updated)
            cache = Cache(cache.position + 1, tuple(layers))
        x = rms_norm(shape, "norm")(x)
        logits = Dense(self.vocabulary, False, dtype=shape.dtype, name="logits")(x)
        return at_least_float32(logits), cache


def transformer(
    vocabulary: int,
    width: int = 128,
    layers: int = 4,
    heads: int = 4,
    key_value_heads: int = 0,
    hidden: int = 0,
    activation: Activation = "swiglu",
    context: int = 128,
    rotary_base: float = 10_000.0,
    dropout: float = 0.0,
    dtype: Precision = "float32",
    checkpointing: bool = False,
    block_heads: tuple[int, ...] = (),
    block_hidden: tuple[int, ...] = (),
    drop_path: float = 0.0,
) -> LanguageModel:
    """Build a decoder-only transformer: RMSNorm before each layer, rotary positions, no biases.

    A token attends to itself and to the `context` − 1 tokens before it, also in sequences that are
    longer than the context. So generation goes on for as long as you like with a cache of
    `context` keys and values per layer, and computes what one pass over the whole sequence would.
    What lies further back still has an effect, through the layers below.

    Kernels are drawn from normal distributions truncated at two deviations, with the variance
    1/fan-in; those of the layers that write into the residual stream are smaller by √(2·layers).

    Args:
        vocabulary: number of different tokens.
        width: size of the residual stream.
        layers: number of blocks.
        heads: attention heads; they must divide `width`, and leave each an even size.
        key_value_heads: heads of keys and values, which must divide `heads`; 0 for as many.
        hidden: units of each feed-forward layer; 0 for 4·width with "gelu", and for 8/3·width,
            rounded up to a multiple of 8, with "swiglu", which has about as many parameters.
        activation: "swiglu" or "gelu".
        context: tokens that attention sees, the token itself included.
        rotary_base: base of the rotary positions' frequencies.
        dropout: share of the embedding's and of each layer's outputs that training sets to zero.
        dtype: "float32", or "bfloat16" to compute in bfloat16 with float32 parameters; the residual
            stream and the logits are float32 either way.
        checkpointing: whether the backward pass computes each block again, which takes less memory
            and more time.
        block_heads: attention heads of each block, as compaction leaves them; empty for `heads` in
            each. A head's size stays width/heads, and so does the number of heads that share keys.
        block_hidden: feed-forward units of each block; empty for `hidden` in each.
        drop_path: share of the windows that pass each unit of the last block by its shortcut alone
            in training, in [0, 1); see `DropPath`. That of the other blocks is smaller in
            proportion to their depth.

    Raises:
        ValueError: if the numbers of heads and the width do not fit, or there is not one number per
            block.

    Source: Vaswani et al., NeurIPS 2017, with the changes of Touvron et al., LLaMA, 2023,
        section 2.2.
    """
    key_value_heads = key_value_heads or heads
    _check_heads(width, heads, key_value_heads)
    compute = compute_dtype(dtype)
    head_size = width // heads
    shape = Shape(
        width=width,
        layers=layers,
        heads=heads,
        key_value_heads=key_value_heads,
        hidden=hidden or _default_hidden(width, activation),
        activation=activation,
        context=context,
        rotary_base=rotary_base,
        dropout=dropout,
        drop_path=drop_path,
        dtype=compute,
        head_size=head_size,
    )
    blocks = _block_shapes(shape, tuple(block_heads), tuple(block_hidden))
    return _language_model(Transformer(shape, vocabulary, checkpointing, blocks))


def _block_shapes(
    shape: Shape, block_heads: tuple[int, ...], block_hidden: tuple[int, ...]
) -> tuple[Shape, ...]:
    """Return the sizes of each block, and what it drops."""
    shared = shape.heads // shape.key_value_heads
    for name, sizes in (("block_heads", block_heads), ("block_hidden", block_hidden)):
        if sizes and (len(sizes) != shape.layers or min(sizes) < 0):
            raise ValueError(
                f"`{name}` (={sizes}) must be {shape.layers} numbers of at least 0, one for each "
                "of `layers`; or empty, for the same in each."
            )
    if any(heads % shared for heads in block_heads):
        raise ValueError(
            f"`block_heads` (={block_heads}) must be multiples of {shared}, the heads that share "
            "one head of keys and values."
        )
    sizes = zip(
        block_heads or (shape.heads,) * shape.layers,
        block_hidden or (shape.hidden,) * shape.layers,
        drop_path_rates(shape.drop_path, shape.layers),
        strict=True,
    )
    return tuple(
        shape._replace(
            heads=heads, key_value_heads=heads // shared, hidden=hidden, drop_path=drop_path
        )
        for heads, hidden, drop_path in sizes
    )


def _check_heads(width: int, heads: int, key_value_heads: int) -> None:
    if width % heads or (width // heads) % 2:
        raise ValueError(
            f"`width` (={width}) must be `heads` (={heads}) times an even size of each head: make "
            f"it a multiple of {2 * heads}, such as {-(-width // (2 * heads)) * 2 * heads}."
        )
    if heads % key_value_heads:
        raise ValueError(
            f"`key_value_heads` (={key_value_heads}) must divide `heads` (={heads}); give one that "
            "does, or 0 for as many."
        )


def _default_hidden(width: int, activation: Activation) -> int:
    if activation == "gelu":
        return 4 * width
    return math.ceil(8 * width / 24) * 8


def _language_model(module: Transformer) -> LanguageModel:
    """Make the pure functions of a module."""
    shape = module.shape

    def init(key: Key[Array, ""]) -> tuple[PyTree, PyTree]:
        tokens = jnp.zeros((1, shape.context), jnp.int32)
        return module.init(key, tokens, False)["params"], {}

    def apply(
        params: PyTree,
        batch_stats: PyTree,
        inputs: Any,  # integers of any kind
        train: bool,
        label: Labels | None = None,
        key: Key[Array, ""] | None = None,
    ) -> tuple[Any, PyTree]:
        rngs = {} if key is None else {"dropout": key}
        logits, _ = module.apply(
            {"params": params}, jnp.asarray(inputs, jnp.int32), train, rngs=rngs
        )
        return logits, batch_stats

    def init_cache(batch_size: int) -> Cache:
        def layer(own: Shape) -> LayerCache:
            size = (batch_size, own.key_value_heads, own.head_size, own.context)
            zeros = jnp.zeros(size, own.dtype or jnp.float32)
            return LayerCache(zeros, zeros)

        return Cache(jnp.zeros([], jnp.int32), tuple(map(layer, module.blocks)))

    def decode(params: PyTree, tokens: Int[Array, " batch"], cache: Cache) -> tuple[Any, Cache]:
        outputs: Any = module.apply({"params": params}, tokens[:, None], False, cache)
        logits, new_cache = outputs
        return logits[:, 0], new_cache

    return LanguageModel(Network(init, apply), module.vocabulary, shape.context, init_cache, decode)

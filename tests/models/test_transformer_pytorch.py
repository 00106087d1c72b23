"""The logits of transformers against PyTorch's layers with the same weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_transformers import TOKENS, VARIANTS, variant


def torch_logits(params, tokens, heads, key_value_heads, context):
    """Compute in float64, with rotations as products of complex numbers."""
    weights = jax.tree.map(lambda leaf: torch.tensor(np.asarray(leaf, np.float64)), params)
    tokens = torch.tensor(np.asarray(tokens))
    positions = torch.arange(tokens.shape[1], dtype=torch.float64)
    distance = positions[:, None] - positions
    mask = (distance >= 0) & (distance < context)

    def linear(x, layer):
        return F.linear(x, layer["kernel"].T)

    def norm(x, layer):
        return F.rms_norm(x, x.shape[-1:], layer["scale"], 1e-6)

    def split(x, count):
        return x.unflatten(-1, (count, -1)).transpose(1, 2)

    def rotate(x):
        half = x.shape[-1] // 2
        angle = torch.outer(positions, 10_000.0 ** (-torch.arange(half) / half))
        unit = torch.polar(torch.ones_like(angle), angle)
        turned = torch.complex(x[..., :half], x[..., half:]) * unit
        return torch.cat([turned.real, turned.imag], -1)

    x = weights["embedding"]["embedding"][tokens]
    for i in range(2):
        block = weights[f"block_{i}"]
        attention = block["attention"]
        feed_forward = block["feed_forward"]
        y = norm(x, block["attention_norm"])
        query = rotate(split(linear(y, attention["query"]), heads))
        key = rotate(split(linear(y, attention["key"]), key_value_heads))
        value = split(linear(y, attention["value"]), key_value_heads)
        y = F.scaled_dot_product_attention(query, key, value, mask, enable_gqa=True)
        x = x + linear(y.transpose(1, 2).flatten(2), attention["output"])
        y = norm(x, block["feed_forward_norm"])
        up = linear(y, feed_forward["up"])
        gated = "gate" in feed_forward
        y = F.silu(linear(y, feed_forward["gate"])) * up if gated else F.gelu(up)
        x = x + linear(y, feed_forward["down"])
    return linear(norm(x, weights["norm"]), weights["logits"]).numpy()


@pytest.mark.slow
@pytest.mark.parametrize(("key_value_heads", "activation"), VARIANTS)
def test_logits_are_pytorchs_within_the_context_and_beyond(key_value_heads, activation):
    model, params = variant(key_value_heads, activation)
    apply = jax.jit(lambda params, tokens: model.network.apply(params, {}, tokens, False))
    for length in (model.context, 9):
        tokens = TOKENS[:, :length]
        found, batch_stats = apply(params, tokens)
        expected = torch_logits(params, tokens, 4, key_value_heads, model.context)
        assert found.dtype == jnp.float32
        assert batch_stats == {}
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)

"""The transformer of `text.py` as a PyTorch user would write it: training, and generation.

The same layers, initial weights, Adam, schedule of the learning rate and average. Rotations are
tables, queries, keys and values one product, and so are the gate and the feed-forward units.
Attention is PyTorch's fused one, and the optimiser is the fused one. Generation keeps the keys and
values of the last `context` tokens.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import PyTree
from torch import Tensor, nn
from torch.nn import functional as F


class Sizes(NamedTuple):
    """What describes the network, as in `l1jax.config.Transformer`."""

    vocabulary: int
    width: int
    layers: int
    heads: int
    hidden: int
    context: int
    dropout: float


class Cache(NamedTuple):
    """Keys and values of one layer: batch, heads, context, head size; written in place."""

    key: Tensor
    value: Tensor


class Place(NamedTuple):
    """Where a token goes.

    A compiled step has one shape: it reads the whole cache behind a mask. Otherwise it reads what
    is filled.
    """

    position: Tensor
    slot: Tensor
    filled: int
    mask: Tensor | None


class Block(nn.Module):
    """Attention and SwiGLU units, each behind a norm."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        self.sizes = sizes
        width = sizes.width
        self.attention_norm = nn.RMSNorm(width, 1e-6)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.output = nn.Linear(width, width, bias=False)
        self.feed_forward_norm = nn.RMSNorm(width, 1e-6)
        self.gate_and_up = nn.Linear(width, 2 * sizes.hidden, bias=False)
        self.down = nn.Linear(sizes.hidden, width, bias=False)
        self.dropout = nn.Dropout(sizes.dropout)

    def heads(self, x: Tensor, cosine: Tensor, sine: Tensor) -> list[Tensor]:
        """Rotated queries and keys, and values: batch, heads, length, head size."""
        parts = self.qkv(self.attention_norm(x)).chunk(3, -1)
        query, key, value = (p.unflatten(-1, (self.sizes.heads, -1)).transpose(1, 2) for p in parts)
        return [rotated(query, cosine, sine), rotated(key, cosine, sine), value]

    def add(self, x: Tensor, attended: Tensor) -> Tensor:
        """The residual stream after attention and the feed-forward units."""
        x = x + self.dropout(self.output(attended.transpose(1, 2).flatten(2)))
        gate, up = self.gate_and_up(self.feed_forward_norm(x)).chunk(2, -1)
        return x + self.dropout(self.down(F.silu(gate) * up))

    def forward(self, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        """Causal attention within the window."""
        query, key, value = self.heads(x, cosine, sine)
        return self.add(x, F.scaled_dot_product_attention(query, key, value, is_causal=True))

    def step(self, x: Tensor, cosine: Tensor, sine: Tensor, cache: Cache, place: Place) -> Tensor:
        """Attention from one token to the cache."""
        query, key, value = self.heads(x, cosine, sine)
        cache.key.index_copy_(2, place.slot, key)
        cache.value.index_copy_(2, place.slot, value)
        keys, values = (part[:, :, : place.filled] for part in cache)
        return self.add(x, F.scaled_dot_product_attention(query, keys, values, place.mask))


def rotated(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotary positions, with pairs of halves."""
    first, second = x.chunk(2, -1)
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], -1)


class Model(nn.Module):
    """The decoder-only transformer."""

    def __init__(self, sizes: Sizes, longest: int):
        super().__init__()
        self.sizes = sizes
        self.embedding = nn.Embedding(sizes.vocabulary, sizes.width)
        self.dropout = nn.Dropout(sizes.dropout)
        self.blocks = nn.ModuleList(Block(sizes) for _ in range(sizes.layers))
        self.norm = nn.RMSNorm(sizes.width, 1e-6)
        self.logits = nn.Linear(sizes.width, sizes.vocabulary, bias=False)
        half = sizes.width // sizes.heads // 2
        frequencies = 10_000.0 ** (-torch.arange(half) / half)
        angles = torch.outer(torch.arange(longest), frequencies)
        self.register_buffer("cosine", angles.cos(), persistent=False)
        self.register_buffer("sine", angles.sin(), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of a window that is no longer than the context."""
        length = tokens.shape[1]
        x = self.dropout(self.embedding(tokens))
        for block in self.blocks:
            x = block(x, self.cosine[:length], self.sine[:length])
        return self.logits(self.norm(x))

    def step(self, tokens: Tensor, caches: list[Cache], place: Place) -> Tensor:
        """Logits after one more token of each sequence."""
        cosine = self.cosine[place.position]
        sine = self.sine[place.position]
        x = self.embedding(tokens)[:, None]
        for block, cache in zip(self.blocks, caches, strict=True):
            x = block.step(x, cosine, sine, cache, place)
        return self.logits(self.norm(x))[:, 0]


def make_model(sizes: Sizes, params: PyTree, longest: int) -> Model:
    """A model with the weights of l1jax's.

    Args:
        sizes: of the network.
        params: l1jax's parameters.
        longest: the most positions.
    """
    model = Model(sizes, longest)

    def put(parameter: Tensor, *kernels: PyTree) -> None:
        columns = np.concatenate([np.asarray(kernel["kernel"]) for kernel in kernels], axis=1)
        parameter.data.copy_(torch.from_numpy(columns.T.copy()))

    def put_scale(norm: nn.RMSNorm, scale: PyTree) -> None:
        norm.weight.data.copy_(torch.from_numpy(np.array(scale["scale"])))

    model.embedding.weight.data.copy_(torch.from_numpy(np.array(params["embedding"]["embedding"])))
    for i, block in enumerate(model.blocks):
        given = params[f"block_{i}"]
        attention = given["attention"]
        feed_forward = given["feed_forward"]
        put_scale(block.attention_norm, given["attention_norm"])
        put(block.qkv.weight, attention["query"], attention["key"], attention["value"])
        put(block.output.weight, attention["output"])
        put_scale(block.feed_forward_norm, given["feed_forward_norm"])
        put(block.gate_and_up.weight, feed_forward["gate"], feed_forward["up"])
        put(block.down.weight, feed_forward["down"])
    put_scale(model.norm, params["norm"])
    put(model.logits.weight, params["logits"])
    return model


class Trainer:
    """Adam with a warm-up and half a cosine, and an average of the weights."""

    def __init__(
        self,
        model: Model,
        learning_rate: float,
        betas: tuple[float, float],
        warmup: int,
        steps: int,
        end: float,
        ema_decay: float,
        backend: str | None,
    ):
        self.model = model.train()
        self.average = [p.detach().clone() for p in model.parameters()]
        self.optimizer = torch.optim.Adam(
            model.parameters(), lr=learning_rate, betas=betas, fused=True
        )

        def factor(step: int) -> float:
            if step < warmup:
                return step / warmup
            share = min((step - warmup) / max(steps - warmup, 1), 1)
            return end + (1 - end) * (1 + math.cos(math.pi * share)) / 2

        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, factor)
        self.ema_decay = ema_decay
        self.taken = 0
        self.loss = torch.compile(self._loss, backend=backend) if backend else self._loss

    def _loss(self, windows: Tensor) -> Tensor:
        logits = self.model(windows[:, :-1])
        return F.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())

    def step(self, windows: Tensor) -> Tensor:
        """One update."""
        loss = self.loss(windows)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        decay = min(self.ema_decay, (1 + self.taken) / (10 + self.taken))
        self.taken += 1
        with torch.no_grad():
            torch._foreach_lerp_(self.average, list(self.model.parameters()), 1 - decay)
        return loss.detach()

    def averaged(self) -> Model:
        """The model with its average, in place of its weights."""
        with torch.no_grad():
            for parameter, mean in zip(self.model.parameters(), self.average, strict=True):
                parameter.copy_(mean)
        return self.model.eval()


@torch.inference_mode()
def bits(model: Model, tokens: np.ndarray, mask: np.ndarray) -> float:
    """Bits of all targets of these windows.

    Args:
        model: without dropout.
        tokens: windows.
        mask: which targets count.
    """
    total = 0.0
    for start in range(0, len(tokens), 64):
        rows = torch.from_numpy(tokens[start : start + 64].astype(np.int64))
        losses = F.cross_entropy(model(rows[:, :-1]).mT, rows[:, 1:], reduction="none")
        counted = losses[torch.from_numpy(mask[start : start + 64])]
        total += float(counted.double().sum())
    return total / math.log(2)


def sampler(
    model: Model, first: int, batch: int, length: int, backend: str | None
) -> Callable[[], Tensor]:
    """Build () → sequences of tokens, drawn with a cache of keys and values.

    Args:
        model: without dropout.
        first: the token that each begins with.
        batch: how many.
        length: tokens of each.
        backend: of `torch.compile`, which compiles a step; None does not.
    """
    sizes = model.sizes
    shape = (batch, sizes.heads, sizes.context, sizes.width // sizes.heads)
    step = torch.compile(model.step, backend=backend) if backend else model.step
    slots = torch.arange(sizes.context)

    def place(position: int) -> Place:
        now = torch.tensor([position])
        mask = (slots <= position)[None] if backend else None
        filled = sizes.context if backend else min(position + 1, sizes.context)
        return Place(now, now % sizes.context, filled, mask)

    @torch.inference_mode()
    def sample() -> Tensor:
        caches = [Cache(torch.zeros(shape), torch.zeros(shape)) for _ in range(sizes.layers)]
        tokens = torch.full((batch,), first)
        drawn = []
        for position in range(length):
            probabilities = step(tokens, caches, place(position)).softmax(-1)
            tokens = torch.multinomial(probabilities, 1)[:, 0]
            drawn.append(tokens)
        return torch.stack(drawn, 1)

    return sample

"""The U-Net of `l1jax.models.unet` and its flow matching as a PyTorch user would write them.

`training.py` measures their speed, and `tests/models/test_unet.py` compares their outputs with
l1jax's. Attention is PyTorch's fused one.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import peers
import torch
import torch.nn.functional as F
from jaxtyping import PyTree
from torch import Tensor, nn

LEAST_REST = 0.05  # of 1 − t, by which the error of a predicted image is divided


class Residual(nn.Module):
    """Two convolutions behind norms, the second norm scaled and shifted by the embedding."""

    def __init__(self, inputs: int, outputs: int, embedding: int, group_size: int):
        super().__init__()
        self.norm_1 = nn.GroupNorm(inputs // group_size, inputs)
        self.conv_1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.scale, self.shift = nn.Linear(embedding, outputs), nn.Linear(embedding, outputs)
        self.norm_2 = nn.GroupNorm(outputs // group_size, outputs)
        self.conv_2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """The residual beside the shortcut."""
        y = self.norm_2(self.conv_1(F.silu(self.norm_1(x))))
        y = y * (1 + self.scale(embedding)[..., None, None])
        y = self.conv_2(F.silu(y + self.shift(embedding)[..., None, None]))
        return y + self.shortcut(x)


class Attention(nn.Module):
    """Attention of every pixel to every pixel, behind a norm."""

    def __init__(self, channels: int, group_size: int, head_size: int):
        super().__init__()
        self.norm = nn.GroupNorm(channels // group_size, channels)
        for name in ("query", "key", "value", "output"):
            setattr(self, name, nn.Linear(channels, channels))
        self.head_size = head_size

    def forward(self, x: Tensor) -> Tensor:
        """The attention beside its input."""
        y = self.norm(x).flatten(2).transpose(1, 2)  # batch, pixels, channels
        heads = [
            layer(y).unflatten(2, (-1, self.head_size)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        ]
        y = F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
        return x + self.output(y).transpose(1, 2).unflatten(2, x.shape[2:])


class Unet(nn.Module):
    """Images (channels first), times and classes to predictions; the layers have l1jax's names."""

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        channels: int,
        multipliers: Sequence[int],
        blocks: int,
        attention: Sequence[int],
        group_size: int,
        head_size: int,
        classes: int = 0,
    ):
        super().__init__()
        height, _, pixels = image_shape
        self.blocks, self.levels, self.classes = blocks, len(multipliers), classes
        size = 4 * channels
        powers = torch.arange(channels // 2) / (channels // 2)
        self.register_buffer("frequency", 1000 * 10_000**-powers)
        self.time_0, self.time_1 = nn.Linear(channels, size), nn.Linear(size, size)
        if classes:
            self.add_module("class", nn.Linear(classes, size, bias=False))
        self.pixels = nn.Conv2d(pixels, channels, 3, padding=1)
        widths = [channels * m for m in multipliers]
        kept, at = [channels], channels

        def add(name: str, inputs: int, width: int, attends: bool) -> int:
            self.add_module(name, Residual(inputs, width, size, group_size))
            if attends:
                self.add_module(f"{name}_attention", Attention(width, group_size, head_size))
            return width

        attending = [height >> level in attention for level in range(self.levels)]
        for level, width in enumerate(widths):
            for i in range(blocks):
                at = add(f"down_{level}_{i}", at, width, attending[level])
                kept.append(at)
            if level < self.levels - 1:
                self.add_module(f"halve_{level}", nn.Conv2d(at, at, 3, stride=2))
                kept.append(at)
        at = add("middle_1", add("middle_0", at, at, attends=True), at, attends=False)
        for level, width in reversed(list(enumerate(widths))):
            for i in range(blocks + 1):
                at = add(f"up_{level}_{i}", at + kept.pop(), width, attending[level])
            if level:
                self.add_module(f"double_{level}", nn.Conv2d(at, at, 3, padding=1))
        self.norm = nn.GroupNorm(at // group_size, at)
        self.image = nn.Conv2d(at, pixels, 3, padding=1)

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        """Predict; a label that is the number of classes stands for none of them."""
        angle = time[:, None] * self.frequency
        y = self.time_1(F.silu(self.time_0(torch.cat([angle.cos(), angle.sin()], 1))))
        if self.classes:
            one_hot = F.one_hot(label, self.classes + 1)[:, :-1].to(y.dtype)
            y = y + getattr(self, "class")(one_hot)
        embedding = F.silu(y)

        def block(x: Tensor, name: str) -> Tensor:
            x = getattr(self, name)(x, embedding)
            attention = getattr(self, f"{name}_attention", None)
            return x if attention is None else attention(x)

        x = self.pixels(x)
        kept = [x]
        for level in range(self.levels):
            for i in range(self.blocks):
                x = block(x, f"down_{level}_{i}")
                kept.append(x)
            if level < self.levels - 1:
                # "SAME" with stride 2 on an even side pads below and on the right only.
                x = getattr(self, f"halve_{level}")(F.pad(x, (0, 1, 0, 1)))
                kept.append(x)
        x = block(block(x, "middle_0"), "middle_1")
        for level in reversed(range(self.levels)):
            for i in range(self.blocks + 1):
                x = block(torch.cat([x, kept.pop()], 1), f"up_{level}_{i}")
            if level:
                x = getattr(self, f"double_{level}")(F.interpolate(x, scale_factor=2))
        return self.image(F.silu(self.norm(x)))


def unet(image_size: int, image_channels: int) -> tuple[nn.Module, ...]:
    """The network of `training.py`'s cases, by the numbers of its layers."""
    shape = (image_size, image_size, image_channels)
    if image_size < 16:  # that of the smoke test
        return (Unet(shape, 4, (1, 2), 1, (), group_size=2, head_size=4),)
    return (Unet(shape, 64, (1, 2, 2), 2, (image_size // 2,), group_size=8, head_size=32),)


def flow_loss(
    networks: Sequence[nn.Module], images: Tensor, image_range: tuple[float, float]
) -> Tensor:
    """The error of the velocity that follows from the predicted image, logit-normal times."""
    low, high = image_range
    image = low + (high - low) * (images.float() / 255)
    time = torch.randn(len(image), device=image.device).sigmoid()
    noise = torch.randn_like(image)
    t = time[:, None, None, None]
    x = (1 - t) * noise + t * image
    predicted = networks[0](x, time).float().tanh()
    return F.mse_loss((predicted - x) / (1 - t).clamp_min(LEAST_REST), image - noise)


FlowTrainer = partial(peers.LossTrainer, flow_loss)


def load(target: nn.Module, params: PyTree, path: str = "") -> None:
    """Copy parameters of l1jax, each of which the target must have in the same place."""
    for name, value in params.items():
        if isinstance(value, dict):
            load(getattr(target, name), value, f"{path}/{name}")
            continue
        array = np.asarray(value)
        array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
        place = target.bias if name == "bias" else target.weight
        assert place.shape == array.shape, path
        with torch.no_grad():
            place.copy_(torch.tensor(array))

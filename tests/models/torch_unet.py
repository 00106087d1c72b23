"""The U-Net of DDPM with ADM's scales and shifts, in PyTorch and float64, and our weights in it."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


class Residual(nn.Module):
    def __init__(self, inputs, outputs, embedding, group_size):
        super().__init__()
        self.norm_1 = nn.GroupNorm(inputs // group_size, inputs)
        self.conv_1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.scale, self.shift = nn.Linear(embedding, outputs), nn.Linear(embedding, outputs)
        self.norm_2 = nn.GroupNorm(outputs // group_size, outputs)
        self.conv_2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        if inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x, embedding):
        y = self.norm_2(self.conv_1(F.silu(self.norm_1(x))))
        y = y * (1 + self.scale(embedding)[..., None, None])
        y = self.conv_2(F.silu(y + self.shift(embedding)[..., None, None]))
        return y + (self.shortcut(x) if hasattr(self, "shortcut") else x)


class Attention(nn.Module):
    def __init__(self, channels, group_size, head_size):
        super().__init__()
        self.norm = nn.GroupNorm(channels // group_size, channels)
        for name in ("query", "key", "value", "output"):
            setattr(self, name, nn.Linear(channels, channels))
        self.head_size = head_size

    def forward(self, x):
        y = self.norm(x).flatten(2).transpose(1, 2)  # batch, pixels, channels
        heads = [
            layer(y).unflatten(2, (-1, self.head_size)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        ]
        scores = heads[0] @ heads[1].transpose(2, 3) / math.sqrt(self.head_size)
        y = (scores.softmax(-1) @ heads[2]).transpose(1, 2).flatten(2)
        return x + self.output(y).transpose(1, 2).unflatten(2, x.shape[2:])


class Unet(nn.Module):
    def __init__(
        self, pixels, channels, multipliers, blocks, attention, group_size, head_size, classes
    ):
        super().__init__()
        self.attention, self.blocks, self.levels = attention, blocks, len(multipliers)
        self.channels, self.classes, size = channels, classes, 4 * channels
        self.time_0, self.time_1 = nn.Linear(channels, size), nn.Linear(size, size)
        setattr(self, "class", nn.Linear(classes, size, bias=False))
        self.pixels = nn.Conv2d(pixels, channels, 3, padding=1)
        widths = [channels * m for m in multipliers]
        kept, at = [channels], channels

        def add(name, inputs, width):
            self.add_module(name, Residual(inputs, width, size, group_size))
            self.add_module(f"{name}_attention", Attention(width, group_size, head_size))
            return width

        for level, width in enumerate(widths):
            for i in range(blocks):
                at = add(f"down_{level}_{i}", at, width)
                kept.append(at)
            if level < self.levels - 1:
                self.add_module(f"halve_{level}", nn.Conv2d(at, at, 3, stride=2))
                kept.append(at)
        at = add("middle_1", add("middle_0", at, at), at)
        for level, width in reversed(list(enumerate(widths))):
            for i in range(blocks + 1):
                at = add(f"up_{level}_{i}", at + kept.pop(), width)
            if level:
                self.add_module(f"double_{level}", nn.Conv2d(at, at, 3, padding=1))
        self.norm = nn.GroupNorm(at // group_size, at)
        self.image = nn.Conv2d(at, pixels, 3, padding=1)
        self.double()

    def forward(self, x, time, label):
        frequency = 1000 * 10_000 ** (-torch.arange(self.channels // 2) / (self.channels // 2))
        angle = time[:, None] * frequency
        y = self.time_0(torch.cat([angle.cos(), angle.sin()], 1))
        one_hot = F.one_hot(label, self.classes + 1)[:, :-1].double()
        embedding = F.silu(self.time_1(F.silu(y)) + getattr(self, "class")(one_hot))

        def block(x, name, attends):
            x = getattr(self, name)(x, embedding)
            return getattr(self, f"{name}_attention")(x) if attends else x

        x = self.pixels(x.permute(0, 3, 1, 2))
        kept = [x]
        for level in range(self.levels):
            for i in range(self.blocks):
                x = block(x, f"down_{level}_{i}", x.shape[2] in self.attention)
                kept.append(x)
            if level < self.levels - 1:
                # "SAME" with stride 2 on an even side pads below and on the right only.
                x = getattr(self, f"halve_{level}")(F.pad(x, (0, 1, 0, 1)))
                kept.append(x)
        x = block(block(x, "middle_0", True), "middle_1", False)
        for level in reversed(range(self.levels)):
            for i in range(self.blocks + 1):
                x = torch.cat([x, kept.pop()], 1)
                x = block(x, f"up_{level}_{i}", x.shape[2] in self.attention)
            if level:
                x = getattr(self, f"double_{level}")(F.interpolate(x, scale_factor=2))
        return self.image(F.silu(self.norm(x))).permute(0, 2, 3, 1)


def load(target, params, path=""):
    """Copy our parameters, each of which the target must have in the same place."""
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

"""The published networks in PyTorch, and our parameters in their layout.

They are the oracles of these tests.

DCGAN follows PyTorch's own example, the residual networks torch-mimicry's SNGAN and cGAN-PD, R3GAN
its authors' description; each is written anew, for comparison alone. Where ours leave a bias out
because the batch norm behind it takes it away, `biases=False` does the same.
"""

from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


def dcgan_generator(latent, width, channels):
    layers, widths = [nn.ConvTranspose2d(latent, 8 * width, 4, 1, 0, bias=False)], [8, 4, 2, 1]
    for before, after in zip(widths, [*widths[1:], None], strict=True):
        layers += [nn.BatchNorm2d(before * width), nn.ReLU()]
        layers += [
            nn.ConvTranspose2d(
                before * width, after * width if after else channels, 4, 2, 1, bias=False
            )
        ]
    return nn.Sequential(*layers, nn.Tanh())


def dcgan_discriminator(width, channels):
    layers = [nn.Conv2d(channels, width, 4, 2, 1, bias=False), nn.LeakyReLU(0.2)]
    for i in (1, 2, 4):
        layers += [
            nn.Conv2d(i * width, 2 * i * width, 4, 2, 1, bias=False),
            nn.BatchNorm2d(2 * i * width),
        ]
        layers += [nn.LeakyReLU(0.2)]
    return nn.Sequential(
        *layers, nn.Conv2d(8 * width, 1, 4, 1, 0, bias=False)
    )  # its sigmoid is in the loss here


class Normalised(nn.Module):
    """A layer whose weight is divided by σ from one power iteration.

    `u` has one entry per output.
    """

    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.register_buffer("u", F.normalize(torch.randn(layer.weight.shape[0]), dim=0))

    def weight(self):
        matrix = self.layer.weight.flatten(1)
        with torch.no_grad():
            v = F.normalize(matrix.T @ self.u, dim=0)
            u = F.normalize(matrix @ v, dim=0)
        if self.training:
            self.u = u
        return self.layer.weight / (u @ matrix @ v)

    def forward(self, x):
        if isinstance(self.layer, nn.Linear):
            return F.linear(x, self.weight(), self.layer.bias)
        return F.conv2d(x, self.weight(), self.layer.bias, padding=self.layer.padding)


class ConditionalNorm(nn.Module):
    def __init__(self, features, classes):
        super().__init__()
        self.norm = nn.BatchNorm2d(features, affine=False)
        self.embedding = nn.Embedding(classes, 2 * features)

    def forward(self, x, label):
        scale, shift = self.embedding(label)[:, :, None, None].chunk(2, 1)
        return scale * self.norm(x) + shift


class UpBlock(nn.Module):
    def __init__(self, inputs, outputs, classes, biases):
        super().__init__()
        make = (lambda n: ConditionalNorm(n, classes)) if classes else nn.BatchNorm2d
        self.norm_1, self.norm_2 = make(inputs), make(outputs)
        self.conv_1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=biases)
        self.conv_2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=biases)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, bias=biases)

    def forward(self, x, *label):
        up = lambda x: F.interpolate(x, scale_factor=2, mode="nearest")  # noqa: E731
        y = self.conv_1(up(F.relu(self.norm_1(x, *label))))
        return self.conv_2(F.relu(self.norm_2(y, *label))) + self.shortcut(up(x))


class ResnetGenerator(nn.Module):
    def __init__(self, start, widths, latent, channels=3, classes=0, biases=True):
        super().__init__()
        self.start = start
        self.project = nn.Linear(latent, start**2 * widths[0])
        pairs = pairwise(widths)
        self.blocks = nn.ModuleList([UpBlock(a, b, classes, biases) for a, b in pairs])
        self.norm = nn.BatchNorm2d(widths[-1])
        self.image = nn.Conv2d(widths[-1], channels, 3, padding=1)

    def forward(self, z, *label):
        x = self.project(z).reshape(len(z), -1, self.start, self.start)
        for block in self.blocks:
            x = block(x, *label)
        return torch.tanh(self.image(F.relu(self.norm(x))))


class DownBlock(nn.Module):
    def __init__(self, inputs, outputs, halved, first):
        super().__init__()
        self.halved, self.first, hidden = halved, first, outputs if first else inputs
        self.conv_1 = Normalised(nn.Conv2d(inputs, hidden, 3, padding=1))
        self.conv_2 = Normalised(nn.Conv2d(hidden, outputs, 3, padding=1))
        self.shortcut = (
            Normalised(nn.Conv2d(inputs, outputs, 1)) if halved or inputs != outputs else None
        )

    def forward(self, x):
        pool = (lambda x: F.avg_pool2d(x, 2)) if self.halved else lambda x: x
        y = self.conv_2(F.relu(self.conv_1(x if self.first else F.relu(x))))
        return pool(y) + (pool(self.shortcut(x)) if self.shortcut else x)


class ResnetDiscriminator(nn.Module):
    def __init__(self, widths, halved, channels=3, classes=0):
        super().__init__()
        pairs = enumerate(zip([channels, *widths[:-1]], widths, strict=True))
        self.blocks = nn.ModuleList([DownBlock(a, b, i < halved, i == 0) for i, (a, b) in pairs])
        self.logit = Normalised(nn.Linear(widths[-1], 1))
        self.projection = (
            Normalised(nn.Linear(classes, widths[-1], bias=False)) if classes else None
        )
        self.classes = classes

    def forward(self, x, *label):
        for block in self.blocks:
            x = block(x)
        features = F.relu(x).sum((2, 3))
        logit = self.logit(features)[:, 0]
        if self.projection:
            logit = logit + (
                self.projection(F.one_hot(label[0], self.classes).float()) * features
            ).sum(1)
        return logit


class R3Block(nn.Module):
    def __init__(self, channels, groups):
        super().__init__()
        self.conv_1 = nn.Conv2d(channels, 2 * channels, 1)
        self.conv_2 = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=groups)
        self.conv_3 = nn.Conv2d(2 * channels, channels, 1, bias=False)

    def forward(self, x):
        return x + self.conv_3(F.leaky_relu(self.conv_2(F.leaky_relu(self.conv_1(x), 0.2)), 0.2))


def tent(channels):
    """Weights 1, 3, 3, 1 along both axes, one filter per channel."""
    weights = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    return torch.outer(weights, weights).expand(channels, 1, 4, 4)


class R3Generator(nn.Module):
    """`widths` and `groups` per image size from 4 pixels on."""

    def __init__(self, latent, widths, blocks, group_size, classes=0):
        super().__init__()
        self.embedding = nn.Linear(classes, latent, bias=False) if classes else None
        self.project = nn.Linear(latent * (2 if classes else 1), widths[0], bias=False)
        self.basis = nn.Parameter(torch.randn(widths[0], 4, 4))
        pairs = pairwise(widths)
        self.widen = nn.ModuleList(
            [nn.Conv2d(a, b, 1, bias=False) if a != b else nn.Identity() for a, b in pairs]
        )
        self.blocks = nn.ModuleList(
            [R3Block(w, 2 * w // group_size) for w in widths for _ in range(blocks)]
        )
        self.image = nn.Conv2d(widths[-1], 3, 1, bias=False)
        self.per_size = blocks

    def forward(self, z, *label):
        if self.embedding:
            z = torch.cat(
                [z, self.embedding(F.one_hot(label[0], self.embedding.in_features).float())], 1
            )
        x = self.basis * self.project(z)[:, :, None, None]
        for i, block in enumerate(self.blocks):
            if i and i % self.per_size == 0:
                x = self.widen[i // self.per_size - 1](x)
                x = F.conv_transpose2d(
                    x, 4 * tent(x.shape[1]), stride=2, padding=1, groups=x.shape[1]
                )
            x = block(x)
        return self.image(x)


class R3Discriminator(nn.Module):
    """`widths` per image size, 4 pixels last."""

    def __init__(self, widths, blocks, group_size, classes=0):
        super().__init__()
        self.pixels = nn.Conv2d(3, widths[0], 1, bias=False)
        pairs = pairwise(widths)
        self.widen = nn.ModuleList(
            [nn.Conv2d(a, b, 1, bias=False) if a != b else nn.Identity() for a, b in pairs]
        )
        self.blocks = nn.ModuleList(
            [R3Block(w, 2 * w // group_size) for w in widths for _ in range(blocks)]
        )
        self.basis = nn.Conv2d(widths[-1], widths[-1], 4, groups=widths[-1], bias=False)
        self.logit = nn.Linear(widths[-1], widths[-1] if classes else 1, bias=False)
        self.projection = nn.Linear(classes, widths[-1], bias=False) if classes else None
        self.per_size = blocks

    def forward(self, x, *label):
        x = self.pixels(x)
        for i, block in enumerate(self.blocks):
            if i and i % self.per_size == 0:
                x = F.conv2d(x, tent(x.shape[1]), stride=2, padding=1, groups=x.shape[1])
                x = self.widen[i // self.per_size - 1](x)
            x = block(x)
        x = self.logit(self.basis(x)[:, :, 0, 0])
        if self.projection:
            return (
                x * self.projection(F.one_hot(label[0], self.projection.in_features).float())
            ).sum(1)
        return x[:, 0]


def count(build, *arguments, **options):
    """Parameters of a network, none of them allocated."""
    with torch.device("meta"):
        return sum(p.numel() for p in build(*arguments, **options).parameters())


def tensor(array):
    return torch.from_numpy(np.array(array, np.float32))


def images(array):
    """Our images, pixels first, as PyTorch's, channels first."""
    return tensor(array).permute(0, 3, 1, 2)


@torch.no_grad()
def load(target, array):
    array = tensor(array)
    assert target.shape == array.shape, (target.shape, array.shape)
    target.copy_(array)


def load_layer(target, params, statistics=None):
    """Our kernel, bias and `u` into a Linear or a Conv2d, normalised or not."""
    if isinstance(target, Normalised):
        load(target.u, statistics["spectral"]["u"])
        target = target.layer
    kernel = np.asarray(params["kernel"])
    load(target.weight, kernel.T if kernel.ndim == 2 else kernel.transpose(3, 2, 0, 1))
    assert (target.bias is not None) == ("bias" in params)
    if target.bias is not None:
        load(target.bias, params["bias"])


def load_transposed(target, params):
    """A ConvTranspose2d's weight is (inputs, outputs, …), and placed the other way round."""
    load(target.weight, np.asarray(params["kernel"])[::-1, ::-1].transpose(2, 3, 0, 1))


def load_norm(target, params, statistics):
    if isinstance(target, ConditionalNorm):
        load(target.embedding.weight, np.concatenate([params["scale"], params["bias"]], 1))
        target, statistics = target.norm, statistics["moments"]
    else:
        load(target.weight, params["scale"])
        load(target.bias, params["bias"])
    load(target.running_mean, statistics["mean"])
    load(target.running_var, statistics["var"])

"""The training steps of `training.py` as a PyTorch user would write them, for comparison.

The same layers, objective, Adam and average of the generator. What costs PyTorch time for nothing
is left out: the discriminator's parameters take no gradient in the generator's turn, one pass of
the generator serves both turns, and the optimisers are the fused ones.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import PyTree
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from l1jax.models import Generator


def dcgan(
    image_size: int, image_channels: int, latent_size: int = 100, channels: int = 64
) -> tuple[nn.Module, ...]:
    """DCGAN's two networks, as `l1jax.models.dcgan` has them."""
    start, widths = image_size, []
    while start > 7:
        start, widths = start // 2, [*widths, channels * 2 ** len(widths)]
    up, down = [image_channels, *widths][::-1], [image_channels, *widths]
    layers = [
        nn.Linear(latent_size, start**2 * up[0], bias=False),
        nn.Unflatten(1, (up[0], start, start)),
    ]
    for inputs, outputs in pairwise(up):
        layers += [
            nn.BatchNorm2d(inputs),
            nn.ReLU(),
            nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False),
        ]
    generator = nn.Sequential(*layers, nn.Tanh())
    layers = []
    for i, (inputs, outputs) in enumerate(pairwise(down)):
        layers += [nn.Conv2d(inputs, outputs, 4, 2, 1, bias=i == 0)]
        layers += [nn.BatchNorm2d(outputs)] * (i > 0) + [nn.LeakyReLU(0.2)]
    return generator, nn.Sequential(*layers, nn.Flatten(), nn.Linear(start**2 * down[-1], 1))


def copied_dcgan(generator: Generator, params: PyTree, statistics: PyTree) -> nn.Sequential:
    """Copy a DCGAN generator of l1jax, compact or not, with its weights.

    It takes latents of shape (batch, latent, 1, 1).
    """
    names = ["project", *sorted(name for name in params if name.startswith("deconv")), "image"]
    start, layers = generator.image_shape[0] >> len(names) - 1, []
    for i, name in enumerate(names):
        kernel = np.asarray(params[name]["kernel"])
        # A dense layer's columns are the pixels of an image; a transposed kernel is placed the
        # other way round.
        weight = (
            kernel[::-1, ::-1].transpose(2, 3, 0, 1)
            if i
            else kernel.reshape(len(kernel), start, start, -1)
        )
        weight = weight if i else weight.transpose(0, 3, 1, 2)
        bias = params[name].get("bias")
        layer = nn.ConvTranspose2d(*weight.shape[:3], *((2, 1) if i else ()), bias=bias is not None)
        parts = [(layer.weight, weight)]
        if layer.bias is not None:
            each = np.asarray(bias).reshape(-1, weight.shape[1])
            assert (each == each[0]).all(), f"{name}'s bias differs from pixel to pixel"
            parts.append((layer.bias, each[0]))
        layers.append(layer)
        if f"norm_{i}" in params:
            norm, own, moments = (
                nn.BatchNorm2d(weight.shape[1]),
                params[f"norm_{i}"],
                statistics[f"norm_{i}"],
            )
            parts += [(norm.weight, own["scale"]), (norm.bias, own["bias"])]
            parts += [(norm.running_mean, moments["mean"]), (norm.running_var, moments["var"])]
            layers.append(norm)
        layers.append(nn.Tanh() if name == "image" else nn.ReLU())
        for target, value in parts:
            target.data.copy_(torch.tensor(np.array(value)))
    return nn.Sequential(*layers).eval()


def mlp_gan(image_size: int, image_channels: int, latent_size: int = 100) -> tuple[nn.Module, ...]:
    """The networks of `experiments/mlp_gan.py`: dense against four 5×5 convolutions."""
    shape = (image_channels, image_size, image_size)
    layers, widths = [], [latent_size, 1024, 1024]
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.LeakyReLU(0.2)]
    pixels = image_channels * image_size**2
    generator = nn.Sequential(
        *layers, nn.Linear(1024, pixels), nn.Sigmoid(), nn.Unflatten(1, shape)
    )
    layers, widths = [], [image_channels, 64, 128, 256, 512]
    for inputs, outputs in pairwise(widths):
        layers += [nn.Conv2d(inputs, outputs, 5, 2, 2), nn.LeakyReLU(0.2)]
    return generator, nn.Sequential(
        *layers, nn.Flatten(), nn.Linear((image_size // 16) ** 2 * 512, 1)
    )


class Block(nn.Module):
    """A residual block of `sn_resnet`.

    The generator's doubles the size; the other is the discriminator's.
    """

    def __init__(self, inputs: int, outputs: int, kind: str):
        super().__init__()
        up, first = kind == "up", kind == "first"
        norm, wrap = (
            (nn.BatchNorm2d, lambda layer: layer) if up else (lambda width: None, spectral_norm)
        )
        half = [nn.AvgPool2d(2)] if kind in ("first", "down") else []
        double = [nn.Upsample(scale_factor=2)] if up else []
        before = [] if first else [norm(inputs), nn.ReLU()]
        layers = [
            *before,
            *double,
            wrap(nn.Conv2d(inputs, outputs, 3, 1, 1, bias=not up)),
            norm(outputs),
            nn.ReLU(),
        ]
        layers += [wrap(nn.Conv2d(outputs, outputs, 3, 1, 1, bias=not up)), *half]
        self.residual = nn.Sequential(*filter(None, layers))
        around = [
            *half,
            wrap(nn.Conv2d(inputs, outputs, 1, bias=not up)),
            *double,
        ]  # at the smaller size
        self.shortcut = nn.Identity() if kind == "same" else nn.Sequential(*around)

    def forward(self, x: Tensor) -> Tensor:
        """The residual beside the shortcut."""
        return self.residual(x) + self.shortcut(x)


class Sum(nn.Module):
    """Sum over the pixels."""

    def forward(self, x: Tensor) -> Tensor:
        """Batch, channels."""
        return x.sum((2, 3))


def sn_resnet(
    image_size: int, image_channels: int, latent_size: int = 100
) -> tuple[nn.Module, ...]:
    """The networks of `l1jax.models.sn_resnet` for 32 pixels."""
    start, wide, narrow = image_size // 8, 256, 128
    ends = [nn.BatchNorm2d(wide), nn.ReLU(), nn.Conv2d(wide, image_channels, 3, 1, 1), nn.Tanh()]
    ups = [Block(wide, wide, "up") for _ in range(3)]
    project = [nn.Linear(latent_size, start**2 * wide), nn.Unflatten(1, (wide, start, start))]
    downs = [Block(image_channels, narrow, "first"), Block(narrow, narrow, "down")]
    downs += [Block(narrow, narrow, "same") for _ in range(2)]
    logit = spectral_norm(nn.Linear(narrow, 1))
    return nn.Sequential(*project, *ups, *ends), nn.Sequential(*downs, nn.ReLU(), Sum(), logit)


class LossTrainer:
    """Training of networks that share one loss, (networks, images, their range) → a scalar.

    The average is that of the last network.
    """

    def __init__(
        self,
        loss: Callable[[Sequence[nn.Module], Tensor, tuple[float, float]], Tensor],
        networks: Sequence[nn.Module],
        image_range: tuple[float, float],
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        backend: str | None = None,
        channels_last: bool = False,
        graphs: bool = False,
        ema_decay: float = 0.999,
    ):
        layout = torch.channels_last if channels_last else torch.contiguous_format
        self.networks = [n.to(device).to(memory_format=layout) for n in networks]
        self.average = [p.detach().clone() for p in self.networks[-1].parameters()]
        adam = partial(torch.optim.Adam, lr=2e-4, betas=(0.5, 0.999), fused=True)
        self.optimizers = [adam(n.parameters()) for n in self.networks]
        self.ema_decay, self.layout = ema_decay, layout
        self.autocast = partial(torch.autocast, device, dtype, enabled=dtype != torch.float32)
        self.graphs = graphs

        def loss_of(images: Tensor) -> Tensor:
            return loss(self.networks, images, image_range)

        mode = "reduce-overhead" if graphs else None  # which captures CUDA graphs
        self.loss = torch.compile(loss_of, mode=mode, backend=backend) if backend else loss_of

    def step(self, images: Tensor) -> tuple[Tensor, ...]:
        """One update of all networks; images are uint8, channels first."""
        if self.graphs:
            # what earlier steps returned may be written over
            torch.compiler.cudagraph_mark_step_begin()
        with self.autocast():
            loss = self.loss(images.contiguous(memory_format=self.layout))
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in self.optimizers:
            optimizer.step()
        with torch.no_grad():
            averaged = list(self.networks[-1].parameters())
            torch._foreach_lerp_(self.average, averaged, 1 - self.ema_decay)
        return (loss.detach(),)


def vae_loss(
    networks: Sequence[nn.Module], images: Tensor, image_range: tuple[float, float]
) -> Tensor:
    """The bound of the dense autoencoder of `experiments/vae_mnist.py`, Bernoulli pixels."""
    encoder, decoder = networks
    grey = images.flatten(1).float() / 255
    binary = (torch.rand_like(grey) < grey).float()
    mean, log_scale = encoder(binary).chunk(2, 1)
    logits = decoder(mean + log_scale.exp() * torch.randn_like(mean))
    error = F.binary_cross_entropy_with_logits(logits, binary, reduction="sum")
    divergence = 0.5 * (mean.square() + (2 * log_scale).exp() - 1 - 2 * log_scale).sum()
    return (error + divergence) / len(images)


VaeTrainer = partial(LossTrainer, vae_loss)


def vae(image_size: int, image_channels: int, latent_size: int = 32) -> tuple[nn.Module, ...]:
    """Encoder and decoder, two hidden layers of 512 each."""
    pixels = image_size**2 * image_channels

    def dense(*widths: int) -> nn.Module:
        layers = [layer for i, o in pairwise(widths) for layer in (nn.Linear(i, o), nn.ReLU())]
        return nn.Sequential(*layers[:-1])

    return dense(pixels, 512, 512, 2 * latent_size), dense(latent_size, 512, 512, pixels)


class Trainer:
    """Alternating training of a GAN with the non-saturating loss."""

    def __init__(
        self,
        networks: tuple[nn.Module, ...],
        image_range: tuple[float, float],
        latent_size: int = 100,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        backend: str | None = None,
        channels_last: bool = False,
        graphs: bool = False,
        ema_decay: float = 0.999,
    ):
        layout = torch.channels_last if channels_last else torch.contiguous_format
        self.generator, self.discriminator = (
            n.to(device).to(memory_format=layout) for n in networks
        )
        self.average = [p.detach().clone() for p in self.generator.parameters()]
        adam = partial(torch.optim.Adam, lr=2e-4, betas=(0.5, 0.999), fused=True)
        self.optimizers = [adam(n.parameters()) for n in (self.generator, self.discriminator)]
        self.image_range, self.latent_size, self.device, self.layout = (
            image_range,
            latent_size,
            device,
            layout,
        )
        self.ema_decay = ema_decay
        self.autocast = partial(torch.autocast, device, dtype, enabled=dtype != torch.float32)
        self.graphs = graphs
        mode = "reduce-overhead" if graphs else None  # which captures CUDA graphs
        functions: list[Callable] = [self._generate, self._d_loss, self._g_loss]
        if backend:
            functions = [torch.compile(f, mode=mode, backend=backend) for f in functions]
        self.generate, self.d_loss, self.g_loss = functions

    def _generate(self, latents: Tensor) -> Tensor:
        return self.generator(latents)

    def _d_loss(self, images: Tensor, fake: Tensor) -> Tensor:
        low, high = self.image_range
        real = low + (high - low) * (images.float() / 255)
        return (
            F.softplus(-self.discriminator(real)).mean()
            + F.softplus(self.discriminator(fake)).mean()
        )

    def _g_loss(self, fake: Tensor) -> Tensor:
        return F.softplus(-self.discriminator(fake)).mean()

    def step(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """One update of both networks; images are uint8, channels first."""
        g_adam, d_adam = self.optimizers
        if self.graphs:
            # what earlier steps returned may be written over
            torch.compiler.cudagraph_mark_step_begin()
        with self.autocast():
            fake = self.generate(torch.randn(len(images), self.latent_size, device=self.device))
            d_loss = self.d_loss(images, fake.detach())
        d_adam.zero_grad()
        d_loss.backward()
        d_adam.step()
        self.discriminator.requires_grad_(False)
        with self.autocast():
            g_loss = self.g_loss(fake)
        g_adam.zero_grad()
        g_loss.backward()
        g_adam.step()
        self.discriminator.requires_grad_(True)
        with torch.no_grad():
            torch._foreach_lerp_(
                self.average, list(self.generator.parameters()), 1 - self.ema_decay
            )
        return d_loss.detach(), g_loss.detach()

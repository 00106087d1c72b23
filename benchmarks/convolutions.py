"""Every form of a convolution, layer by layer: what `l1jax.models.layers` is chosen by.

    python benchmarks/convolutions.py [--batch 64] [--rounds 7] [--output FILE]
    python benchmarks/convolutions.py --smoke

For the layers of DCGAN-64, the dense GAN and SN-ResNet-32, the forward pass and the pass with both
gradients: XLA's convolution, shifted blocks (each tap a product), the tiled form (fewer products),
and PyTorch's in channels-last, in turn in one process. GFLOP/s count the multiplications of the
definition, so that forms can be compared. With a stride of 1 the shifts are the direct form, whose
first two convolutions are XLA's.
"""

import argparse
import importlib.util
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from measure import RESULTS, alternate, quartiles, write_result

from l1jax.models import layers


class Layer(NamedTuple):
    """A convolution with SAME padding; transposed ones are measured by their gradients' equals."""

    size: int  # of the image
    inputs: int
    outputs: int
    kernel: int
    stride: int

    def name(self) -> str:
        """Such as 32×32×64 → 128, 4×4/2."""
        side = f"{self.size}×{self.size}×{self.inputs}"
        return f"{side} → {self.outputs}, {self.kernel}×{self.kernel}/{self.stride}"

    def flops(self, batch: int) -> int:
        """Of the forward pass."""
        side = -(-self.size // self.stride)
        return 2 * batch * side**2 * self.kernel**2 * self.inputs * self.outputs


LAYERS = [
    Layer(64, 3, 64, 4, 2),
    Layer(32, 64, 128, 4, 2),
    Layer(16, 128, 256, 4, 2),
    Layer(8, 256, 512, 4, 2),
    Layer(64, 3, 64, 5, 2),
    Layer(32, 64, 128, 5, 2),
    Layer(16, 128, 256, 5, 2),
    Layer(8, 256, 512, 5, 2),
    Layer(32, 128, 128, 3, 1),
    Layer(16, 128, 128, 3, 1),
    Layer(8, 128, 128, 3, 1),
]
SMOKE = [Layer(8, 3, 8, 4, 2), Layer(8, 32, 32, 5, 2), Layer(8, 32, 32, 3, 1)]


def xla(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def min_channels(count: int) -> AbstractContextManager:
    return mock.patch.multiple(layers, MIN_CHANNELS=count, MIN_CHANNELS_OF_STRIDE_1=count)


def in_shifts(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    with min_channels(10**9):
        return layers.convolve(x, kernel, stride)


def in_tiles(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    with min_channels(0):
        return layers.convolve(x, kernel, stride)


FORMS = {"XLA": xla, "shifts": in_shifts, "tiles": in_tiles}


def ours(
    form: Callable, layer: Layer, arrays: list[np.ndarray], gradients: bool
) -> Callable[[], None]:
    """One call of a form, compiled."""

    def forward(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return form(x, kernel, layer.stride)

    def backward(x: jax.Array, kernel: jax.Array, weights: jax.Array) -> tuple[jax.Array, ...]:
        value, pullback = jax.vjp(forward, x, kernel)
        return value, *pullback(weights)

    x, kernel, weights = map(jnp.asarray, arrays)
    call, given = (
        (jax.jit(backward), (x, kernel, weights)) if gradients else (jax.jit(forward), (x, kernel))
    )
    return lambda: jax.block_until_ready(call(*given))


def pytorch(layer: Layer, arrays: list[np.ndarray], gradients: bool) -> Callable[[], None]:
    """One call of PyTorch's."""
    import torch

    def channels_first(array: np.ndarray) -> torch.Tensor:
        return (
            torch.from_numpy(array)
            .permute(0, 3, 1, 2)
            .contiguous(memory_format=torch.channels_last)
        )

    x, weights = channels_first(arrays[0]), channels_first(arrays[2])
    kernel = (
        torch.from_numpy(arrays[1])
        .permute(3, 2, 0, 1)
        .contiguous(memory_format=torch.channels_last)
    )
    total = max((weights.shape[2] - 1) * layer.stride + layer.kernel - layer.size, 0)
    pads = (total // 2, total - total // 2) * 2

    def call() -> None:
        with torch.set_grad_enabled(gradients):
            a, b = x.detach().requires_grad_(gradients), kernel.detach().requires_grad_(gradients)
            y = torch.nn.functional.conv2d(torch.nn.functional.pad(a, pads), b, stride=layer.stride)
            if gradients:
                y.backward(weights)

    return call


def measure_layer(layer: Layer, batch: int, rounds: int) -> dict[str, dict]:
    """Quartiles of the milliseconds of each form, forward and with both gradients."""
    rng, side = np.random.default_rng(0), -(-layer.size // layer.stride)
    shapes = [
        (batch, layer.size, layer.size, layer.inputs),
        (layer.kernel, layer.kernel, layer.inputs, layer.outputs),
        (batch, side, side, layer.outputs),
    ]
    arrays = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    passes = {}
    for name, gradients in (("forward", False), ("with gradients", True)):
        calls = {form: ours(function, layer, arrays, gradients) for form, function in FORMS.items()}
        if importlib.util.find_spec("torch"):
            calls["PyTorch"] = pytorch(layer, arrays, gradients)
        seconds = alternate(calls, rounds, warmup=1)
        flops = layer.flops(batch) * (3 if gradients else 1)
        passes[name] = {
            form: {"ms": quartiles(1e3 * own), "gflops": float(flops / np.median(own) / 1e9)}
            for form, own in seconds.items()
        }
    return passes


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--output", type=Path, default=RESULTS / f"convolutions-{jax.default_backend()}.json"
    )
    parser.add_argument(
        "--smoke", action="store_true", help="tiny layers, one round; keeps nothing"
    )
    options = parser.parse_args(arguments)
    if not importlib.util.find_spec("torch"):
        print("torch is not installed: it is left out", flush=True)
    batch, rounds = (2, 1) if options.smoke else (options.batch, options.rounds)
    found = {}
    for layer in SMOKE if options.smoke else LAYERS:
        found[layer.name()] = measure_layer(layer, batch, rounds)
        for name, forms in found[layer.name()].items():
            texts = (
                f"{form} {own['ms']['median']:.1f} ms ({own['gflops']:.0f})"
                for form, own in forms.items()
            )
            print(f"{layer.name()}, {name}: {', '.join(texts)}", flush=True)
    if options.smoke:
        return
    command = "python benchmarks/convolutions.py " + " ".join(
        sys.argv[1:] if arguments is None else arguments
    )
    write_result(options.output, command.strip(), {"batch": options.batch, "layers": found})


if __name__ == "__main__":
    main()

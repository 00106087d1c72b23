"""DCGAN for square images of 8 pixels and more."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from l1jax.models.conditional import with_label
from l1jax.models.discriminator import Discriminator
from l1jax.models.gan import Gan, count_halvings, gan_of_modules
from l1jax.models.linear import (
    ConvTranspose,
    Dense,
    Precision,
    at_least_float32,
    checkpointed,
    compute_dtype,
)
from l1jax.models.network import ClassWeights, Labels
from l1jax.models.regularisation import Dropout, Norm, batch_norm

KERNEL_INIT = nn.initializers.normal(0.02)


def scale_init(key: Array, shape: Sequence[int], dtype: Any = jnp.float32) -> Array:
    """Draw batch norm's γ from a normal distribution around 1, as the paper's authors do.

    Args:
        key: random key.
        shape: shape of γ.
        dtype: dtype of γ.
    """
    return 1 + 0.02 * jax.random.normal(key, shape, dtype)


class DcganGenerator(nn.Module):
    """A projection to a small image, doubled by 4×4 stride-2 transposed convolutions."""

    start: int  # pixels of the small image
    widths: Sequence[int]  # channels of the small image and of each doubling but the last
    image_channels: int
    classes: int = 0
    dropout: float = 0.0
    dtype: Any = None
    checkpointing: bool = False

    @nn.compact
    def __call__(
        self,
        latents: Float[Array, "batch latent"],
        train: bool,
        label: Labels | ClassWeights | None = None,
    ) -> Float[Array, "batch height width channels"]:
        """Generate images in [-1, 1]."""
        shared = {"use_bias": False, "kernel_init": KERNEL_INIT, "dtype": self.dtype}
        deconv = partial(ConvTranspose, kernel_size=4, stride=2, **shared)
        first, *rest = self.widths

        def normed(i: int, x: Array) -> Array:
            norm = batch_norm(train, f"norm_{i}", scale_init=scale_init, dtype=self.dtype)
            return Dropout(self.dropout, name=f"dropout_{i}")(nn.relu(norm(x)), train)

        def doubled(i: int, features: int, x: Array) -> Array:
            return normed(i, deconv(features, name=f"deconv_{i}")(x))

        x = with_label(latents, label, self.classes)
        x = Dense(self.start**2 * first, name="project", **shared)(x)
        x = x.reshape(-1, self.start, self.start, first)
        x = checkpointed(self, partial(normed, 0), x, self.checkpointing)
        for i, features in enumerate(rest, 1):
            x = checkpointed(self, partial(doubled, i, features), x, self.checkpointing)
        x = deconv(self.image_channels, name="image")(x)
        return jnp.tanh(at_least_float32(x))


def dcgan(
    image_shape: tuple[int, int, int],
    latent_size: int = 100,
    channels: int = 64,
    *,
    norm: Norm = "batch",
    spectral_norm: bool = False,
    dropout: float = 0.0,
    generator_dropout: float = 0.0,
    classes: int = 0,
    packing: int = 1,
    dtype: Precision = "float32",
    checkpointing: bool = False,
) -> Gan:
    """Build DCGAN: a ReLU generator with batch norm and a leaky ReLU 0.2 discriminator.

    Images are in [-1, 1]. The generator starts from 4 to 7 pixels and doubles them up to the image,
    four times for 64 pixels. No layer before a norm has a bias. With classes, one-hot labels are
    appended to the latents, and the discriminator has a projection.

    Args:
        image_shape: height, width, channels; square, with a side of at least 8 that is 4, 5, 6 or
            7 times a power of two.
        latent_size: dimensions of the Gaussian latent.
        channels: channels of the layer next to the image; they double with every halving of the
            size.
        norm: norm of the discriminator from its second layer on: "none", "batch", "layer" or
            "group".
        spectral_norm: whether the discriminator's kernels are divided by their largest singular
            value.
        dropout: share of the discriminator's activations that training sets to zero, in [0, 1).
        generator_dropout: the same of the generator's, after each norm and ReLU.
        classes: number of classes, for labels 0 … classes − 1; 0 for an unconditional model.
        packing: images per logit, see `packed`; 1 for no packing.
        dtype: "float32", or "bfloat16" to compute in bfloat16 with float32 parameters.
        checkpointing: whether the backward pass computes each doubling and halving again, to save
            memory.

    Raises:
        ValueError: if the image's shape does not fit.

    Source: Radford, Metz, Chintala, ICLR 2016.
    """
    start, doublings = count_halvings(image_shape)
    widths = [channels * 2**i for i in range(doublings)]
    compute = compute_dtype(dtype)
    generator = DcganGenerator(
        start,
        tuple(reversed(widths)),
        image_shape[-1],
        classes,
        generator_dropout,
        compute,
        checkpointing,
    )
    discriminator = Discriminator(
        tuple(widths),
        (),
        kernel_size=4,
        kernel_init=KERNEL_INIT,
        scale_init=scale_init,
        norm=norm,
        spectral_norm=spectral_norm,
        dropout=dropout,
        classes=classes,
        dtype=compute,
        checkpointing=checkpointing,
    )
    return gan_of_modules(generator, discriminator, latent_size, image_shape, classes, packing)

"""Dense generators and discriminators."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from flax import linen as nn
from jaxtyping import Array, Float, PyTree

from l1jax.models.conditional import with_label
from l1jax.models.discriminator import Discriminator, leaky_relu
from l1jax.models.gan import Gan, packed_discriminator
from l1jax.models.linear import Dense, Precision, at_least_float32, compute_dtype
from l1jax.models.network import ClassWeights, Generator, Labels, linen_network
from l1jax.models.regularisation import Dropout, Norm

RANGES = {"tanh": (-1.0, 1.0), "sigmoid": (0.0, 1.0), "linear": None}
OUTPUTS = {"tanh": jax.nn.tanh, "sigmoid": jax.nn.sigmoid, "linear": lambda x: x}
ACTIVATIONS = {"leaky_relu": leaky_relu, "relu": jax.nn.relu}


class DenseImages(nn.Module):
    """Dense layers from latents, and labels if it has classes, to images."""

    hidden: Sequence[int]
    image_shape: tuple[int, int, int]
    activation: Callable[[Array], Array]
    output: Callable[[Array], Array]
    classes: int = 0
    dropout: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(
        self,
        latents: Float[Array, "batch latent"],
        train: bool,
        label: Labels | ClassWeights | None = None,
    ) -> Float[Array, "batch height width channels"]:
        """Generate images; only dropout makes a difference in training."""
        height, width, channels = self.image_shape
        x = with_label(latents, label, self.classes)
        for i, features in enumerate(self.hidden):
            x = self.activation(Dense(features, dtype=self.dtype, name=f"hidden_{i}")(x))
            self.sow("activations", "hidden", x)
            x = Dropout(self.dropout, name=f"dropout_{i}")(x, train)
        x = Dense(height * width * channels, dtype=self.dtype, name="image")(x)
        x = self.output(at_least_float32(x))
        return x.reshape(-1, *self.image_shape)


def mlp_gan(
    image_shape: tuple[int, int, int],
    latent_size: int = 64,
    generator_hidden: Sequence[int] = (256, 256),
    discriminator_channels: Sequence[int] = (),
    discriminator_hidden: Sequence[int] = (256, 256),
    output: str = "tanh",
    activation: str = "leaky_relu",
    *,
    norm: Norm = "none",
    spectral_norm: bool = False,
    dropout: float = 0.0,
    generator_dropout: float = 0.0,
    classes: int = 0,
    packing: int = 1,
    dtype: Precision = "float32",
    checkpointing: bool = False,
) -> Gan:
    """Build a dense generator and a dense or convolutional discriminator.

    The discriminator has leaky ReLU 0.2. With classes, one-hot labels are appended to the latents
    and to the pixels; a convolutional discriminator has a projection instead.

    Args:
        image_shape: height, width, channels; (1, 1, n) for points in n dimensions.
        latent_size: dimensions of the Gaussian latent.
        generator_hidden: width of each hidden layer of the generator.
        discriminator_channels: channels of the discriminator's 5×5 stride-2 convolutions; empty
            for a dense discriminator.
        discriminator_hidden: width of each hidden dense layer of the discriminator.
        output: "tanh" for images in [-1, 1], "sigmoid" for [0, 1], "linear" for points, which have
            no range.
        activation: activation of the generator's hidden layers: "leaky_relu" with slope 0.2, or
            "relu".
        norm: norm of the discriminator from its second layer on: "none", "batch", "layer" or
            "group".
        spectral_norm: whether the discriminator's kernels are divided by their largest singular
            value.
        dropout: share of the discriminator's activations that training sets to zero, in [0, 1).
        generator_dropout: the same of the generator's hidden layers.
        classes: number of classes, for labels 0 … classes − 1; 0 for an unconditional model.
        packing: images per logit, see `packed`; 1 for no packing.
        dtype: "float32", or "bfloat16" to compute in bfloat16 with float32 parameters.
        checkpointing: whether the backward pass computes the discriminator's layers again, to save
            memory.
    """
    compute = compute_dtype(dtype)
    generator = DenseImages(
        tuple(generator_hidden),
        image_shape,
        ACTIVATIONS[activation],
        OUTPUTS[output],
        classes,
        generator_dropout,
        compute,
    )
    discriminator = Discriminator(
        tuple(discriminator_channels),
        tuple(discriminator_hidden),
        kernel_size=5,
        norm=norm,
        spectral_norm=spectral_norm,
        dropout=dropout,
        classes=classes,
        dtype=compute,
        checkpointing=checkpointing,
    )
    return Gan(
        Generator(
            linen_network(generator, (latent_size,), classes),
            latent_size,
            image_shape,
            RANGES[output],
            classes,
        ),
        packed_discriminator(discriminator, image_shape, classes, packing),
        packing,
    )


def dense_generator(
    image_shape: tuple[int, int, int],
    latent_size: int = 100,
    hidden: Sequence[int] = (128, 128),
    *,
    generator_dropout: float = 0.0,
    dtype: Precision = "float32",
) -> Generator:
    """Build a dense generator alone: ReLU in hidden layers, sigmoid images in [0, 1].

    Args:
        image_shape: height, width, channels.
        latent_size: dimensions of the Gaussian latent.
        hidden: width of each hidden layer.
        generator_dropout: share of the activations of hidden layers that training sets to zero, in
            [0, 1). `activations` are those without dropout.
        dtype: "float32", or "bfloat16" to compute in bfloat16 with float32 parameters.
    """
    module = DenseImages(
        tuple(hidden),
        image_shape,
        jax.nn.relu,
        OUTPUTS["sigmoid"],
        dropout=generator_dropout,
        dtype=compute_dtype(dtype),
    )

    def activations(params: PyTree, latents: Float[Array, "batch latent"]) -> tuple[Array, ...]:
        _, collected = module.apply({"params": params}, latents, False, mutable=["activations"])
        return tuple(jax.tree.leaves(collected))

    pure = linen_network(module, (latent_size,))
    return Generator(pure, latent_size, image_shape, RANGES["sigmoid"], activations=activations)

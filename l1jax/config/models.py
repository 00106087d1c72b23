"""Networks."""

from dataclasses import dataclass, field
from typing import Literal

from l1jax.config.fields import bounds


@dataclass(frozen=True)
class MlpGan:
    """A dense generator against a dense discriminator, with convolutions before it if asked."""

    latent_size: int = field(default=64, metadata=bounds(1))
    """Dimensions of the Gaussian latent."""
    generator_hidden: tuple[int, ...] = field(default=(256, 256), metadata=bounds(1))
    """Width of each hidden layer of the generator."""
    discriminator_channels: tuple[int, ...] = field(default=(), metadata=bounds(1))
    """Channels of 5×5 stride-2 convolutions in front of the discriminator; none by default."""
    discriminator_hidden: tuple[int, ...] = field(default=(256, 256), metadata=bounds(1))
    """Width of each hidden dense layer of the discriminator."""
    output: Literal["tanh", "sigmoid"] = "tanh"
    """The generator's last activation: tanh for images in [-1, 1], sigmoid for [0, 1]."""


@dataclass(frozen=True)
class Dcgan:
    """DCGAN: 4×4 stride-2 convolutions and batch norm (Radford, Metz, Chintala, ICLR 2016)."""

    latent_size: int = field(default=100, metadata=bounds(1))
    """Dimensions of the Gaussian latent."""
    channels: int = field(default=64, metadata=bounds(1))
    """Channels of the layer next to the image; they double with every halving of the size."""
    discriminator_norm: bool = True
    """Batch norm in the discriminator; switch it off with gradient penalties."""


@dataclass(frozen=True)
class DenseGenerator:
    """A dense generator alone, ReLU inside and sigmoid outside, for reconstruction objectives."""

    latent_size: int = field(default=100, metadata=bounds(1))
    """Dimensions of the Gaussian latent."""
    hidden: tuple[int, ...] = field(default=(128, 128), metadata=bounds(1))
    """Width of each hidden layer."""


@dataclass(frozen=True)
class Vae:
    """A variational autoencoder, dense or convolutional (Kingma, Welling, ICLR 2014)."""

    latent_size: int = field(default=32, metadata=bounds(1))
    """Dimensions of the latent."""
    channels: tuple[int, ...] = field(default=(), metadata=bounds(1))
    """Channels of the encoder's 4×4 stride-2 convolutions, mirrored in the decoder; none by default."""
    hidden: tuple[int, ...] = field(default=(512, 512), metadata=bounds(1))
    """Width of each hidden dense layer of the encoder, mirrored in the decoder."""
    likelihood: Literal["bernoulli", "gaussian", "discretized_logistic"] = "bernoulli"
    """Of the pixels: bernoulli for black and white, discretized_logistic or gaussian for 256 values."""
    classes: int = field(default=0, metadata=bounds(0))
    """Number of classes of a class-conditional model; 0 for none."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the computation; parameters are float32."""


Model = MlpGan | Dcgan | DenseGenerator | Vae

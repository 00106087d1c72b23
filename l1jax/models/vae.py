"""Variational autoencoders, dense or convolutional."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int, PyTree

from l1jax.models.conditional import with_label
from l1jax.models.linear import (
    Conv,
    ConvTranspose,
    Dense,
    Precision,
    at_least_float32,
    compute_dtype,
)
from l1jax.models.network import ClassWeights, Generator, Network, linen_network
from l1jax.models.regularisation import Dropout
from l1jax.models.summary import summarise

# Likelihood → numbers that the decoder gives per entry of an image.
OUTPUTS = {"bernoulli": 1, "gaussian": 2, "discretized_logistic": 2}


class Vae(NamedTuple):
    """A recognition network and a decoder.

    encoder: images → mean and log-variance of the latents, side by side.
    decoder: latents → what the likelihood needs, side by side along the channels: the logit of the
        mean and, but for Bernoulli, a log-scale that is one learned number per channel.
    generator: the decoder's mean image, with the decoder's parameters.
    likelihood: a name of `l1jax.objectives.variational.LIKELIHOODS`.
    """

    encoder: Network
    decoder: Network
    generator: Generator
    likelihood: str

    def summary(self) -> str:
        """Tabulate both networks, as `summarise` does."""
        encoder = summarise(self.encoder.init, "encoder")
        decoder = summarise(self.decoder.init, "decoder")
        return f"{encoder}\n\n{decoder}"


class Encoder(nn.Module):
    """4×4 stride-2 convolutions, if any, then dense layers; ReLU and dropout inside."""

    channels: Sequence[int]
    hidden: Sequence[int]
    latent_size: int
    classes: int
    dropout: float
    dtype: Any

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "batch height width channels"],
        train: bool,
        label: Int[Array, " batch"] | None = None,
    ) -> Float[Array, "batch moments"]:
        """Mean and log-variance of the latents; only dropout makes a difference in training."""

        def activated(name: str, x: Array) -> Array:
            return Dropout(self.dropout, name=f"dropout_{name}")(nn.relu(x), train)

        x = 2 * images - 1
        for i, features in enumerate(self.channels):
            name = f"conv_{i}"
            x = activated(name, Conv(features, 4, stride=2, dtype=self.dtype, name=name)(x))
        x = with_label(x.reshape(x.shape[0], -1), label, self.classes)
        for i, features in enumerate(self.hidden):
            name = f"hidden_{i}"
            x = activated(name, Dense(features, dtype=self.dtype, name=name)(x))
        return at_least_float32(Dense(2 * self.latent_size, dtype=self.dtype, name="moments")(x))


class Decoder(nn.Module):
    """Dense layers, then 4×4 stride-2 transposed convolutions, if any; ReLU and dropout inside."""

    channels: Sequence[int]
    hidden: Sequence[int]
    image_shape: tuple[int, int, int]
    scaled: bool
    classes: int
    dropout: float
    dtype: Any

    @nn.compact
    def __call__(
        self,
        latents: Float[Array, "batch latent"],
        train: bool,
        label: Int[Array, " batch"] | ClassWeights | None = None,
    ) -> Float[Array, "batch height width outputs"]:
        """Logits of the mean image, and the log-scales; in training, with dropout."""

        def activated(name: str, x: Array) -> Array:
            return Dropout(self.dropout, name=f"dropout_{name}")(nn.relu(x), train)

        height, width, image_channels = self.image_shape
        x = with_label(latents, label, self.classes)
        for i, features in enumerate(self.hidden):
            name = f"hidden_{i}"
            x = activated(name, Dense(features, dtype=self.dtype, name=name)(x))
        if self.channels:
            factor = 2 ** len(self.channels)
            height //= factor
            width //= factor
            first, *rest = self.channels
            project = Dense(height * width * first, dtype=self.dtype, name="project")
            x = activated("project", project(x))
            x = x.reshape(-1, height, width, first)
            for i, features in enumerate(rest, 1):
                name = f"deconv_{i}"
                deconv = ConvTranspose(features, 4, stride=2, dtype=self.dtype, name=name)
                x = activated(name, deconv(x))
            x = ConvTranspose(image_channels, 4, stride=2, dtype=self.dtype, name="image")(x)
        else:
            x = Dense(height * width * image_channels, dtype=self.dtype, name="image")(x)
        x = at_least_float32(x.reshape(-1, *self.image_shape))
        if not self.scaled:
            return x
        log_scale = self.param("log_scale", nn.initializers.constant(-2.0), (image_channels,))
        return jnp.concatenate([x, jnp.broadcast_to(log_scale, x.shape)], axis=-1)


def vae(
    image_shape: tuple[int, int, int],
    latent_size: int = 32,
    channels: Sequence[int] = (),
    hidden: Sequence[int] = (512, 512),
    likelihood: str = "bernoulli",
    classes: int = 0,
    dtype: Precision = "float32",
    *,
    encoder_dropout: float = 0.0,
    decoder_dropout: float = 0.0,
) -> Vae:
    """Build a variational autoencoder with a Gaussian posterior and a standard normal prior.

    The posterior has a diagonal covariance.

    Args:
        image_shape: height, width, channels.
        latent_size: dimensions of the latent.
        channels: channels of each 4×4 stride-2 convolution of the encoder, which the decoder
            mirrors; empty for dense networks.
        hidden: width of each hidden dense layer of the encoder, which the decoder mirrors.
        likelihood: "bernoulli", "gaussian" or "discretized_logistic".
        classes: number of classes of a conditional model, whose networks both take the label; 0
            for an unconditional model.
        dtype: "float32", or "bfloat16" to compute in bfloat16 with float32 parameters.
        encoder_dropout: share of the encoder's activations that training sets to zero, in [0, 1).
        decoder_dropout: the same of the decoder's.

    Raises:
        ValueError: if the images cannot be halved as often as there are convolutions.

    Source: Kingma, Welling, ICLR 2014; one scale for all pixels as in Rybkin, Daniilidis, Levine,
        ICML 2021; labels as in Sohn, Lee, Yan, NeurIPS 2015.
    """
    height, width, image_channels = image_shape
    if height % 2 ** len(channels) or width % 2 ** len(channels):
        raise ValueError(
            f"`image_shape` (={image_shape}) must be divisible by 2 in height and width as often "
            f"as `channels` (={tuple(channels)}) has convolutions; leave some out, or change "
            "`data.image_size`, or of sound `data.mels` and `data.frames`."
        )
    compute = compute_dtype(dtype)
    scaled = OUTPUTS[likelihood] == 2
    mirrored = tuple(reversed(tuple(hidden)))
    encoder = Encoder(
        tuple(channels), tuple(hidden), latent_size, classes, encoder_dropout, compute
    )
    decoder = Decoder(
        tuple(reversed(channels)),
        mirrored,
        image_shape,
        scaled,
        classes,
        decoder_dropout,
        compute,
    )
    decode = linen_network(decoder, (latent_size,), classes)

    def generate(
        params: PyTree,
        batch_stats: PyTree,
        inputs: Any,
        train: bool,
        label: Any = None,
        key: Any = None,
    ) -> tuple[Any, PyTree]:
        outputs, batch_stats = decode.apply(params, batch_stats, inputs, train, label, key)
        return jax.nn.sigmoid(outputs[..., :image_channels]), batch_stats

    generator = Generator(
        Network(decode.init, generate), latent_size, image_shape, (0.0, 1.0), classes
    )
    return Vae(linen_network(encoder, image_shape, classes), decode, generator, likelihood)

"""Networks."""

from dataclasses import dataclass, field
from typing import Literal

from l1jax.config.custom import CustomModel
from l1jax.config.fields import OWN_DEFAULT, bounds

SHARE = bounds(0, 1, open_maximum=True) | {"only_training": True}
"""Field metadata of what is dropped in training; parameters and inference do not depend on it."""


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
    output: Literal["tanh", "sigmoid", "linear"] = "tanh"
    """Last activation: tanh for images in [-1, 1], sigmoid for [0, 1], linear for points."""
    activation: Literal["leaky_relu", "relu"] = "leaky_relu"
    """Inside the generator; relu makes sharper edges between the modes of points."""
    norm: Literal["none", "batch", "layer", "group"] = field(default="none", metadata=OWN_DEFAULT)
    """Norm in the discriminator's later layers; no batch norm with gradient penalties."""
    spectral_norm: bool = field(default=False, metadata=OWN_DEFAULT)
    """Divide the discriminator's kernels by their largest singular value."""
    dropout: float = field(default=0.0, metadata=SHARE)
    """Share of the discriminator's activations that training sets to zero."""
    generator_dropout: float = field(default=0.0, metadata=SHARE)
    """Share of the generator's activations that training sets to zero."""
    classes: int = field(default=0, metadata=bounds(0))
    """Number of classes of a class-conditional model; 0 for an unconditional one."""
    packing: int = field(default=1, metadata=bounds(1))
    """Images judged together (PacGAN); must divide the batch of each device."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """What the layers compute in; parameters are float32 either way."""
    checkpointing: bool = False
    """Recompute the discriminator's convolutions when differentiating: less memory, more time."""


@dataclass(frozen=True)
class Dcgan:
    """DCGAN: 4×4 stride-2 convolutions and batch norm (Radford, Metz, Chintala, ICLR 2016)."""

    latent_size: int = field(default=100, metadata=bounds(1))
    """Dimensions of the Gaussian latent."""
    channels: int = field(default=64, metadata=bounds(1))
    """Channels of the layer next to the image; they double with every halving of the size."""
    norm: Literal["none", "batch", "layer", "group"] = field(default="batch", metadata=OWN_DEFAULT)
    """Norm in the discriminator's later layers; no batch norm with gradient penalties."""
    spectral_norm: bool = field(default=False, metadata=OWN_DEFAULT)
    """Divide the discriminator's kernels by their largest singular value."""
    dropout: float = field(default=0.0, metadata=SHARE)
    """Share of the discriminator's activations that training sets to zero."""
    generator_dropout: float = field(default=0.0, metadata=SHARE)
    """Share of the generator's activations that training sets to zero."""
    classes: int = field(default=0, metadata=bounds(0))
    """Number of classes of a class-conditional model; 0 for an unconditional one."""
    packing: int = field(default=1, metadata=bounds(1))
    """Images judged together (PacGAN); must divide the batch of each device."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """What the layers compute in; parameters are float32 either way."""
    checkpointing: bool = False
    """Recompute each layer when differentiating: less memory, more time."""


@dataclass(frozen=True)
class SnResnet:
    """Residual networks with spectral norm at 32, 48 or 64 pixels (Miyato et al., ICLR 2018)."""

    latent_size: int = field(default=128, metadata=bounds(1))
    """Dimensions of the Gaussian latent."""
    generator_width: int = field(default=0, metadata=bounds(0))
    """Channels next to the image; 0 for the paper's (256 at 32 pixels, 64 above)."""
    discriminator_width: int = field(default=0, metadata=bounds(0))
    """Channels next to the image; 0 for the paper's (128 at 32 pixels, 64 above)."""
    norm: Literal["none", "batch", "layer", "group"] = field(default="none", metadata=OWN_DEFAULT)
    """Norm in front of the discriminator's activations; no batch norm with gradient penalties."""
    spectral_norm: bool = field(default=True, metadata=OWN_DEFAULT)
    """Divide the discriminator's kernels by their largest singular value."""
    dropout: float = field(default=0.0, metadata=SHARE)
    """Share of the activations in each of the discriminator's blocks that training sets to zero."""
    generator_dropout: float = field(default=0.0, metadata=SHARE)
    """The same of the generator's blocks."""
    discriminator_drop_path: float = field(default=0.0, metadata=SHARE)
    """Share of the images that skip the discriminator's last block; earlier blocks: less."""
    generator_drop_path: float = field(default=0.0, metadata=SHARE)
    """Share of the images that skip the generator's last block; earlier blocks: less."""
    classes: int = field(default=0, metadata=bounds(0))
    """Number of classes of a class-conditional model; 0 for an unconditional one."""
    packing: int = field(default=1, metadata=bounds(1))
    """Images judged together (PacGAN); must divide the batch of each device."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """What the layers compute in; parameters are float32 either way."""
    checkpointing: bool = False
    """Recompute each residual block when differentiating: less memory, more time."""


@dataclass(frozen=True)
class R3gan:
    """Residual networks for relativistic pairing, R1 and R2 (Huang et al., NeurIPS 2024)."""

    latent_size: int = field(default=64, metadata=bounds(1))
    """Dimensions of the Gaussian latent."""
    channels: int = field(default=128, metadata=bounds(1))
    """Channels up to 8 times the smallest size, then halved at each doubling; paper: 768."""
    blocks: int = field(default=1, metadata=bounds(1, 1_000))
    """Residual blocks per image size, in each network; the paper's: 2."""
    group_size: int = field(default=16, metadata=bounds(1))
    """Channels of a convolution's group; must divide twice the channels of each size."""
    dropout: float = field(default=0.0, metadata=SHARE)
    """Share of the activations in each of the discriminator's blocks that training sets to zero."""
    generator_dropout: float = field(default=0.0, metadata=SHARE)
    """The same of the generator's blocks."""
    discriminator_drop_path: float = field(default=0.0, metadata=SHARE)
    """Share of the images that skip the discriminator's last block; earlier blocks: less."""
    generator_drop_path: float = field(default=0.0, metadata=SHARE)
    """Share of the images that skip the generator's last block; earlier blocks: less."""
    classes: int = field(default=0, metadata=bounds(0))
    """Number of classes of a class-conditional model; 0 for an unconditional one."""
    packing: int = field(default=1, metadata=bounds(1))
    """Images judged together (PacGAN); must divide the batch of each device."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """What the layers compute in; parameters are float32 either way."""
    checkpointing: bool = False
    """Recompute each residual block when differentiating: less memory, more time."""


@dataclass(frozen=True)
class DenseGenerator:
    """A dense generator alone, ReLU inside and sigmoid outside, for reconstruction objectives."""

    latent_size: int = field(default=100, metadata=bounds(1))
    """Dimensions of the Gaussian latent."""
    hidden: tuple[int, ...] = field(default=(128, 128), metadata=bounds(1))
    """Width of each hidden layer."""
    generator_dropout: float = field(default=0.0, metadata=SHARE)
    """Share of the activations that training sets to zero."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """What the layers compute in; parameters are float32 either way."""


@dataclass(frozen=True)
class Vae:
    """A variational autoencoder, dense or convolutional (Kingma, Welling, ICLR 2014)."""

    latent_size: int = field(default=32, metadata=bounds(1))
    """Dimensions of the latent."""
    channels: tuple[int, ...] = field(default=(), metadata=bounds(1))
    """Channels of the encoder's 4×4 stride-2 convolutions, mirrored in the decoder."""
    hidden: tuple[int, ...] = field(default=(512, 512), metadata=bounds(1))
    """Width of each hidden dense layer of the encoder, mirrored in the decoder."""
    likelihood: Literal["bernoulli", "gaussian", "discretized_logistic"] = "bernoulli"
    """bernoulli for black and white pixels, the other two for pixels of 256 values."""
    encoder_dropout: float = field(default=0.0, metadata=SHARE)
    """Share of the encoder's activations that training sets to zero."""
    decoder_dropout: float = field(default=0.0, metadata=SHARE)
    """Share of the decoder's activations that training sets to zero."""
    classes: int = field(default=0, metadata=bounds(0))
    """Number of classes of a class-conditional model; 0 for none."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the computation; parameters are float32."""


@dataclass(frozen=True, kw_only=True)
class FlowModel:
    """What flow models share: their classes, their precision and how they are drawn from."""

    classes: int = field(default=0, metadata=bounds(0))
    """Number of classes of a class-conditional model; 0 for an unconditional one."""
    average_velocity: bool = False
    """Give the average velocity over an interval, too, whose length the network reads."""
    method: Literal["euler", "midpoint", "heun", "average"] = "midpoint"
    """How an image is reached from noise; average: in one step or a few, by average velocities."""
    sampling_steps: int = field(default=16, metadata=bounds(1, 1_000))
    """Steps to an image; midpoint and heun evaluate the network twice in each."""
    time_shift: float = field(default=1.0, metadata=bounds(0.01, 100))
    """Above 1 more of the steps are near the noise."""
    guidance: float = field(default=0.0, metadata=bounds(0, 100))
    """w of classifier-free guidance: v + w·(v − v without the class); needs label dropout."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """What the layers compute in; parameters are float32 either way."""


@dataclass(frozen=True)
class FlowMlp(FlowModel):
    """A dense flow model, for points and small images (Lipman et al., ICLR 2023)."""

    hidden: tuple[int, ...] = field(default=(256, 256, 256), metadata=bounds(1))
    """Width of each hidden layer."""
    time_features: int = field(default=64, metadata=bounds(2))
    """Cosines and sines of the time that the network sees beside the image; even."""
    predicts: Literal["image", "velocity", "noise"] = "image"
    """What the network gives; the velocity follows from it."""
    output: Literal["tanh", "linear"] = "tanh"
    """Last activation where it gives the image: tanh for images in [-1, 1], linear for points."""
    generator_dropout: float = field(default=0.0, metadata=SHARE)
    """Share of the activations that training sets to zero."""


@dataclass(frozen=True)
class Unet(FlowModel):
    """A U-Net flow model for images of 8 to 64 pixels (Ho et al., NeurIPS 2020)."""

    channels: int = field(default=64, metadata=bounds(2))
    """Channels of the level next to the image; even."""
    multipliers: tuple[int, ...] = field(default=(1, 2, 2), metadata=bounds(1))
    """Channels of each level as multiples of these; each level but the last halves the image."""
    blocks: int = field(default=2, metadata=bounds(1, 1_000))
    """Residual blocks of each level on the way down; one more on the way up."""
    attention: tuple[int, ...] = field(default=(), metadata=bounds(1))
    """Heights of the images at which blocks are followed by attention; the middle always is."""
    group_size: int = field(default=8, metadata=bounds(1))
    """Channels of a norm's group, which are removed together; must divide those of each level."""
    head_size: int = field(default=32, metadata=bounds(1))
    """Channels of an attention head; must divide those of each level that attends."""
    patch_size: int = field(default=1, metadata=bounds(1))
    """Squares of pixels of this side are one pixel of the network; 2 makes it 4 times faster."""
    predicts: Literal["image", "velocity", "noise"] = "image"
    """What the network gives; the velocity follows from it. The image comes through tanh."""
    generator_dropout: float = field(default=0.0, metadata=SHARE)
    """Share of the activations in each block that training sets to zero."""
    checkpointing: bool = False
    """Recompute each block when differentiating: less memory, more time."""


@dataclass(frozen=True)
class Dit(FlowModel):
    """A diffusion transformer, a flow model for images (Peebles, Xie, ICCV 2023)."""

    width: int = field(default=384, metadata=bounds(1))
    """Channels of a token; a multiple of 4 that the heads divide."""
    layers: int = field(default=12, metadata=bounds(1, 1_000))
    """Blocks of attention and feed-forward units, of which each has 4 times the width."""
    heads: int = field(default=6, metadata=bounds(1))
    """Attention heads."""
    patch_size: int = field(default=2, metadata=bounds(1))
    """Side of the squares of pixels that are tokens; must divide height and width."""
    predicts: Literal["image", "velocity", "noise"] = "image"
    """What the network gives; the velocity follows from it. The image comes through tanh."""
    generator_dropout: float = field(default=0.0, metadata=SHARE)
    """Share of what attention and feed-forward units add that training sets to zero."""
    checkpointing: bool = False
    """Recompute each block when differentiating: less memory, more time."""


@dataclass(frozen=True)
class Transformer:
    """A decoder-only transformer for text: RMSNorm first, rotary positions, no biases."""

    width: int = field(default=128, metadata=bounds(1))
    """Size of the residual stream; the heads must divide it into even parts."""
    layers: int = field(default=4, metadata=bounds(1, 1_000))
    """Blocks of attention and feed-forward units."""
    heads: int = field(default=4, metadata=bounds(1))
    """Attention heads."""
    key_value_heads: int = field(default=0, metadata=bounds(0))
    """Heads of keys and values, which must divide the heads; 0 for as many."""
    hidden: int = field(default=0, metadata=bounds(0))
    """Units of each feed-forward layer; 0 for 8/3 of the width (swiglu) or 4 times it (gelu)."""
    activation: Literal["swiglu", "gelu"] = "swiglu"
    """Of the feed-forward units; swiglu has a third matrix, the gate."""
    context: int = field(default=128, metadata=bounds(1, 2**20))
    """Tokens that attention sees; at most the data's `window`."""
    rotary_base: float = field(default=10_000.0, metadata=bounds(1))
    """Base of the rotary positions' frequencies."""
    dropout: float = field(default=0.0, metadata=SHARE)
    """Share of the embedding's and of each layer's outputs that training sets to zero."""
    drop_path: float = field(default=0.0, metadata=SHARE)
    """Share of the windows that skip each unit of the last block; of earlier blocks: less."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """What the layers compute in; parameters are float32 either way."""
    checkpointing: bool = False
    """Recompute each block when differentiating: less memory, more time."""
    block_heads: tuple[int, ...] = field(default=(), metadata=bounds(0))
    """Heads of each block, as compaction leaves them; empty for `heads` in each."""
    block_hidden: tuple[int, ...] = field(default=(), metadata=bounds(0))
    """Feed-forward units of each block; empty for `hidden` in each."""


Model = (
    MlpGan
    | Dcgan
    | SnResnet
    | R3gan
    | DenseGenerator
    | Vae
    | FlowMlp
    | Unet
    | Dit
    | Transformer
    | CustomModel
)

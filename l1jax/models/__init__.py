"""Generative models as pure functions; Flax Linen inside."""

from l1jax.models.conditional import class_path
from l1jax.models.dcgan import dcgan
from l1jax.models.directions import Directions, sefa_directions
from l1jax.models.dit import dit
from l1jax.models.flow import Flow, flow_mlp
from l1jax.models.from_linen import from_linen
from l1jax.models.from_nnx import from_nnx
from l1jax.models.gan import Gan, packed
from l1jax.models.latents import interpolations, slerp, truncate
from l1jax.models.mlp import dense_generator, mlp_gan
from l1jax.models.network import Generator, Network, from_uint8, to_uint8
from l1jax.models.r3gan import r3gan
from l1jax.models.sn_resnet import sn_resnet
from l1jax.models.token_generation import generate
from l1jax.models.token_sampling import Sampling
from l1jax.models.transformer import LanguageModel, transformer
from l1jax.models.unet import unet
from l1jax.models.vae import Vae, vae

__all__ = [
    "Directions",
    "Flow",
    "Gan",
    "Generator",
    "LanguageModel",
    "Network",
    "Sampling",
    "Vae",
    "class_path",
    "dcgan",
    "dense_generator",
    "dit",
    "flow_mlp",
    "from_linen",
    "from_nnx",
    "from_uint8",
    "generate",
    "interpolations",
    "mlp_gan",
    "packed",
    "r3gan",
    "sefa_directions",
    "slerp",
    "sn_resnet",
    "to_uint8",
    "transformer",
    "truncate",
    "unet",
    "vae",
]

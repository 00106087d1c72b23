"""The discriminator of DCGAN and of the dense GAN: strided convolutions and dense layers."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
from flax import linen as nn
from jaxtyping import Array, Float

from l1jax.models.conditional import logits, with_label
from l1jax.models.linear import Conv, Dense, checkpointed
from l1jax.models.network import Labels
from l1jax.models.regularisation import Dropout, Norm, norm

leaky_relu = partial(jax.nn.leaky_relu, negative_slope=0.2)


class Discriminator(nn.Module):
    """Convolutions of stride 2, if any, then dense layers, if any, then one logit per image.

    Each layer is followed by a norm (except the first layer), leaky ReLU 0.2 and dropout. A layer
    before a norm has no bias. With convolutions, labels are projected on the last features;
    without, they are appended to the pixels.
    """

    channels: Sequence[int]
    hidden: Sequence[int]
    kernel_size: int
    kernel_init: Callable[..., Any] = nn.initializers.lecun_normal()
    scale_init: Callable[..., Any] = nn.initializers.ones
    norm: Norm = "none"
    spectral_norm: bool = False
    dropout: float = 0.0
    classes: int = 0
    dtype: Any = None
    checkpointing: bool = False

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "batch height width channels"],
        train: bool,
        label: Labels | None = None,
    ) -> Float[Array, " batch"]:
        """Score images."""
        shared = {
            "kernel_init": self.kernel_init,
            "spectral_norm": self.spectral_norm,
            "dtype": self.dtype,
        }
        convolution = partial(Conv, kernel_size=self.kernel_size, stride=2, **shared)
        dense = partial(Dense, **shared)

        def layer(
            i: int,
            make: Callable[..., Callable[[Array], Array]],
            name: str,
            features: int,
            x: Array,
        ) -> Array:
            kind: Norm = self.norm if i else "none"
            x = make(features, use_bias=kind == "none", name=name)(x)
            x = norm(kind, train, f"norm_{i}", scale_init=self.scale_init, dtype=self.dtype)(x)
            return Dropout(self.dropout, name=f"dropout_{i}")(leaky_relu(x), train)

        x = images
        depth = len(self.channels)
        for i, features in enumerate(self.channels):
            stage = partial(layer, i, convolution, f"conv_{i}", features)
            x = checkpointed(self, stage, x, self.checkpointing)
        x = x.reshape(x.shape[0], -1)
        if depth == 0:
            x = with_label(x, label, self.classes)
        for i, features in enumerate(self.hidden):
            x = layer(depth + i, dense, f"hidden_{i}", features, x)
        projected_classes = self.classes if depth else 0
        return logits(x, label, projected_classes, dense)

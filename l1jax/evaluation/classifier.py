"""A small classifier of a labelled data set, whose features and classes need no download."""

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import NamedTuple, cast

import jax
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict
from jaxtyping import Array, Float, Int, PyTree, UInt8

from l1jax.evaluation.features import Extracted, FeatureExtractor, extract_all, scaled
from l1jax.evaluation.tensors import Tensors, hash_tensors
from l1jax.models.linear import Conv, Dense

WIDTHS = (32, 64, 128)  # channels of the stages, each of which halves the image
MIN_STAGE_SIDE = 7  # pixels at which the stages end
MAX_STAGE_SIDE = 48  # pixels above which images are made smaller first
SIDES = (8, 128)  # pixels, the smallest and the largest side of an image

Images = UInt8[np.ndarray, "n height width channels"]
Shape = tuple[int, int, int]


class Classifier(NamedTuple):
    """A trained classifier.

    parameters: the network's.
    classes: number of classes.
    shape: of its images, height × width × channels.
    accuracy: share of the held-out images that it classifies correctly.
    trained_on: SHA-256 of images, labels and settings.
    held_out: number of held-out images.
    chance: accuracy of guessing: the share of the most frequent class among the held-out images, or
        one divided by the number of classes if that is more.
    """

    parameters: PyTree
    classes: int
    shape: Shape
    accuracy: float
    trained_on: str
    held_out: int
    chance: float


class Network(nn.Module):
    """Stages of two convolutions, the first of stride 2, and then two dense layers."""

    classes: int
    hidden: int
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], train: bool
    ) -> Extracted:
        """Compute the features, and the logits of what dropout leaves of them in training."""
        x = images
        while max(x.shape[1:3]) > MAX_STAGE_SIDE:
            x = nn.avg_pool(x, (2, 2), (2, 2))
        for stage, width in enumerate(WIDTHS):
            if stage and max(x.shape[1:3]) <= MIN_STAGE_SIDE:
                break
            x = nn.relu(Conv(width, 4, 2, name=f"down_{stage}")(x))
            x = nn.relu(Conv(width, 3, name=f"conv_{stage}")(x))
        features = nn.relu(Dense(self.hidden, name="hidden")(x.reshape(x.shape[0], -1)))
        after_dropout = nn.Dropout(self.dropout, deterministic=not train)(features)
        return Extracted(features, Dense(self.classes, name="logits")(after_dropout))


def classifier_features(trained: Classifier) -> FeatureExtractor:
    """Make the extractor of a classifier's last layer but one, and its logits."""
    shape = "×".join(map(str, trained.shape))
    weights = hash_tensors(flatten_parameters(trained.parameters))
    protocol = (
        f"classifier of {trained.classes} classes of {shape} images, last layer but one, held-out "
        f"accuracy {trained.accuracy:.4f}, weights {weights[:8]}"
    )
    details = {
        "classes": trained.classes,
        "accuracy": trained.accuracy,
        "held_out": trained.held_out,
        "chance": trained.chance,
    }
    return FeatureExtractor(protocol, _extractor(trained.shape), trained.parameters, details)


def predict(
    trained: Classifier, images: Images | Iterable[Images], batch: int = 512
) -> Int[np.ndarray, " n"]:
    """Find the most likely class of each image.

    Args:
        trained: the classifier.
        images: uint8 images of its shape, or an iterable of arrays of them.
        batch: images at once on all devices together.
    """
    logits = extract_all(classifier_features(trained), images, batch).logits
    return np.argmax(cast(np.ndarray, logits), axis=-1)


def stacked_classes(
    trained: Classifier, images: Images | Iterable[Images]
) -> Int[np.ndarray, " n"]:
    """Find the class of images whose every channel is a grey image with a class of its own.

    The class is the number whose digits, to the base `trained.classes`, are the channels' classes;
    the first channel has the leading digit. On stacked MNIST it is one of 1,000, the modes that its
    papers count.

    Args:
        trained: a classifier of grey images of that height and width.
        images: uint8 images of any number of channels, or an iterable of arrays of them.

    Source: Srivastava et al., "VEEGAN", NeurIPS 2017, section 4.2; Lin et al., "PacGAN", NeurIPS
    2018, section 4.2.
    """
    num_channels = 0

    def channels_as_images() -> Iterator[Images]:
        nonlocal num_channels
        parts = [images] if isinstance(images, np.ndarray | jax.Array) else images
        for part in parts:
            height, width, num_channels = part.shape[1:]
            channels_first = np.moveaxis(np.asarray(part), 3, 1)
            yield channels_first.reshape(-1, height, width, 1)

    digits = predict(trained, channels_as_images()).reshape(-1, num_channels)
    return digits @ trained.classes ** np.arange(num_channels)[::-1]


def flatten_parameters(parameters: PyTree) -> Tensors:
    """Name the arrays of a network by their paths, such as `hidden/kernel`."""
    return cast(Tensors, flatten_dict(parameters, sep="/"))


@cache
def _extractor(shape: Shape) -> Callable[..., Extracted]:
    def extract(
        parameters: PyTree, images: UInt8[Array, "batch _height _width _channels"]
    ) -> Extracted:
        if images.shape[1:] != shape:
            raise ValueError(
                f"`images` (of shape {images.shape}) must be of {shape}, as the classifier's own."
            )
        hidden, classes = parameters["logits"]["kernel"].shape
        network = Network(classes, hidden)
        return cast(Extracted, network.apply({"params": parameters}, scaled(images), False))

    return extract

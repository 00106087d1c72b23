"""Where real images come from."""

from dataclasses import dataclass, field
from typing import Literal

from l1jax.config.fields import bounds


@dataclass(frozen=True)
class DigitsData:
    """scikit-learn's 1,797 handwritten digits: real 8×8 images that ship with it."""

    image_size: int = field(default=8, metadata=bounds(8, 1024))
    """Height and width in pixels; above 8 the digits are enlarged smoothly."""


@dataclass(frozen=True)
class ImageData:
    """Images in a folder (searched recursively), a tar (.gz, .xz, .bz2) or a zip."""

    path: str = ""
    """Folder or archive of images."""
    image_size: int = field(default=64, metadata=bounds(1, 4096))
    """Height and width in pixels after the centre crop, resized by Lanczos with antialiasing."""
    channels: Literal[1, 3] = 3
    """1 for grey, 3 for colour."""
    crop: int = field(default=0, metadata=bounds(0))
    """Side of the centre crop in pixels of the original; 0 takes the largest square."""


@dataclass(frozen=True)
class TfdsData:
    """A TensorFlow Datasets image set prepared as ArrayRecord; read without TensorFlow."""

    name: str = ""
    """TFDS name, such as celeb_a, with a version if you like: celeb_a:2.1.0."""
    split: str = "train"
    """TFDS split, such as train or train[:10%]."""
    data_dir: str = ""
    """Where TFDS keeps its data; empty for its own default."""
    image_size: int = field(default=64, metadata=bounds(1, 4096))
    """Height and width in pixels after the centre crop, resized by Lanczos with antialiasing."""
    channels: Literal[1, 3] = 3
    """1 for grey, 3 for colour."""
    crop: int = field(default=0, metadata=bounds(0))
    """Side of the centre crop in pixels of the original; 0 takes the largest square."""


Data = DigitsData | ImageData | TfdsData

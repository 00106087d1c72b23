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
    subfolder: str = ""
    """Use only what lies in this folder of the folder or archive, such as train; empty for
    everything."""
    on_error: Literal["stop", "skip"] = "stop"
    """About images that cannot be used: stop at the first, or look for all of them first and leave
    them out."""
    labels: Literal["auto", "folders", "innermost", "none"] = "auto"
    """Which folders are classes: the first, the innermost, none; auto: the first, if nothing speaks
    against it."""
    most_pixels: int = field(default=2**26, metadata=bounds(1, 2**40))
    """Images of more pixels cannot be used; decoding one takes up to 12 bytes of memory for each
    pixel."""


@dataclass(frozen=True)
class ArrayData:
    """Images in NumPy's files: an array of a .npz, with labels if it has them, or a .npy."""

    path: str = ""
    """The .npz or .npy file; images are uint8 [number, height, width], or with 1 or 3 channels
    last."""
    image_size: int = field(default=64, metadata=bounds(1, 4096))
    """Height and width in pixels; others are cropped to the largest square and resized by Lanczos
    with antialiasing."""
    channels: Literal[1, 3] = 3
    """1 for grey, 3 for colour."""
    images: str = "images"
    """Name of the images' array in a .npz."""
    labels: str = "labels"
    """Name of the array of classes in a .npz, if it is there; empty for none."""


@dataclass(frozen=True)
class IdxData:
    """MNIST or Fashion-MNIST in IDX files, gzipped or not; the labels are classes."""

    path: str = ""
    """Folder with train-images-idx3-ubyte, train-labels-idx1-ubyte and the t10k ones, or with
    .gz."""
    split: Literal["train", "test"] = "train"
    """Which of the two splits."""
    image_size: int = field(default=28, metadata=bounds(1, 1024))
    """Height and width in pixels; other than 28 is resized by Lanczos with antialiasing."""


@dataclass(frozen=True)
class StackedData:
    """Three random digits of IDX files as the channels of one image: 1,000 modes."""

    path: str = ""
    """Folder with the IDX files of MNIST."""
    split: Literal["train", "test"] = "train"
    """Which split the digits are drawn from."""
    image_size: int = field(default=28, metadata=bounds(1, 1024))
    """Height and width in pixels; other than 28 is resized by Lanczos with antialiasing."""
    count: int = field(default=128_000, metadata=bounds(1, 2**31 - 1))
    """How many images are drawn."""
    draw_seed: int = field(default=0, metadata=bounds(0, 2**32, open_maximum=True))
    """Seed of the draw; the data set is the same for every seed of the run."""


@dataclass(frozen=True)
class MixtureData:
    """Points in the plane from 8 Gaussians on a ring or 25 on a grid; the labels are the modes."""

    shape: Literal["ring", "grid"] = "grid"
    """ring: 8 modes on the unit circle, deviation 0.01; grid: 25 modes at {-4, -2, 0, 2, 4}²,
    deviation 0.05."""
    count: int = field(default=100_000, metadata=bounds(1, 2**31 - 1))
    """How many points are drawn."""
    draw_seed: int = field(default=0, metadata=bounds(0, 2**32, open_maximum=True))
    """Seed of the draw; the data set is the same for every seed of the run."""


@dataclass(frozen=True)
class TfdsData:
    """A TensorFlow Datasets image set prepared as ArrayRecord; read without TensorFlow."""

    name: str = ""
    """TFDS name, such as celeb_a, with a version if you like: celeb_a:2.1.0."""
    split: str = "train"
    """TFDS split, such as train or train[:10%]."""
    data_dir: str = ""
    """Where TFDS keeps its data; empty for its own default."""
    labels: bool = False
    """Read the feature `label` of every example, in a pass over the set, as the class of
    class-conditional models."""
    image_size: int = field(default=64, metadata=bounds(1, 4096))
    """Height and width in pixels after the centre crop, resized by Lanczos with antialiasing."""
    channels: Literal[1, 3] = 3
    """1 for grey, 3 for colour."""
    crop: int = field(default=0, metadata=bounds(0))
    """Side of the centre crop in pixels of the original; 0 takes the largest square."""
    on_error: Literal["stop", "skip"] = "stop"
    """About images that cannot be used: stop at the first, or look for all of them first and leave
    them out."""
    most_pixels: int = field(default=2**26, metadata=bounds(1, 2**40))
    """Images of more pixels cannot be used; decoding one takes up to 12 bytes of memory for each
    pixel."""


Data = DigitsData | ImageData | ArrayData | IdxData | StackedData | MixtureData | TfdsData

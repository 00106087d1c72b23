"""Where the examples come from: images, points, sounds or text."""

from dataclasses import dataclass, field
from typing import Literal

from l1jax.config.custom import CustomData
from l1jax.config.fields import bounds, values_or


@dataclass(frozen=True)
class DigitsData:
    """scikit-learn's 1,797 handwritten digits: real 8×8 images that ship with it."""

    image_size: int = field(default=8, metadata=bounds(8, 1024))
    """Height and width in pixels; above 8 the digits are enlarged smoothly."""


@dataclass(frozen=True)
class ImageData:
    """Images in a folder (searched recursively), a tar (.gz, .xz, .bz2) or a zip."""

    path: str = ""
    """Folder or archive of images, or a pattern of archives such as "shards/{000..099}.tar"."""
    image_size: int = field(default=64, metadata=bounds(1, 4096))
    """Height and width in pixels after the centre crop, resized by Lanczos with antialiasing."""
    channels: Literal[1, 3] = 3
    """1 for grey, 3 for colour."""
    crop: int = field(default=0, metadata=bounds(0))
    """Side of the centre crop in pixels of the original; 0 takes the largest square."""
    subfolder: str = ""
    """Read only this folder of the folder or archive, such as train; empty for all."""
    on_error: Literal["stop", "skip"] = "stop"
    """Stop at the first image that cannot be used, or skip all of them after a first look."""
    labels: str = field(
        default="auto",
        metadata=values_or(
            "FILE:COLUMN or json:KEY", "auto", "folders", "innermost", "none", "cls"
        ),
    )
    """Classes: auto, folders (the first), innermost, none, FILE.csv:COLUMN, cls or json:KEY."""
    most_pixels: int = field(default=2**26, metadata=bounds(1, 2**40))
    """Largest number of pixels of an image; decoding takes up to 12 bytes for each."""


@dataclass(frozen=True)
class ArrayData:
    """Images in NumPy's files: an array of a .npz, with labels if it has them, or a .npy."""

    path: str = ""
    """The .npz or .npy file; [number, height, width], or with 1 or 3 channels last."""
    image_size: int = field(default=64, metadata=bounds(1, 4096))
    """Height and width in pixels; images are cropped to a square and resized to it."""
    channels: Literal[1, 3] = 3
    """1 for grey, 3 for colour."""
    images: str = "images"
    """Name of the images' array in a .npz."""
    labels: str = "labels"
    """Name of the array of classes in a .npz, if it is there; empty for none."""
    floats: Literal["auto", "unit", "symmetric", "bytes"] = "auto"
    """Pixels that are floats are from 0 to 1 (unit), -1 to 1 (symmetric), or 0 to 255 (bytes)."""


@dataclass(frozen=True)
class IdxData:
    """MNIST or Fashion-MNIST in IDX files, gzipped or not; the labels are classes."""

    path: str = ""
    """Folder with train-images-idx3-ubyte and the other three files of MNIST, or with .gz."""
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
    """ring: 8 modes, radius 1, deviation 0.01; grid: 5 × 5 modes 2 apart, deviation 0.05."""
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
    """Read the feature `label` of every example as its class, in one pass over the set."""
    image_size: int = field(default=64, metadata=bounds(1, 4096))
    """Height and width in pixels after the centre crop, resized by Lanczos with antialiasing."""
    channels: Literal[1, 3] = 3
    """1 for grey, 3 for colour."""
    crop: int = field(default=0, metadata=bounds(0))
    """Side of the centre crop in pixels of the original; 0 takes the largest square."""
    on_error: Literal["stop", "skip"] = "stop"
    """Stop at the first image that cannot be used, or skip all of them after a first look."""
    most_pixels: int = field(default=2**26, metadata=bounds(1, 2**40))
    """Largest number of pixels of an image; decoding takes up to 12 bytes for each."""


@dataclass(frozen=True)
class AudioData:
    """Recordings in a folder (searched recursively), a tar or a zip, as log-mel spectrograms."""

    path: str = ""
    """Folder or archive of WAV, FLAC, OGG or MP3 files; needs the extra `audio`."""
    sample_rate: int = field(default=8000, metadata=bounds(1000, 192_000))
    """Samples per second of the clips; recordings of another rate are resampled."""
    mels: int = field(default=64, metadata=bounds(4, 1024))
    """Mel bands, the height of a spectrogram in pixels."""
    frames: int = field(default=64, metadata=bounds(4, 4096))
    """Frames, its width; a clip is the middle frames × hop samples, silence around if shorter."""
    n_fft: int = field(default=512, metadata=bounds(16, 65_536))
    """Samples per frame, under a Hann window."""
    hop: int = field(default=80, metadata=bounds(1, 65_536))
    """Samples from one frame to the next, at most `n_fft`."""
    lowest: float = field(default=40.0, metadata=bounds(0, 96_000))
    """Lower edge of the lowest band in hertz."""
    highest: float = field(default=0.0, metadata=bounds(0, 96_000))
    """Upper edge of the highest band in hertz; 0 for half the sample rate."""
    floor: float = field(default=-4.6, metadata=bounds(-20, 4))
    """Logarithm of the magnitude that is black; white is a sine at full scale, log(n_fft / 4)."""
    subfolder: str = ""
    """Read only this folder of the folder or archive, such as train; empty for all."""
    on_error: Literal["stop", "skip"] = "stop"
    """Stop at the first recording that cannot be used, or skip all of them after a first look."""
    labels: Literal["auto", "folders", "innermost", "none"] = "auto"
    """Which folders are classes: folders (the first), innermost, none; auto: first if it fits."""
    speaker: str = field(default="", metadata={"regex": True})
    """Regular expression whose group in a file's name is the speaker; held-out ones are whole."""
    most_seconds: float = field(default=60.0, metadata=bounds(0.001, 1e6))
    """Longest recording to take the middle of; a longer one cannot be used."""


@dataclass(frozen=True)
class TonesData:
    """Tones, sweeps, pulses and noises made here, as log-mel spectrograms of eight classes."""

    count: int = field(default=4_000, metadata=bounds(8, 2**24))
    """How many sounds are made; the classes take turns."""
    draw_seed: int = field(default=0, metadata=bounds(0, 2**32, open_maximum=True))
    """Seed of the sounds; the data set is the same for every seed of the run."""
    sample_rate: int = field(default=8000, metadata=bounds(1000, 192_000))
    """Samples per second."""
    mels: int = field(default=32, metadata=bounds(4, 1024))
    """Mel bands, the height of a spectrogram in pixels."""
    frames: int = field(default=32, metadata=bounds(4, 4096))
    """Frames, its width; a sound has frames × hop samples."""
    n_fft: int = field(default=512, metadata=bounds(16, 65_536))
    """Samples per frame, under a Hann window."""
    hop: int = field(default=128, metadata=bounds(1, 65_536))
    """Samples from one frame to the next, at most `n_fft`."""
    lowest: float = field(default=40.0, metadata=bounds(0, 96_000))
    """Lower edge of the lowest band in hertz."""
    highest: float = field(default=0.0, metadata=bounds(0, 96_000))
    """Upper edge of the highest band in hertz; 0 for half the sample rate."""
    floor: float = field(default=-4.6, metadata=bounds(-20, 4))
    """Logarithm of the magnitude that is black; white is a sine at full scale, log(n_fft / 4)."""


@dataclass(frozen=True)
class TopicsData:
    """Text without a download: the English documentation in every Python, `pydoc_data.topics`."""

    window: int = field(default=128, metadata=bounds(1, 2**20))
    """Tokens that each window of training text predicts; a token is a byte."""
    split: Literal["auto", "documents", "blocks"] = "auto"
    """What is held out: documents, or blocks of 8 KiB; auto: blocks of a single document."""


@dataclass(frozen=True)
class TextData:
    """Text of a file, or of the files in a folder, a tar or a zip; each is a document."""

    path: str = ""
    """A text file, a .jsonl, either compressed (.gz, .xz, .bz2), or a folder, tar or zip."""
    encoding: Literal["utf-8", "bytes"] = "utf-8"
    """utf-8: refuse what is not; bytes: take any bytes, which samples may then not decode to."""
    jsonl_field: str = "text"
    """The string that is the document in each line's object of a .jsonl."""
    suffixes: tuple[str, ...] = (".txt", ".text", ".md", ".rst", ".jsonl")
    """Which files of a folder or an archive are read, .gz, .xz and .bz2 of them included."""
    window: int = field(default=128, metadata=bounds(1, 2**20))
    """Tokens that each window of training text predicts; a token is a byte."""
    split: Literal["auto", "documents", "blocks"] = "auto"
    """What is held out: documents, or blocks of 8 KiB; auto: blocks of a single document."""
    on_error: Literal["stop", "skip"] = "stop"
    """Stop at the first document that cannot be used, or skip all such documents."""


Sound = AudioData | TonesData
Text = TopicsData | TextData
Data = (
    DigitsData
    | ImageData
    | ArrayData
    | IdxData
    | StackedData
    | MixtureData
    | TfdsData
    | CustomData
    | Sound
    | Text
)

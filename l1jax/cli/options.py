"""The flags of commands that work on a trained model; light, so that --help answers at once."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from l1jax.config import InputError
from l1jax.config.choices import Values
from l1jax.processes.launchers import ProcessOptions


@dataclass(frozen=True)
class SampleOptions:
    """Draw from the averaged generator of a training run, or images from an exported model."""

    workdir: str | None = None
    """Work directory of the run."""
    model: str | None = None
    """Exported model: a folder, .safetensors, .stablehlo or .onnx; instead of --workdir."""
    output: str | None = None
    """A .png grid, .npz or folder/ of .png (grid.png); .gif or .webp of rows; of sound .wav, too;
    of text .txt, .jsonl."""
    count: int | None = None
    """How many images, or samples of text: 64; with --directions how many latents to move: 1."""
    seed: int = 0
    """Seed of the samples; the first of them are the same for every count."""
    step: int | None = None
    """Which checkpoint; by default the best of a run with patience, else the newest good one."""
    columns: int = 0
    """Images per row of the grid; 0 for one per class, or for a grid nearly square."""
    label: Annotated[int | None, tyro.conf.arg(name="class")] = None
    """Class of all images of a class-conditional generator; by default its classes in turn."""
    truncation: float | None = None
    """Largest entry of the latents, which are standard normal: below 1 truer images, more alike."""
    interpolate: int | None = None
    """Draw this many rows instead, each the way from one latent to another of the same class."""
    to_class: int | None = None
    """With --interpolate the class that every row goes to; the latent of a row then stays."""
    directions: int | None = None
    """Draw rows along this many directions of latents, those that change images most (SeFa)."""
    frames: int | None = None
    """Images of such a row, also as the frames of a .gif or .webp: 9, or 33 if they move."""
    reach: float = 3.0
    """How far to go along --directions each way, in standard deviations of the latents."""
    method: Literal["euler", "midpoint", "heun", "average"] | None = None
    """Of a flow model: how images are reached from noise; average needs one of mean flow."""
    sampling_steps: int | None = None
    """Of a flow model: steps from noise to an image."""
    time_shift: float | None = None
    """Of a flow model: above 1 more steps near the noise."""
    guidance: float | None = None
    """Of a flow model: above 0 truer to the class."""
    prompt: str = ""
    """How each sample of text begins; by default as a document does."""
    length: int = 400
    """The most bytes of text after the prompt; a sample ends earlier where its document does."""
    temperature: float = 1.0
    """Of text: below 1 likelier bytes, above 1 rarer ones; 0 always takes the likeliest."""
    top_k: int = 0
    """Of text: draw from this many of the likeliest bytes; 0 for all."""
    top_p: float = 1.0
    """Of text: draw from the fewest bytes whose probabilities sum to this; 1 for all."""


@dataclass(frozen=True)
class EvaluateOptions(ProcessOptions):
    """Compare generated images with real ones, and count the zeros of what drew them.

    At the end it names the command that makes an HTML page of the run, this evaluation included.
    """

    workdir: str | None = None
    """Work directory of the run that draws the generated images."""
    model: str | None = None
    """Folder of an exported model, or a program in it; instead of --workdir."""
    generated: str | None = None
    """Generated images: a folder, an archive, .npz, .npy, IDX, TFDS name, statistics, or what draws
    them; instead of --workdir."""
    real: str | None = None
    """Real images, likewise, or a run for its own; by default those of what draws."""
    step: int | None = None
    """Which checkpoint; by default the best of a run with patience, else the newest good one."""
    samples: int = 0
    """Number of generated images, of a generator per seed; 0 for all of a set, and for as many of a
    generator's as there are real ones, at most 5,000."""
    real_samples: int = 0
    """Number of real images; 0 for all, of a run's own as many as generated ones."""
    seeds: int = 3
    """Number of seeds that latents are drawn from; the deviation is taken over them."""
    inception: str = ""
    """Weights of Inception-v3, from python -m l1jax.convert, for the FID; empty for none."""
    dinov2: str = ""
    """Weights of DINOv2, likewise, for FD-DINOv2."""
    clip: str = ""
    """Weights of CLIP, likewise, for the CMMD."""
    resizing: Literal["legacy-tf", "clean", "pytorch-fid", "torch-fidelity"] = "legacy-tf"
    """How images are resized for Inception-v3."""
    image_size: int = 0
    """Crop all images to squares and resize them to so many pixels a side; 0 to leave them."""
    array: str = ""
    """Name of the array of images in an .npz, if it is not plain which one it is."""
    floats: Literal["auto", "unit", "symmetric", "bytes"] = "auto"
    """Pixels that are floats are from 0 to 1 (unit), -1 to 1 (symmetric), or 0 to 255 (bytes)."""
    split: str = "train"
    """Split of IDX files or of a set of TFDS."""
    accuracy_score: bool = False
    """Train a classifier on generated images of known classes, to test it on real ones (CAS)."""
    path_length: bool = False
    """Measure how fast images of a generator change with its latents (PPL)."""
    likelihood: bool = False
    """Compute the likelihood that a flow gives to the real images; a VAE's is always computed."""
    method: Literal["euler", "midpoint", "heun", "average"] | None = None
    """Draw from a flow model in another way, as python -m l1jax.sample does."""
    sampling_steps: int | None = None
    """Of a flow model: steps from noise to an image."""
    time_shift: float | None = None
    """Of a flow model: above 1 more steps near the noise."""
    guidance: float | None = None
    """Of a flow model: above 0 truer to the class."""
    path: str = ""
    """Where the run's own images are, if no longer where it was trained on them."""
    again: str = ""
    """Repeat the evaluation of this evaluation.json, and say whether all numbers are the same."""
    save_statistics: str = ""
    """Write mean and covariance of the features of one set to this .npz and end; pytorch-fid reads
    it, too."""
    save_images: str = ""
    """Folder, new or empty, for the generated images that are compared."""
    output: str = ""
    """JSON file of all numbers; by default evaluation.json in the work directory, in the model's
    folder, or here."""


@dataclass(frozen=True)
class CompactOptions:
    """Write a run's averaged generator without its dead channels.

    The images of the smaller network are verified to be the same before it is written.
    """

    workdir: str
    """Work directory of the run."""
    output: str
    """Folder for the smaller model, new or empty; it appears whole or not at all."""
    step: int | None = None
    """Which checkpoint; by default the best of a run with patience, else the newest good one."""
    fold_norms: bool = True
    """Fold batch norms into the layers before them; without, the smaller network can train on."""
    batch: int = 64
    """Images, or texts, of a call whose time is taken."""


@dataclass(frozen=True)
class ExportOptions:
    """Write a generator to where people run models."""

    workdir: str | None = None
    """Work directory of a training run."""
    model: str | None = None
    """Folder of a model exported or compacted before; instead of --workdir."""
    output: str = ""
    """New or empty folder to write, whole or not at all; not needed to upload a --model."""
    step: int | None = None
    """Which checkpoint; by default the best of a run with patience, else the newest good one."""
    encoding: Literal["dense", "sparse"] = "dense"
    """How weights are stored: dense, for every tool, or sparse, without zeros, for l1jax only."""
    values: Values = "float32"
    """What kernels are rounded to; float32 is exact."""
    stablehlo: bool = False
    """Add model.stablehlo: any batch size, CPU, CUDA or TPU, run with JAX alone."""
    onnx: bool = False
    """Add model.onnx: any batch size."""
    circuit: bool = False
    """Of text: add circuit.jsonl, the weights that are not zero, and a picture if they are few."""
    licence: str = ""
    """The model's licence, as the Hub names it: apache-2.0, cc-by-4.0, …"""
    upload: str = ""
    """Repository of the Hub, owner/name, to upload the folder to as whoever is logged in."""
    public: bool = False
    """Make a repository that is not there yet public; private otherwise."""


@dataclass(frozen=True)
class DemoOptions:
    """Show a generator in the browser.

    Move between latents, truncate them, choose classes, and see the time that it takes.
    """

    model: str | None = None
    """Folder of an exported model, or a program in it."""
    workdir: str | None = None
    """Work directory of a training run; instead of --model."""
    dense: str | None = None
    """Another model or work directory to show beside it, such as the dense original."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets other machines in."""
    port: int = 7860
    """Port to listen on; 0 for any that is free."""


@dataclass(frozen=True)
class ReportOptions:
    """Make one HTML page of a training run, or of a path of strengths, that needs no other file.

    It holds curves, samples, zeros, the evaluation if there is one, the configuration and how to
    reproduce it. It can be made while the run is still going.
    """

    workdir: str
    """Work directory of python -m l1jax.train or python -m l1jax.select."""
    output: str = ""
    """HTML file to write; by default report.html in the work directory."""


@dataclass(frozen=True)
class ConvertOptions:
    """Turn public PyTorch weights of Inception-v3, DINOv2 or CLIP into a safetensors file."""

    file: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="FILE")]
    """The .pth or .pt file, as pytorch-fid, torch-fidelity, DINOv2 and CLIP download it."""
    output: str | None = None
    """The safetensors file to write; by default beside the .pth file, with that suffix."""
    any_weights: bool = False
    """Accept a file that is none of the public ones. Its distances compare with no published
    ones."""


@dataclass(frozen=True)
class PrepareOptions:
    """Prepare a set that TFDS knows, or images of your own, as ArrayRecord.

    At the end it names the flags that train on it.
    """

    what: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NAME_OR_FOLDER")]
    """Name of a set that TFDS knows, or path of a folder or an archive of images."""
    name: str = ""
    """Name of a set made from images; by default that of the path."""
    data_dir: str = ""
    """Where TFDS keeps its data; empty for its own default."""
    labels: Literal["auto", "folders", "innermost", "none"] = "auto"
    """Which folders of images are classes, as in --data.labels of l1jax.train."""
    subfolder: str = ""
    """Use only the images in this folder of the path."""
    on_error: Literal["stop", "skip"] = "stop"
    """Stop at the first image that cannot be used, or leave all of them out."""


def check_sample_numbers(options: SampleOptions) -> None:
    """Refuse numbers out of their ranges, and flags that do not go together.

    Raises:
        InputError: naming the flag.
    """
    if not 0 <= options.seed < 2**32:
        raise InputError(f"`--seed` (={options.seed}) must be at least 0 and below 2**32.")
    if options.columns < 0:
        raise InputError(f"`--columns` (={options.columns}) must be at least 0.")
    for flag, value, least in (
        ("count", options.count, 1),
        ("interpolate", options.interpolate, 1),
        ("directions", options.directions, 1),
        ("frames", options.frames, 2),
    ):
        if value is not None and value < least:
            raise InputError(f"`--{flag}` (={value}) must be at least {least}.")
    for flag, size in (("truncation", options.truncation), ("reach", options.reach)):
        if size is not None and not 0 < size < math.inf:
            raise InputError(f"`--{flag}` (={size}) must be greater than 0 and finite.")
    _check_rows(options)


def _check_rows(options: SampleOptions) -> None:
    """Refuse flags that do not go with rows of images, or not without them."""
    interpolate = options.interpolate
    directions = options.directions
    if interpolate is not None and directions is not None:
        raise InputError(
            f"`--interpolate` (={interpolate}) and `--directions` (={directions}) are two "
            "pictures: give one of them."
        )
    if interpolate is not None and options.count is not None:
        raise InputError(
            f"`--count` (={options.count}) must be left out: `--interpolate` (={interpolate}) is "
            "how many rows there are, and `--frames` how many images each has."
        )
    if options.to_class is not None:
        if interpolate is None:
            raise InputError(
                f"`--to-class` (={options.to_class}) is for --interpolate, whose rows it leads to "
                "a class: give --interpolate 8, or --class."
            )
        if options.to_class == options.label:
            raise InputError(
                f"`--to-class` (={options.to_class}) must be another class than --class, where "
                "the rows begin."
            )
    if directions is None and options.reach != SampleOptions.reach:
        raise InputError(f"`--reach` (={options.reach}) is for --directions: leave it out.")
    if interpolate is not None or directions is not None:
        if options.columns:
            raise InputError(
                f"`--columns` (={options.columns}) must be left out: `--frames` says how many "
                "images a row has."
            )
        return
    if options.frames is not None:
        raise InputError(
            f"`--frames` (={options.frames}) is for --interpolate and --directions: leave it out."
        )
    if options.output is not None and options.output.lower().endswith((".gif", ".webp")):
        raise InputError(
            f"`--output` (={options.output}) is for images that move: give --interpolate 8 or "
            "--directions 4, or a .png."
        )

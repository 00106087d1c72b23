"""Convert Inception-v3's public weights: `python -m l1jax.evaluation.convert pt_inception-2015-12-05-6726825d.pth`."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from l1jax.command_line import parse, run, typed_path
from l1jax.config import InputError
from l1jax.evaluation.inception import SOURCE, check_tensors
from l1jax.evaluation.tensors import save_tensors
from l1jax.evaluation.torch_files import read_torch
from l1jax.outputs import check_file, not_written
from l1jax.terminal import make_console, make_say

PUBLIC = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"  # sha256 of the file all papers use
PROG = "python -m l1jax.evaluation.convert"


@dataclass(frozen=True)
class ConvertOptions:
    """Turn the public PyTorch weights of the Fréchet Inception distance into a safetensors file."""

    file: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="FILE")]
    """The .pth file, as pytorch-fid and torch-fidelity fetch it."""
    output: str | None = None
    """The safetensors file to write; by default beside the other, with that suffix."""
    any_weights: bool = False
    """Take a file that is not the public one, sha256 6726825d…; its distances compare with no published ones."""


def main(arguments: Sequence[str]) -> int:
    """Convert as the flags say; returns the exit status."""
    options = parse(ConvertOptions, arguments, PROG)
    source = typed_path("FILE", options.file)
    output = beside(source) if options.output is None else typed_path("--output", options.output)
    found = convert(source, output, any_weights=options.any_weights)
    known = (
        "the public weights"
        if found == PUBLIC
        else f"weights {found[:8]}…, whose distances compare with no others"
    )
    say = make_say(make_console())
    say(f"{output}: {known}")
    return 0


def beside(source: Path) -> Path:
    """The converted file's name: of what follows a dot, only a suffix of PyTorch's is left out."""
    stem = source.name.removesuffix(".pth").removesuffix(".pt")
    return source.with_name(f"{stem}.safetensors")


def convert(source: Path, output: Path, *, any_weights: bool = False) -> str:
    """Convert a PyTorch file of Inception-v3's weights; what it holds is never run.

    Args:
        source: written by `torch.save`, of either layout.
        output: a safetensors file; it appears whole or not at all.
        any_weights: take a file that is not the public one.

    Returns:
        The source's sha256.

    Raises:
        InputError: if the source is not the public file and need be, cannot be read, is damaged, names anything but
            tensors, or holds another network's; or if the output cannot be written.
    """
    if output.suffix != ".safetensors":
        raise InputError(f"`--output` (={output}) must end in .safetensors.")
    check_file(str(output))
    try:
        with source.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(
            f"`FILE` (={source}) cannot be read: {error.strerror or error}."
        ) from error
    if found != PUBLIC and not any_weights:
        raise InputError(
            f"`FILE` (={source}) must be the public weights, of sha256 {PUBLIC}; its own is {found}: fetch it again, "
            "or give --any-weights to measure distances that compare with no published ones."
        )
    tensors = {
        name: value.astype(np.float32) if value.dtype.kind == "f" else value
        for name, value in read_torch(source).items()
        if not name.endswith(".num_batches_tracked")
    }
    check_tensors(tensors, str(source))
    try:
        save_tensors(output, tensors, {SOURCE: found})
    except OSError as error:
        raise not_written(output, error) from error
    return found


if __name__ == "__main__":
    run(main)

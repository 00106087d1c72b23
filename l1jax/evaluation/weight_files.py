"""Convert public weight files of feature networks to safetensors: by hash, and tensors only."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped

from l1jax.config import InputError
from l1jax.evaluation import inception_weights, vision_weights
from l1jax.evaluation.tensors import save_tensors
from l1jax.evaluation.torch_files import read_torch
from l1jax.outputs import check_output_file, write_error

SOURCE = "source.sha256"  # metadata key: hash of the file that the weights were converted from

PUBLIC_FILES = {
    "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2": "Inception-v3 of the FID",
    "b938bf1bc15cd2ec0feacfe3a1bb553fe8ea9ca46a7e1d8d00217f29aef60cd9": "DINOv2 ViT-S/14",
    "0b8b82f85de91b424aded121c7e1dcc2b7bc6d0adeea651bf73a13307fad8c73": "DINOv2 ViT-B/14",
    "d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428": "DINOv2 ViT-L/14",
    "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af": "CLIP ViT-B/32",
    "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f": "CLIP ViT-B/16",
    "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836": "CLIP ViT-L/14",
    "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02": "CLIP ViT-L/14@336px",
}
"""SHA-256 of a public file → the network whose weights it holds."""

Tensors = Mapping[str, Shaped[np.ndarray, "..."]]


class _Network(NamedTuple):
    """A kind of network: how its tensors are recognised, selected and checked."""

    recognises: Callable[[Tensors], bool]
    select: Callable[[Tensors], Tensors]
    check: Callable[[Tensors, str], None]


def _check_vision(tensors: Tensors, name: str) -> None:
    design = vision_weights.read_design(tensors, name)
    vision_weights.make_parameters(tensors, design, name)


INCEPTION = _Network(
    inception_weights.is_inception,
    inception_weights.select_tensors,
    inception_weights.check_tensors,
)
DINOV2 = _Network(vision_weights.is_dinov2, vision_weights.select_image_tensors, _check_vision)
CLIP = _Network(vision_weights.is_clip, vision_weights.select_image_tensors, _check_vision)


def convert_weights(source: Path, output: Path, *, any_weights: bool = False) -> str:
    """Convert a PyTorch file of a feature network to safetensors, without running its code.

    The networks are the Inception-v3 of the FID, and the vision transformers of DINOv2 and CLIP.

    Args:
        source: file that `torch.save` or `torch.jit.save` wrote.
        output: safetensors file, which appears whole or not at all.
        any_weights: whether to accept a file that is none of the public ones.

    Returns:
        The SHA-256 of the source.

    Raises:
        InputError: if the source is no public file although it must be, cannot be read, is
            damaged, names anything but tensors, or holds another network's tensors; or if the
            output cannot be written.
    """
    if output.suffix != ".safetensors":
        raise InputError(f"`--output` (={output}) must end in .safetensors.")
    check_output_file(str(output))
    try:
        with source.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(
            f"`FILE` (={source}) cannot be read: {error.strerror or error}."
        ) from error
    if sha256 not in PUBLIC_FILES and not any_weights:
        known = ", ".join(PUBLIC_FILES.values())
        raise InputError(
            f"`FILE` (={source}) must be a public file of weights ({known}), and none has its "
            f"sha256 {sha256}. Download it again, or give --any-weights to measure distances that "
            "compare with no published ones."
        )
    tensors = read_torch(source)
    network = _recognise(tensors, source)
    selected = network.select(tensors)
    network.check(selected, str(source))
    try:
        save_tensors(output, selected, {SOURCE: sha256})
    except OSError as error:
        raise write_error(output, error) from error
    return sha256


def _recognise(tensors: Tensors, source: Path) -> _Network:
    for network in (DINOV2, CLIP, INCEPTION):
        if network.recognises(tensors):
            return network
    raise InputError(
        f"`FILE` (={source}) must hold the tensors of Inception-v3, DINOv2 or a vision transformer "
        f"of CLIP, and holds {len(tensors)} others."
    )

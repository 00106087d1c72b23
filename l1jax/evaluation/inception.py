"""Features of Inception-v3, as the Fréchet Inception distance takes them.

Unless another protocol is asked for, images are resized as TensorFlow 1 did it: bilinearly and
without half-pixel centres.

Source: Heusel et al., NeurIPS 2017; Parmar, Zhang, Zhu, CVPR 2022, section 3 (on resizing).
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple, cast

from jaxtyping import Array, Float, PyTree

from l1jax.evaluation.features import Extracted, FeatureExtractor, in_colour
from l1jax.evaluation.inception_network import SIZE, Inception
from l1jax.evaluation.inception_weights import check_tensors, fold_batch_norms
from l1jax.evaluation.resizing import (
    Images,
    Resized,
    resize_as_pytorch,
    resize_as_tensorflow,
    resize_clean,
)
from l1jax.evaluation.tensors import hash_tensors, load_tensors
from l1jax.evaluation.weight_files import SOURCE


class Protocol(NamedTuple):
    """How images become what the network sees."""

    resize: Callable[[Images, int], Resized]
    """(uint8 images, pixels a side) → pixels from 0 to 255."""
    middle: float
    """The pixel that becomes 0; as much below and above it become −1 and 1."""
    words: str
    """What distinguishes it, for the protocol beside a number."""


TENSORFLOW = Protocol(resize_as_tensorflow, 128.0, "bilinearly as TensorFlow 1")
PROTOCOLS = {
    "legacy-tf": TENSORFLOW,
    "torch-fidelity": TENSORFLOW,
    "clean": Protocol(resize_clean, 128.0, "bicubically as clean-fid"),
    "pytorch-fid": Protocol(resize_as_pytorch, 127.5, "bilinearly as pytorch-fid"),
}
"""Resizing protocols by the names that packages give them. "legacy-tf" is the original one, which
torch-fidelity repeats; clean-fid has it as "legacy_tensorflow", and pytorch-fid's as
"legacy_pytorch". """


@cache
def _extractor(bias: bool) -> Callable[..., Extracted]:
    def extract(parameters: PyTree, x: Resized) -> Extracted:
        return cast(Extracted, Inception(bias).apply({"params": parameters}, x))

    return extract


@cache
def _preparation(protocol: Protocol) -> Callable[[Images], Resized]:
    def prepare(images: Images) -> Float[Array, "batch _rows _columns 3"]:
        pixels = protocol.resize(in_colour(images), SIZE)
        return (pixels - protocol.middle) / protocol.middle

    return prepare


def inception_features(
    path: Path | str, bias: bool = False, resizing: str = "legacy-tf"
) -> FeatureExtractor:
    """Make the feature extractor of the Fréchet Inception distance.

    The features are the 2,048 means of the last pool. Images of any size are resized, and the
    channel of grey images is repeated three times.

    Args:
        path: the weights, as `python -m l1jax.convert` writes them.
        bias: whether the logits have their bias. Published Inception scores are computed without.
        resizing: "legacy-tf" for the original FID, "clean" for clean-fid's, "pytorch-fid" or
            "torch-fidelity" for the packages of these names; the last is the same as the first.

    Raises:
        ValueError: if `resizing` is none of these.
        InputError: if the file cannot be read, is damaged, or does not hold this network's weights.

    Source: Heusel et al., NeurIPS 2017; Salimans et al., NeurIPS 2016, for the logits.
    """
    if resizing not in PROTOCOLS:
        raise ValueError(f"`resizing` (={resizing!r}) must be one of {', '.join(PROTOCOLS)}.")
    chosen = PROTOCOLS[resizing]
    tensors, metadata = load_tensors(Path(path).expanduser())
    check_tensors(tensors, str(path))
    weights = metadata.get(SOURCE, "") or hash_tensors(tensors)
    with_or_without = "with" if bias else "without"
    protocol = (
        f"Inception-v3 of 2015-12-05, pool 3 (2,048), logits {with_or_without} bias, resized to "
        f"299×299 {chosen.words}, weights {weights[:8]}"
    )
    parameters = fold_batch_norms(tensors)
    return FeatureExtractor(protocol, _extractor(bias), parameters, prepare=_preparation(chosen))

"""Features of DINOv2 and of CLIP, on which distances agree better with people than on Inception's.

Both see images that Pillow's bicubic filter has made 224 pixels a side (336 in CLIP's larger
variant), as the papers on these distances do. Grey images become colour images.

Source: Stein et al., "Exposing flaws of generative model evaluation metrics", NeurIPS 2023, on
DINOv2; Jayasumana et al., "Rethinking FID", CVPR 2024, on CLIP.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import cast

import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree, UInt8

from l1jax.config import InputError
from l1jax.evaluation.features import Extracted, FeatureExtractor, in_colour
from l1jax.evaluation.resizing import resize_as_pillow
from l1jax.evaluation.tensors import hash_tensors, load_tensors
from l1jax.evaluation.vision_transformer import Design, VisionTransformer
from l1jax.evaluation.vision_weights import is_clip, is_dinov2, make_parameters, read_design
from l1jax.evaluation.weight_files import SOURCE

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_DEVIATION = (0.26862954, 0.26130258, 0.27577711)

Images = UInt8[Array, "batch height width channels"]


def dinov2_features(path: Path | str) -> FeatureExtractor:
    """Make the feature extractor of FD-DINOv2: the class token behind the last layer norm.

    Args:
        path: the weights of ViT-S/14, B/14 or L/14, as `python -m l1jax.convert` writes them. The
            paper's distances are those of L/14.

    Returns:
        Features of images of any size, 384, 768 or 1,024 for the three sizes.

    Raises:
        InputError: if the file cannot be read, is damaged, or does not hold this network's weights.

    Source: Stein et al., NeurIPS 2023; Oquab et al., TMLR 2024.
    """
    return _read_features(path, is_of_clip=False)


def clip_features(path: Path | str) -> FeatureExtractor:
    """Make the feature extractor of the CMMD: CLIP's image embedding, divided by its length.

    Images that are not square lose their longer sides' ends.

    Args:
        path: the weights of a vision transformer of CLIP, such as ViT-B/32, as
            `python -m l1jax.convert` writes them. The paper's distances are those of L/14 at 336
            pixels.

    Returns:
        Features of images of any size, 512 for ViT-B and 768 for ViT-L.

    Raises:
        InputError: if the file cannot be read, is damaged, or does not hold this network's weights.

    Source: Jayasumana et al., CVPR 2024; Radford et al., ICML 2021.
    """
    return _read_features(path, is_of_clip=True)


def _read_features(path: Path | str, *, is_of_clip: bool) -> FeatureExtractor:
    tensors, metadata = load_tensors(Path(path).expanduser())
    wanted, recognises, output = "DINOv2", is_dinov2, "class token"
    if is_of_clip:
        wanted, recognises, output = "CLIP", is_clip, "image embedding of length 1"
    if not recognises(tensors):
        raise InputError(
            f"{str(path)!r} must hold the weights of a vision transformer of {wanted}: convert the "
            "public file with `python -m l1jax.convert`."
        )
    design = read_design(tensors, str(path))
    parameters = make_parameters(tensors, design, str(path))
    weights = metadata.get(SOURCE, "") or hash_tensors(tensors)
    protocol = (
        f"{wanted} with {design.depth} blocks of width {design.width} and patches of "
        f"{design.patch} pixels, {output} ({design.outputs:,}), resized to "
        f"{design.side}×{design.side} bicubically as Pillow, weights {weights[:8]}"
    )
    return FeatureExtractor(
        protocol,
        _extractor(design),
        parameters,
        prepare=_preparation(design),
        is_clip=design.is_clip,
    )


@cache
def _extractor(design: Design) -> Callable[..., Extracted]:
    network = VisionTransformer(design)

    def extract(parameters: PyTree, x: Float[Array, "batch side side 3"]) -> Extracted:
        features = cast(Float[Array, "batch features"], network.apply({"params": parameters}, x))
        if design.is_clip:
            features = features / jnp.linalg.norm(features, axis=-1, keepdims=True)
        return Extracted(features)

    return extract


@cache
def _preparation(design: Design) -> Callable[[Images], Float[Array, "batch side side 3"]]:
    def prepare(images: Images) -> Float[Array, "batch side side 3"]:
        x = in_colour(images)
        if design.is_clip:
            x = _crop_square(x)
            mean, deviation = CLIP_MEAN, CLIP_DEVIATION
        else:
            mean, deviation = IMAGENET_MEAN, IMAGENET_DEVIATION
        x = resize_as_pillow(x, design.side) / 255
        return (x - jnp.asarray(mean)) / jnp.asarray(deviation)

    return prepare


def _crop_square(images: Images) -> UInt8[Array, "batch side side channels"]:
    """Cut the largest square out of the middle, as the CMMD's own code does."""
    height, width = images.shape[1:3]
    side = min(height, width)
    top = (height - side) // 2
    left = (width - side) // 2
    return images[:, top : top + side, left : left + side]

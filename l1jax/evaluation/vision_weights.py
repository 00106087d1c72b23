"""Parameters of vision transformers from the tensors of the public files of DINOv2 and CLIP."""

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PyTree, Shaped

from l1jax.config import InputError
from l1jax.evaluation.resizing import cubic
from l1jax.evaluation.vision_transformer import HEAD_WIDTH, Design, VisionTransformer

SIDE = 224  # pixels a side of the images that DINOv2 is given for a distance
POSITION_OFFSET = 0.1  # patches that DINOv2 adds to the grid before it divides by the trained one
PYTORCH_CUBIC = -0.75  # PyTorch's parameter of the cubic kernel
CLIP_PREFIX = "visual."  # of the image network's tensors, beside those of the text network

Tensors = Mapping[str, Shaped[np.ndarray, "..."]]


class Names(NamedTuple):
    """The names that one public file gives to the tensors of a vision transformer."""

    patches: str
    class_token: str
    positions: str
    norm: str
    block: str
    """Of a block's tensors, with its number as {}."""
    parts: Mapping[str, str]
    """Our name of a layer in a block → the file's."""
    scales: Mapping[str, str]
    """Our name of a learned scale → the file's."""


DINOV2 = Names(
    "patch_embed.proj",
    "cls_token",
    "pos_embed",
    "norm",
    "blocks.{}.",
    {
        "attention_norm": "norm1.",
        "query_key_value": "attn.qkv.",
        "attention_output": "attn.proj.",
        "dense_norm": "norm2.",
        "expand": "mlp.fc1.",
        "contract": "mlp.fc2.",
    },
    {"attention_scale": "ls1.gamma", "dense_scale": "ls2.gamma"},
)
CLIP = Names(
    "visual.conv1",
    "visual.class_embedding",
    "visual.positional_embedding",
    "visual.ln_post",
    "visual.transformer.resblocks.{}.",
    {
        "attention_norm": "ln_1.",
        "query_key_value": "attn.in_proj_",
        "attention_output": "attn.out_proj.",
        "dense_norm": "ln_2.",
        "expand": "mlp.c_fc.",
        "contract": "mlp.c_proj.",
    },
    {},
)


def is_dinov2(tensors: Tensors) -> bool:
    """Tell whether tensors are those of DINOv2, by their names."""
    return "blocks.0.ls1.gamma" in tensors and DINOV2.class_token in tensors


def is_clip(tensors: Tensors) -> bool:
    """Tell whether tensors are those of CLIP with a vision transformer, by their names."""
    return CLIP.class_token in tensors


def select_image_tensors(tensors: Tensors) -> dict[str, Float[np.ndarray, "..."]]:
    """Return the tensors of the image network alone, in float32.

    Args:
        tensors: of a public file. CLIP's holds a text network, too, and DINOv2's the token of
            masked patches; its features need neither.
    """
    selected = {}
    for name, value in tensors.items():
        is_of_text = is_clip(tensors) and not name.startswith(CLIP_PREFIX)
        if is_of_text or name == "mask_token":
            continue
        if value.dtype.kind == "f":
            value = value.astype(np.float32)
        selected[name] = value
    return selected


def read_design(tensors: Tensors, name: str) -> Design:
    """Read a network's sizes from the shapes of its tensors.

    Args:
        tensors: of the image network.
        name: of their file, for the message.

    Raises:
        InputError: if a tensor that tells them is missing or of an impossible shape, or the network
            is a variant that this one is not: one with registers, or with gated layers.
    """
    is_of_clip = is_clip(tensors)
    names = DINOV2
    if is_of_clip:
        names = CLIP
    for variant in ("register_tokens", "blocks.0.mlp.w12.weight"):
        if variant in tensors:
            raise InputError(
                f"{name!r} holds `{variant}`, so it is a DINOv2 with registers or of size g: give "
                "the file of ViT-S/14, B/14 or L/14 without registers."
            )
    patches = _require(tensors, f"{names.patches}.weight", name, dimensions=4)
    position_dimensions = 2 if is_of_clip else 3
    positions = _require(tensors, names.positions, name, dimensions=position_dimensions)
    width, _, patch, _ = patches.shape
    num_patches = positions.shape[-2] - 1
    grid = math.isqrt(max(num_patches, 0))
    is_square = grid > 0 and grid**2 == num_patches
    pattern = re.compile(re.escape(names.block).replace(r"\{\}", r"(\d+)"))
    blocks = {found.group(1) for found in map(pattern.match, tensors) if found}
    outputs = width
    if is_of_clip:
        outputs = _require(tensors, "visual.proj", name, dimensions=2).shape[1]
    else:
        grid = SIDE // patch
    if width % HEAD_WIDTH or not blocks or not is_square:
        raise InputError(
            f"`{names.patches}.weight` of {name!r} (={list(patches.shape)}) must be of a network "
            f"whose width is a multiple of {HEAD_WIDTH}, with blocks and positions of a square "
            "grid: give the public file."
        )
    return Design(patch, grid, width, len(blocks), is_of_clip, outputs)


def make_parameters(tensors: Tensors, design: Design, name: str) -> PyTree:
    """Make a vision transformer's parameters of the tensors of a public file.

    Args:
        tensors: of the image network.
        design: its sizes.
        name: of their file, for the message.

    Raises:
        InputError: naming the first tensor that is missing, unknown, of another shape or type, or
            not finite.
    """
    names = DINOV2
    if design.is_clip:
        names = CLIP
    unused = dict(tensors)

    def take(key: str) -> Float[np.ndarray, "..."]:
        value = _require(unused, key, name)
        del unused[key]
        if value.dtype != np.float32 or not np.all(np.isfinite(value)):
            raise InputError(
                f"`{key}` of {name!r} (={value.dtype}{list(value.shape)}) must hold finite float32 "
                "numbers; the file is damaged: replace it."
            )
        return value

    def dense(prefix: str) -> PyTree:
        return {"kernel": take(f"{prefix}weight").T, "bias": take(f"{prefix}bias")}

    def norm(prefix: str) -> PyTree:
        return {"scale": take(f"{prefix}weight"), "bias": take(f"{prefix}bias")}

    kernel = take(f"{names.patches}.weight").transpose(2, 3, 1, 0)
    patches = {"kernel": kernel.reshape(-1, design.width)}
    if not design.is_clip:
        patches["bias"] = take(f"{names.patches}.bias")
    parameters: dict[str, PyTree] = {
        "patches": patches,
        "class_token": take(names.class_token).reshape(-1),
        "positions": _fit_positions(take(names.positions), design.grid),
        "norm": norm(f"{names.norm}."),
    }
    if design.is_clip:
        parameters["norm_before"] = norm("visual.ln_pre.")
        parameters["projection"] = {"kernel": take("visual.proj")}
    for i in range(design.depth):
        prefix = names.block.format(i)
        block: dict[str, PyTree] = {}
        for ours, theirs in names.parts.items():
            read = dense
            if ours.endswith("norm"):
                read = norm
            block[ours] = read(prefix + theirs)
        for ours, theirs in names.scales.items():
            block[ours] = take(prefix + theirs)
        parameters[f"block_{i}"] = block
    if unused:
        raise InputError(
            f"{name!r} must not hold {len(unused)} of its tensors, `{min(unused)}` for one: give "
            "the public file."
        )
    _check_shapes(parameters, design, name)
    return parameters


def _require(
    tensors: Tensors, key: str, name: str, *, dimensions: int | None = None
) -> Shaped[np.ndarray, "..."]:
    """Return a tensor.

    Raises:
        InputError: if it is missing, or has other dimensions than these.
    """
    value = tensors.get(key)
    if value is None:
        raise InputError(f"{name!r} lacks the tensor `{key}`: give the public file.")
    if dimensions is not None and value.ndim != dimensions:
        raise InputError(
            f"`{key}` of {name!r} (={list(value.shape)}) must have {dimensions} dimensions: give "
            "the public file."
        )
    return value


def _check_shapes(parameters: PyTree, design: Design, name: str) -> None:
    """Raise unless the parameters have the shapes that the network asks for."""
    images = jnp.zeros((1, design.side, design.side, 3))
    network = VisionTransformer(design)
    wanted = jax.eval_shape(network.init, jax.random.key(0), images)["params"]
    wanted_shapes = {
        jax.tree_util.keystr(path): leaf.shape
        for path, leaf in jax.tree_util.tree_leaves_with_path(wanted)
    }
    for path, leaf in jax.tree_util.tree_leaves_with_path(parameters):
        key = jax.tree_util.keystr(path)
        if leaf.shape != wanted_shapes[key]:
            raise InputError(
                f"the tensor of {name!r} for {key} (={list(leaf.shape)}) must have the shape "
                f"{list(wanted_shapes[key])}: the file is damaged or of another network."
            )


def _fit_positions(
    positions: Float[np.ndarray, "..."], grid: int
) -> Float[np.ndarray, "tokens width"]:
    """Interpolate the positions of the trained grid to another, as DINOv2 does.

    The cubic interpolation steps by trained/(grid + 0.1) patches, not trained/grid, and borders
    repeat. Positions of the same grid are returned as they are.
    """
    table = positions.reshape(-1, positions.shape[-1])
    trained = math.isqrt(len(table) - 1)
    if trained == grid:
        return table
    weights = _cubic_weights(trained, grid)
    square = table[1:].reshape(trained, trained, -1).astype(np.float64)
    fitted = np.einsum("ih,jw,hwc->ijc", weights, weights, square, optimize=True)
    rows = fitted.reshape(grid * grid, -1).astype(np.float32)
    return np.concatenate([table[:1], rows])


def _cubic_weights(length: int, size: int) -> Float[np.ndarray, "size length"]:
    """Compute PyTorch's bicubic weights with DINOv2's scale, a row for each position."""
    weights = np.zeros((size, length))
    for i in range(size):
        centre = (i + 0.5) * length / (size + POSITION_OFFSET) - 0.5
        taps = np.arange(math.floor(centre) - 1, math.floor(centre) + 3)
        np.add.at(weights[i], np.clip(taps, 0, length - 1), cubic(taps - centre, PYTORCH_CUBIC))
    return weights

"""Random tensors with the names and shapes of the public files of DINOv2 and CLIP."""

import numpy as np

DINOV2_PARTS = {
    "norm1.": ["norm1."],
    "attn.qkv.": [f"attention.{name}_proj." for name in ("q", "k", "v")],
    "attn.proj.": ["attention.o_proj."],
    "ls1.gamma": ["layer_scale1.lambda1"],
    "norm2.": ["norm2."],
    "mlp.fc1.": ["mlp.fc1."],
    "mlp.fc2.": ["mlp.fc2."],
    "ls2.gamma": ["layer_scale2.lambda1"],
}
"""Name of a block's tensor → those that transformers has for it."""
CLIP_PARTS = {
    "ln_1.": ["layer_norm1."],
    "attn.in_proj_": [f"self_attn.{name}_proj." for name in ("q", "k", "v")],
    "attn.out_proj.": ["self_attn.out_proj."],
    "ln_2.": ["layer_norm2."],
    "mlp.c_fc.": ["mlp.fc1."],
    "mlp.c_proj.": ["mlp.fc2."],
}


def random_tensor(rng, shape):
    """Numbers whose products keep activations at one scale; vectors lie around 1."""
    if len(shape) == 1:
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    fan_in = np.prod(shape[1:])
    return (rng.standard_normal(shape) / np.sqrt(fan_in)).astype(np.float32)


def block_shapes(width, parts):
    """Shapes of a block's tensors, by the names of `parts`."""
    shapes = {}
    for name in parts:
        rows = width
        if "qkv" in name or "in_proj" in name:
            rows = 3 * width
        elif "fc1" in name or "c_fc" in name:
            rows = 4 * width
        columns = width
        if "fc2" in name or "mlp.c_proj" in name:
            columns = 4 * width
        if name.endswith("gamma"):
            shapes[name] = (width,)
            continue
        is_norm = name.startswith(("norm", "ln_"))
        shapes[f"{name}weight"] = (width,) if is_norm else (rows, columns)
        shapes[f"{name}bias"] = (rows,)
    return shapes


def dinov2_tensors(width, depth, trained_grid, patch=14, seed=0):
    """Tensors of DINOv2 of these sizes."""
    shapes = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, trained_grid**2 + 1, width),
        "mask_token": (1, width),
        "patch_embed.proj.weight": (width, 3, patch, patch),
        "patch_embed.proj.bias": (width,),
        "norm.weight": (width,),
        "norm.bias": (width,),
    }
    for i in range(depth):
        of_block = block_shapes(width, DINOV2_PARTS)
        shapes |= {f"blocks.{i}.{name}": shape for name, shape in of_block.items()}
    rng = np.random.default_rng(seed)
    tensors = {name: random_tensor(rng, shape) for name, shape in shapes.items()}
    del tensors["mask_token"]
    return tensors


def clip_tensors(width, depth, outputs, patch=32, grid=7, seed=0):
    """Tensors of CLIP's image network of these sizes."""
    shapes = {
        "visual.class_embedding": (width,),
        "visual.positional_embedding": (grid**2 + 1, width),
        "visual.proj": (width, outputs),
        "visual.conv1.weight": (width, 3, patch, patch),
    }
    for norm in ("ln_pre", "ln_post"):
        shapes |= {f"visual.{norm}.{part}": (width,) for part in ("weight", "bias")}
    for i in range(depth):
        of_block = block_shapes(width, CLIP_PARTS)
        prefix = f"visual.transformer.resblocks.{i}."
        shapes |= {prefix + name: shape for name, shape in of_block.items()}
    rng = np.random.default_rng(seed)
    return {name: random_tensor(rng, shape) for name, shape in shapes.items()}

"""DINOv2 and CLIP beside the networks of transformers, with the same random weights."""

import sys

import numpy as np
import pytest
import torch
from PIL import Image
from vision_tensors import CLIP_PARTS, DINOV2_PARTS, clip_tensors, dinov2_tensors

from l1jax.evaluation.features import extract_all
from l1jax.evaluation.tensors import save_tensors
from l1jax.evaluation.vision_features import clip_features, dinov2_features

RNG = np.random.default_rng(0)
TINY = {"width": 128, "depth": 2}
WIDE = {"width": 768, "depth": 2}


@pytest.fixture(autouse=True)
def without_torchvision(monkeypatch):
    """The networks need no torchvision, and one that does not fit to PyTorch cannot be imported."""
    monkeypatch.setitem(sys.modules, "torchvision", None)


def photographs(side, channels=3, count=3):
    """Images with edges and noise."""
    blocks = RNG.integers(0, 256, (count, 4, 4, channels)).repeat(-(-side // 4), 1)
    noise = RNG.normal(0, 20, (count, side, side, channels))
    x = blocks.repeat(-(-side // 4), 2)[:, :side, :side] + noise
    return np.clip(x, 0, 255).astype(np.uint8)


def prepared(images, side, mean, deviation):
    """Pillow's bicubic images, normalised, as PyTorch takes them."""
    resized = np.stack(
        [
            np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))
            for image in images
        ]
    )
    x = (resized / 255 - mean) / deviation
    return torch.tensor(x.transpose(0, 3, 1, 2), dtype=torch.float32)


def load(network, state):
    """Load a state and return the network, as it predicts."""
    found = network.load_state_dict(
        {name: torch.tensor(value) for name, value in state.items()}, strict=False
    )
    assert not found.unexpected_keys
    assert all(key.endswith(("mask_token", "position_ids")) for key in found.missing_keys)
    return network.eval()


def rename(tensors, parts, block, theirs):
    """Rename the tensors of blocks, and split the queries, keys and values."""
    state = {}
    for key, value in tensors.items():
        if not key.startswith(block):
            continue
        number, _, rest = key.removeprefix(block).partition(".")
        for ours, names in parts.items():
            if not rest.startswith(ours):
                continue
            ending = rest.removeprefix(ours)
            for name, piece in zip(names, np.split(value, len(names)), strict=True):
                state[f"{theirs}{number}.{name}{ending}"] = piece
    return state


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [TINY, WIDE], ids=["tiny", "wide"])
def test_dinov2_is_that_of_transformers(tmp_path, sizes):
    from transformers import Dinov2Config, Dinov2Model

    tensors = dinov2_tensors(**sizes, trained_grid=16)
    save_tensors(tmp_path / "w.safetensors", tensors, {})
    images = photographs(50)
    found = extract_all(dinov2_features(tmp_path / "w.safetensors"), images).features

    settings = Dinov2Config(
        hidden_size=sizes["width"],
        num_hidden_layers=sizes["depth"],
        num_attention_heads=sizes["width"] // 64,
        image_size=224,
        patch_size=14,
    )
    state = rename(tensors, DINOV2_PARTS, "blocks.", "encoder.layer.") | {
        "embeddings.cls_token": tensors["cls_token"],
        "embeddings.position_embeddings": tensors["pos_embed"],
        "embeddings.patch_embeddings.projection.weight": tensors["patch_embed.proj.weight"],
        "embeddings.patch_embeddings.projection.bias": tensors["patch_embed.proj.bias"],
        "layernorm.weight": tensors["norm.weight"],
        "layernorm.bias": tensors["norm.bias"],
    }
    network = load(Dinov2Model(settings), state)
    x = prepared(images, 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    with torch.no_grad():
        expected = network(x).pooler_output.numpy()
    assert np.std(expected, axis=0).min() > 0
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [TINY, WIDE], ids=["tiny", "wide"])
def test_clip_is_that_of_transformers(tmp_path, sizes):
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    tensors = clip_tensors(**sizes, outputs=96)
    save_tensors(tmp_path / "w.safetensors", tensors, {})
    images = photographs(60)
    wide = np.concatenate([np.zeros_like(images[:, :, :7]), images, images[:, :, :8]], axis=2)
    found = extract_all(clip_features(tmp_path / "w.safetensors"), wide).features

    settings = CLIPVisionConfig(
        hidden_size=sizes["width"],
        intermediate_size=4 * sizes["width"],
        num_hidden_layers=sizes["depth"],
        num_attention_heads=sizes["width"] // 64,
        projection_dim=96,
        image_size=224,
        patch_size=32,
        hidden_act="quick_gelu",
    )
    blocks = "vision_model.encoder.layers."
    state = rename(tensors, CLIP_PARTS, "visual.transformer.resblocks.", blocks) | {
        "vision_model.embeddings.class_embedding": tensors["visual.class_embedding"],
        "vision_model.embeddings.position_embedding.weight": tensors["visual.positional_embedding"],
        "vision_model.embeddings.patch_embedding.weight": tensors["visual.conv1.weight"],
        "vision_model.pre_layrnorm.weight": tensors["visual.ln_pre.weight"],
        "vision_model.pre_layrnorm.bias": tensors["visual.ln_pre.bias"],
        "vision_model.post_layernorm.weight": tensors["visual.ln_post.weight"],
        "vision_model.post_layernorm.bias": tensors["visual.ln_post.bias"],
        "visual_projection.weight": tensors["visual.proj"].T,
    }
    network = load(CLIPVisionModelWithProjection(settings), state)
    mean = (0.48145466, 0.4578275, 0.40821073)
    x = prepared(images, 224, mean, (0.26862954, 0.26130258, 0.27577711))
    with torch.no_grad():
        embedding = network(x).image_embeds.numpy()
    expected = embedding / np.linalg.norm(embedding, axis=1, keepdims=True)
    assert np.std(expected, axis=0).min() > 0
    np.testing.assert_allclose(found, expected, atol=1e-5)

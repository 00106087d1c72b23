"""The public files of DINOv2 and CLIP: their layouts, and what is none of them."""

import numpy as np
import pytest
import torch
from vision_tensors import clip_tensors, dinov2_tensors

from l1jax import convert as command
from l1jax.config import InputError
from l1jax.evaluation.tensors import load_tensors, save_tensors
from l1jax.evaluation.vision_features import clip_features, dinov2_features
from l1jax.evaluation.vision_weights import make_parameters, read_design

SIZES = {"width": 64, "depth": 1}


def as_modules(tensors):
    """A network whose state has these names, as TorchScript saves it."""
    root = torch.nn.Module()
    for name, value in tensors.items():
        *path, last = name.split(".")
        module = root
        for part in path:
            if part not in dict(module.named_children()):
                module.add_module(part, torch.nn.Module())
            module = module.get_submodule(part)
        module.register_parameter(last, torch.nn.Parameter(torch.from_numpy(value)))
    return root


def test_positions_are_fitted_as_dinov2_fits_them():
    tensors = dinov2_tensors(**SIZES, trained_grid=37)
    design = read_design(tensors, "file")
    assert (design.patch, design.grid, design.side, design.depth) == (14, 16, 224, 1)
    found = make_parameters(tensors, design, "file")["positions"]
    table = torch.from_numpy(tensors["pos_embed"])
    square = table[:, 1:].reshape(1, 37, 37, 64).permute(0, 3, 1, 2)
    fitted = torch.nn.functional.interpolate(
        square, scale_factor=(16.1 / 37, 16.1 / 37), mode="bicubic"
    )
    expected = fitted.permute(0, 2, 3, 1).reshape(256, 64).numpy()
    np.testing.assert_array_equal(found[0], tensors["pos_embed"][0, 0])
    np.testing.assert_allclose(found[1:], expected, atol=2e-6)


def test_dinov2s_file_is_converted_without_the_token_of_masked_patches(tmp_path, capsys):
    tensors = dinov2_tensors(**SIZES, trained_grid=16)
    state = {name: torch.from_numpy(value) for name, value in tensors.items()}
    torch.save(state | {"mask_token": torch.zeros(1, 64)}, tmp_path / "w.pth")
    assert command.main([str(tmp_path / "w.pth"), "--any-weights"]) == 0
    assert "compare with no others" in capsys.readouterr().out
    found, _ = load_tensors(tmp_path / "w.safetensors")
    assert found.keys() == tensors.keys()
    protocol = dinov2_features(tmp_path / "w.safetensors").protocol
    assert "DINOv2 with 1 blocks of width 64" in protocol
    assert "224×224 bicubically as Pillow" in protocol
    with pytest.raises(InputError, match="transformer of CLIP"):
        clip_features(tmp_path / "w.safetensors")


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_clips_file_is_converted_without_its_text_network(tmp_path):
    tensors = clip_tensors(**SIZES, outputs=48)
    halves = {name: value.astype(np.float16) for name, value in tensors.items()}
    text = {
        "token_embedding.weight": np.ones((5, 4), np.float32),
        "transformer.resblocks.0.ln_1.weight": np.ones(4, np.float32),
        "logit_scale": np.ones(1, np.float32),
    }
    torch.jit.save(torch.jit.script(as_modules(halves | text)), tmp_path / "w.pt")
    assert command.main([str(tmp_path / "w.pt"), "--any-weights"]) == 0
    found, _ = load_tensors(tmp_path / "w.safetensors")
    assert found.keys() == tensors.keys()
    for name, value in halves.items():
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], value.astype(np.float32))
    design = read_design(found, "file")
    assert (design.patch, design.grid, design.outputs, design.is_clip) == (32, 7, 48, True)
    with pytest.raises(InputError, match="transformer of DINOv2"):
        dinov2_features(tmp_path / "w.safetensors")


def cut(key, shape):
    return lambda tensors: tensors.update({key: np.zeros(shape, np.float32)})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("norm.bias"), "lacks the tensor `norm.bias`"),
        (lambda t: t.pop("patch_embed.proj.weight"), "lacks the tensor `patch_embed.proj.weight`"),
        (cut("head.weight", (3,)), "must not hold 1 of its tensors, `head.weight`"),
        (cut("norm.bias", (3,)), r"\['norm'\]\['bias'\] \(=\[3\]\) must have the shape \[64\]"),
        (cut("pos_embed", (1, 200, 64)), "positions of a square grid"),
        (cut("pos_embed", (200, 64)), r"`pos_embed`.*\[200, 64\].*must have 3 dimensions"),
        (cut("patch_embed.proj.weight", (65, 3, 14, 14)), "multiple of 64"),
        (cut("register_tokens", (1, 4, 64)), "with registers"),
        (cut("blocks.0.mlp.w12.weight", (8, 64)), "size g"),
        (lambda t: t["norm.bias"].fill(np.nan), "`norm.bias`.*finite"),
        (lambda t: t.update({"norm.bias": np.zeros(64, np.int32)}), "`norm.bias`.*int32"),
    ],
)
def test_other_tensors_are_refused(change, words, tmp_path):
    tensors = dinov2_tensors(**SIZES, trained_grid=16)
    change(tensors)
    save_tensors(tmp_path / "w.safetensors", tensors, {})
    with pytest.raises(InputError, match=words):
        dinov2_features(tmp_path / "w.safetensors")

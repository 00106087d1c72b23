"""The Inception-v3 of torch-fidelity and of pytorch-fid, the oracles.

torch-fidelity's comes without torchvision, which only its package imports.
"""

import importlib
import importlib.util
import sys
import types

import numpy as np
import torch


def _module(name):
    if "torch_fidelity" not in sys.modules:
        package = types.ModuleType("torch_fidelity")
        package.__path__ = list(
            importlib.util.find_spec("torch_fidelity").submodule_search_locations
        )
        sys.modules["torch_fidelity"] = package
    return importlib.import_module(f"torch_fidelity.{name}")


def network(weights):
    """(uint8 images) → features, logits without and with bias, from a PyTorch file of weights."""
    wanted = ["2048", "logits_unbiased", "logits"]
    extractor = _module("feature_extractor_inceptionv3").FeatureExtractorInceptionV3(
        "inception", wanted, feature_extractor_weights_path=str(weights)
    )

    def extract(images):
        with torch.no_grad():
            return [
                found.numpy() for found in extractor(torch.from_numpy(images).permute(0, 3, 1, 2))
            ]

    return extract


def resized(images):
    """As that network resizes them."""
    interpolate = _module("interpolate_compat_tensorflow").interpolate_bilinear_2d_like_tensorflow1x
    x = torch.from_numpy(images.astype(np.float32)).permute(0, 3, 1, 2)
    return interpolate(x, size=(299, 299), align_corners=False).permute(0, 2, 3, 1).numpy()


def pytorch_fid_network(weights, monkeypatch):
    """(uint8 images) → features as pytorch-fid takes them, and its network for prepared images."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):  # a torchvision that does not fit to PyTorch lacks them
        if not hasattr(torch.ops.torchvision, name):
            library.define(f"{name}(Tensor boxes, Tensor scores, float threshold) -> Tensor")
    inception = importlib.import_module("pytorch_fid.inception")
    state = torch.load(weights)
    monkeypatch.setattr(inception, "load_state_dict_from_url", lambda *_, **__: state)
    blocks = inception.InceptionV3([3]).eval()

    def extract(pixels):
        x = torch.from_numpy(np.asarray(pixels, np.float32) / 255).permute(0, 3, 1, 2)
        with torch.no_grad():
            return blocks(x)[0].squeeze(-1).squeeze(-1).numpy()

    return extract

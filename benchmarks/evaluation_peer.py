"""Write torch-fidelity's scores of two folders of images, for `evaluation.py`."""

import json
from pathlib import Path

import torch


def define_missing_operators() -> torch.library.Library:
    """Let torchvision be imported that was built for another PyTorch: no score uses these."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            library.define(f"{name}(Tensor boxes, Tensor scores, float threshold) -> Tensor")
    return library


def main(real: str, generated: str, weights: str, kid_subset_size: str, output: str) -> None:
    """Compute what torch-fidelity has of Inception-v3's features; its precision is of VGG-16.

    Args:
        real: folder of the real images.
        generated: folder of the generated ones.
        weights: PyTorch file of Inception-v3.
        kid_subset_size: images in each subset of the kernel distance.
        output: JSON file for the scores.
    """
    _library = define_missing_operators()
    from torch_fidelity import calculate_metrics

    scores = calculate_metrics(
        input1=generated,
        input2=real,
        cuda=False,
        isc=True,
        fid=True,
        kid=True,
        feature_extractor_weights_path=weights,
        kid_subset_size=int(kid_subset_size),
        cache=False,
        verbose=False,
    )
    Path(output).write_text(json.dumps(scores))

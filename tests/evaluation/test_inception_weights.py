"""What is no file of Inception-v3's weights is refused in a sentence."""

import numpy as np
import pytest
from random_inception_weights import zero_tensors
from safetensors.numpy import save_file

from l1jax.config import InputError
from l1jax.evaluation.inception import inception_features
from l1jax.evaluation.inception_weights import check_tensors, fold_batch_norms, tensor_shapes
from l1jax.evaluation.tensors import save_tensors


def test_the_network_has_the_public_files_tensors():
    shapes = tensor_shapes()
    assert shapes["Conv2d_1a_3x3.conv.weight"] == (32, 3, 3, 3)
    assert shapes["Mixed_6c.branch7x7dbl_4.conv.weight"] == (160, 160, 7, 1)
    assert shapes["Mixed_7c.branch3x3_2a.bn.running_mean"] == (384,)
    assert shapes["fc.weight"] == (1008, 2048)
    convolutions = [shape for name, shape in shapes.items() if name.endswith("conv.weight")]
    assert (len(convolutions), sum(map(np.prod, convolutions))) == (
        94,
        21_751_136,
    )  # counted in torchvision's network
    assert len(shapes) == 5 * 94 + 2


def test_folding_is_the_batch_norm_behind_the_convolution():
    rng = np.random.default_rng(0)
    shapes = {"weight": 5, "bias": 5, "running_mean": 5, "running_var": 5}
    norm = {f"x.bn.{name}": rng.uniform(0.1, 2, n).astype(np.float32) for name, n in shapes.items()}
    kernel = rng.normal(size=(5, 3, 1, 1)).astype(np.float32)
    fc = {"fc.weight": np.ones((2, 5), np.float32), "fc.bias": np.ones(2, np.float32)}
    folded = fold_batch_norms({"x.conv.weight": kernel, **norm, **fc})["x"]
    pixel = rng.normal(size=3)
    raw = kernel[:, :, 0, 0] @ pixel
    variance = norm["x.bn.running_var"] + 1e-3
    expected = (raw - norm["x.bn.running_mean"]) / np.sqrt(variance) * norm["x.bn.weight"] + norm[
        "x.bn.bias"
    ]
    np.testing.assert_allclose(pixel @ folded["kernel"][0, 0] + folded["bias"], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("fc.bias"), "lacks 1 of the tensors of Inception-v3, `fc.bias`"),
        (
            lambda t: t.update({"AuxLogits.fc.bias": np.zeros(3, np.float32)}),
            "must not hold.*`AuxLogits.fc.bias`",
        ),
        (
            lambda t: t.update({"fc.bias": np.zeros(1000, np.float32)}),
            r"`fc.bias`.*\[1000\].*float32\[1008\]",
        ),
        (lambda t: t.update({"fc.bias": np.zeros(1008, np.int32)}), "`fc.bias`.*int32"),
        (lambda t: t.update({"fc.bias": np.full(1008, np.nan, np.float32)}), "`fc.bias`.*finite"),
    ],
)
def test_other_tensors_are_refused(change, words):
    tensors = zero_tensors()
    check_tensors(tensors, "file")
    change(tensors)
    with pytest.raises(InputError, match=words):
        check_tensors(tensors, "file")


def test_files_that_are_no_weights_are_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    with pytest.raises(InputError, match="cannot be read"):
        inception_features(path)
    path.write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(InputError, match="cannot be read as safetensors"):
        inception_features(path)
    save_file({"a": np.zeros(3, np.float32)}, path)
    with pytest.raises(InputError, match="lacks 472"):
        inception_features(path)


def test_one_flipped_bit_is_noticed(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_tensors(path, {"a": np.arange(9.0)}, {})
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        inception_features(path)

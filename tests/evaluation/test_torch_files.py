"""Files that PyTorch wrote, read without it."""

from collections import OrderedDict

import numpy as np
import pytest
import torch

from l1jax.config import InputError
from l1jax.evaluation.torch_files import read_torch

LAYOUTS = pytest.mark.parametrize("zipped", [True, False])


def save(tree, path, zipped):
    torch.save(tree, path, _use_new_zipfile_serialization=zipped)
    return path


@LAYOUTS
def test_a_networks_state_is_read(tmp_path, zipped):
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 5, (2, 3)), torch.nn.BatchNorm2d(5))
    found = read_torch(save(network.state_dict(), tmp_path / "w.pth", zipped))
    expected = {name: value.numpy() for name, value in network.state_dict().items()}
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype
        np.testing.assert_array_equal(found[name], value)


@LAYOUTS
def test_views_of_one_storage_of_any_layout_are_read(tmp_path, zipped):
    whole = torch.arange(24, dtype=torch.float64).reshape(2, 3, 4)
    tree = OrderedDict(
        whole=whole,
        part=whole[1, 1:, ::2],
        turned=whole.permute(2, 0, 1),
        repeated=whole[0, 0, :1].expand(5),
        scalar=torch.tensor(3, dtype=torch.int16),
        empty=torch.zeros(0, 3, dtype=torch.float16),
        flags=torch.tensor([True, False]),
        other="no tensor",
    )
    found = read_torch(save(tree, tmp_path / "w.pth", zipped))
    del tree["other"]
    assert list(found) == list(tree)
    for name, value in tree.items():
        assert found[name].dtype == value.numpy().dtype
        np.testing.assert_array_equal(found[name], value.numpy())


class Branch(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.dense = torch.nn.Linear(3, 2)
        self.scale = torch.nn.Parameter(torch.rand(2).half())
        self.register_buffer("shift", torch.ones(2))
        self.number = 3

    def forward(self, x):
        return self.dense(x) * self.scale + self.shift


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_network_of_torchscript_is_read_by_the_names_of_its_state(tmp_path):
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), Branch())
    torch.jit.save(torch.jit.script(network), tmp_path / "w.pt")
    found = read_torch(tmp_path / "w.pt")
    expected = {name: value.numpy() for name, value in network.state_dict().items()}
    assert found.keys() == expected.keys()
    assert "1.dense.weight" in found
    for name, value in expected.items():
        assert found[name].dtype == value.dtype
        np.testing.assert_array_equal(found[name], value)


@LAYOUTS
def test_a_truncated_file_is_refused(tmp_path, zipped):
    content = save({"a": torch.ones(1000)}, tmp_path / "w.pth", zipped).read_bytes()
    for length in (10, 100, len(content) // 2, len(content) - 30):
        (tmp_path / "cut.pth").write_bytes(content[:length])
        with pytest.raises(InputError, match=r"cut\.pth"):
            read_torch(tmp_path / "cut.pth")


def test_flipped_values_in_an_archive_are_noticed(tmp_path):
    content = bytearray(save({"a": torch.ones(1000)}, tmp_path / "w.pth", True).read_bytes())
    content[content.index(torch.ones(9).numpy().tobytes()) + 5] ^= 1
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        read_torch(tmp_path / "w.pth")


@pytest.mark.parametrize(
    "tree", [torch.ones(3), [torch.ones(3)], {"a": torch.ones(3, dtype=torch.complex64)}]
)
def test_other_things_are_refused(tmp_path, tree):
    with pytest.raises(InputError, match=r"dictionary of tensors|ComplexFloatStorage"):
        read_torch(save(tree, tmp_path / "w.pth", True))


def test_a_whole_network_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"names `torch\.nn\.modules"):
        read_torch(save(torch.nn.Linear(2, 3), tmp_path / "w.pth", True))

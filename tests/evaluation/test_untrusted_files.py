"""Files that are not `torch.save`'s: refused in a sentence, and nothing in them runs."""

import os
import pickle
import zipfile

import pytest

from l1jax.config import InputError
from l1jax.evaluation.torch_files import read_torch

MAGIC = (
    pickle.dumps(0x1950A86A20F9469CFC6C, 2)
    + pickle.dumps(1001, 2)
    + pickle.dumps({"little_endian": True}, 2)
)


class Runs:
    """Calls a function as it is unpickled."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def zipped(path, content, name="archive/data.pkl"):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, content)


@pytest.mark.parametrize("layout", ["bare", "stream", "zip"])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_would_run_something_is_refused_and_runs_nothing(tmp_path, layout, protocol):
    path, witness = tmp_path / "weights.pth", tmp_path / "ran"
    attack = pickle.dumps({"fc.bias": Runs(os.system, f"touch {witness}")}, protocol)
    if layout == "zip":
        zipped(path, attack)
    else:
        path.write_bytes(attack if layout == "bare" else MAGIC + attack)
    with pytest.raises(InputError, match=r"names `(posix|nt)\.system`.*nothing of it was run"):
        read_torch(path)
    assert not witness.exists()
    pickle.loads(attack)  # it would have
    assert witness.exists()


@pytest.mark.parametrize(
    "name",
    [
        "builtins eval",
        "builtins getattr",
        "torch load",
        "torch._utils _rebuild_parameter",
        "torch FloatStorage.__init__",
    ],
)
def test_any_other_name_is_refused(tmp_path, name):
    module, function = name.split()
    zipped(tmp_path / "w.pth", f"c{module}\n{function}\n(tR.".encode())
    with pytest.raises(InputError, match=f"names `{module}.{function}`"):
        read_torch(tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "none or is damaged"),
        (b"hello", "none or is damaged"),
        (b"PK\x03\x04", "none or is damaged"),
        (pickle.dumps({"a": 1}), "another pickle"),
        (MAGIC, "none or is damaged"),
        (MAGIC + pickle.dumps([1]) + pickle.dumps([]), "dictionary of tensors"),
        (MAGIC + pickle.dumps({1: 2}) + pickle.dumps([]), "dictionary of tensors"),
        (
            MAGIC + pickle.dumps({}) + pickle.dumps(["7"]) + b"\1" + 7 * b"\0",
            "storage 7 is not as long",
        ),
        (
            MAGIC + b"ctorch\nFloatStorage\n(tR.",
            "none or is damaged",
        ),  # a type of storage cannot be called
        (
            pickle.dumps(0x1950A86A20F9469CFC6C)
            + pickle.dumps(1001)
            + pickle.dumps({"little_endian": False}),
            "big-endian",
        ),
    ],
)
def test_what_is_no_such_file_is_refused(tmp_path, content, words):
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_torch(tmp_path / "w.pth")


def test_other_archives_are_refused(tmp_path):
    zipped(tmp_path / "w.pth", b"", "photo.png")
    with pytest.raises(InputError, match="another zip archive"):
        read_torch(tmp_path / "w.pth")


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_torch(tmp_path / "w.pth")


TENSOR = (
    b"ctorch._utils\n_rebuild_tensor_v2\n((Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nI%d\n"
    b"tQI%d\n(I%d\nt(I%d\ntI00\nNtR"
)


@pytest.mark.parametrize(
    ("length", "offset", "shape", "strides"),
    [(4, 0, 5, 1), (4, 1, 4, 1), (4, -1, 2, 1), (4, 3, 2, -1), (4, 0, -2, 1)],
)
def test_a_tensor_outside_of_its_storage_is_refused(tmp_path, length, offset, shape, strides):
    tensor = TENSOR % (length, offset, shape, strides)
    zipped(tmp_path / "w.pth", b"(dVa\n" + tensor + b"s.")
    with pytest.raises(InputError, match="outside of its storage"):
        read_torch(tmp_path / "w.pth")

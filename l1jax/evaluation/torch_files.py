"""Read PyTorch's files without PyTorch: tensors by name, and nothing that could run.

Such a file is a pickle, which can call any function it names. Here it can only name dictionaries,
tensors and their types. At any other name reading stops, before anything has been called.

There are two layouts of `torch.save`. Since PyTorch 1.6 the file is a zip archive with the pickle
and a file of values for each storage. Before, it was several pickles one behind the other, followed
by the values. `torch.jit.save` writes such an archive, too, with a network's modules in place of
the dictionary, and its code, which is not read.
"""

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from l1jax.config import InputError
from l1jax.evaluation.tensors import Tensors

_MAGIC = 0x1950A86A20F9469CFC6C  # first pickle of the older layout
_PROTOCOL = 1001  # second pickle of the older layout
_STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "?",
}
_LISTS = ("build_intlist", "build_doublelist", "build_boollist", "build_tensorlist")
"""What TorchScript calls to make lists of one type."""


class _Kind(NamedTuple):
    """A type of storage. It cannot be called, so a pickle can do nothing with it."""

    dtype: str


class _Storage(NamedTuple):
    key: str
    dtype: np.dtype
    length: int


class _Tensor(NamedTuple):
    """Where a tensor's values are in the file; it is made before they are read."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Module:
    """A module of a TorchScript file: its attributes, whatever its class was."""

    def __init__(self) -> None:
        self.attributes: dict[str, object] = {}

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, dict):
            raise _RefusedFileError("is damaged: one of its modules has no attributes")
        self.attributes = state


class _RefusedFileError(Exception):
    """Raised for what a file must not hold; the message is the end of a sentence."""


def read_torch(path: Path) -> Tensors:
    """Read a dictionary of tensors that `torch.save` wrote, or a network of `torch.jit.save`.

    Returns:
        Its tensors by name, in their order; those of a network have the names that its state has in
        PyTorch, such as "layer.0.weight". Anything else in it is left out.

    Raises:
        InputError: if the file cannot be read, is no such file, is damaged, or names anything but
            tensors.
    """
    try:
        with path.open("rb") as file:
            is_zip = file.read(4) == b"PK\x03\x04"
            file.seek(0)
            if is_zip:
                return _read_zip(file)
            return _read_stream(file)
    except _RefusedFileError as error:
        raise InputError(f"{str(path)!r} {error}.") from error
    except OSError as error:
        raise InputError(f"{str(path)!r} cannot be read ({error.strerror or error}).") from error
    except Exception as error:  # bytes that are no pickle can make the unpickler raise anything
        reason = ": ".join([type(error).__name__, *str(error).splitlines()[:1]])
        raise InputError(
            f"{str(path)!r} must be a file of torch.save, and is none or is damaged ({reason}): "
            "fetch it again."
        ) from error


class _TensorsOnly(pickle.Unpickler):
    """An unpickler that knows only dictionaries, tensors, and modules without their code."""

    def find_class(self, module: str, name: str) -> object:
        """Return what a name in the pickle stands for, or refuse it."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if module == "torch" and name in _STORAGES:
            return _Kind(_STORAGES[name])
        if module == "torch.jit._pickle" and name in _LISTS:
            return list
        if module == "__torch__" or module.startswith("__torch__."):
            return _Module
        raise _RefusedFileError(
            f"names `{module}.{name}`, but may only hold tensors: nothing of it was run; do not "
            "trust the file"
        )

    def persistent_load(self, pid: Any) -> _Storage:
        """Return the description of a storage, whose values are read later."""
        name, kind, key, _, length, *_ = pid
        is_storage = name == "storage" and isinstance(kind, _Kind)
        if not is_storage or not isinstance(length, int) or length < 0:
            raise _RefusedFileError("is damaged: one of its storages is not described as such")
        return _Storage(str(key), np.dtype(kind.dtype), length)


def _rebuild(
    storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: object
) -> _Tensor:
    """Describe a tensor, as PyTorch's function of that name would make it."""
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    is_negative = min(offset, *shape, *strides, 0) < 0
    is_empty = 0 in shape
    if is_negative or (not is_empty and last >= storage.length):
        raise _RefusedFileError("is damaged: one of its tensors lies outside of its storage")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _read_zip(file: BinaryIO) -> Tensors:
    with zipfile.ZipFile(file) as archive:
        pickles = [
            name
            for name in archive.namelist()
            if name.count("/") == 1 and name.endswith("/data.pkl")
        ]
        if len(pickles) != 1:
            raise _RefusedFileError("must be a file of torch.save, and is another zip archive")
        folder = pickles[0].removesuffix("data.pkl")
        byte_order = b"little"
        if f"{folder}byteorder" in archive.namelist():
            byte_order = archive.read(f"{folder}byteorder")
        if byte_order != b"little":
            raise _RefusedFileError("holds big-endian values: save it on an ordinary machine")

        def read_values(storage: _Storage) -> bytes:
            name = f"{folder}data/{storage.key}"
            if archive.getinfo(name).file_size != storage.length * storage.dtype.itemsize:
                raise _RefusedFileError(
                    f"is damaged: `{name}` in it is not as long as it should be"
                )
            return archive.read(name)

        tree = _TensorsOnly(io.BytesIO(archive.read(pickles[0]))).load()
        return _make_arrays(tree, read_values)


def _read_stream(file: BinaryIO) -> Tensors:
    def next_pickle() -> Any:
        return _TensorsOnly(file).load()

    if next_pickle() != _MAGIC or next_pickle() != _PROTOCOL:
        raise _RefusedFileError("must be a file of torch.save, and is another pickle")
    if not next_pickle()["little_endian"]:
        raise _RefusedFileError("holds big-endian values: save it on an ordinary machine")
    tree = next_pickle()
    keys = next_pickle()
    storages = {tensor.storage.key: tensor.storage for tensor in _select_tensors(tree).values()}
    values = {}
    for key in keys:
        count = int.from_bytes(file.read(8), "little")
        storage = storages.get(key)
        if storage is None or storage.length != count:
            raise _RefusedFileError(f"is damaged: its storage {key} is not as long as it should be")
        values[key] = file.read(count * storage.dtype.itemsize)
    return _make_arrays(tree, lambda storage: values[storage.key])


def _select_tensors(tree: object) -> Mapping[str, _Tensor]:
    """Return the tensors of a dictionary, or of a module and those in it, by name."""
    if isinstance(tree, _Module):
        tensors = {}
        for name, value in tree.attributes.items():
            if isinstance(value, _Tensor):
                tensors[name] = value
            elif isinstance(value, _Module):
                inner = _select_tensors(value)
                tensors |= {f"{name}.{key}": tensor for key, tensor in inner.items()}
        return tensors
    if not isinstance(tree, dict) or not all(isinstance(key, str) for key in tree):
        raise _RefusedFileError(
            "must hold a dictionary of tensors, as a network's `state_dict()` is"
        )
    return {key: value for key, value in tree.items() if isinstance(value, _Tensor)}


def _make_arrays(tree: object, read_values: Callable[[_Storage], bytes]) -> Tensors:
    """Make an array of every tensor; no two arrays share memory.

    Args:
        tree: the unpickled dictionary or module.
        read_values: storage → its bytes.
    """
    arrays = {}
    for name, tensor in _select_tensors(tree).items():
        flat = np.frombuffer(read_values(tensor.storage), tensor.storage.dtype)
        if len(flat) != tensor.storage.length:
            raise _RefusedFileError(f"is cut short in the values of `{name}`: fetch it again")
        strides = [step * flat.itemsize for step in tensor.strides]
        view = np.lib.stride_tricks.as_strided(
            flat[tensor.offset :], tensor.shape, strides, writeable=False
        )
        arrays[name] = view.copy()
    return arrays

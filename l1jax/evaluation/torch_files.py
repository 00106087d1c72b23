"""Files that `torch.save` wrote, read without PyTorch: tensors in dictionaries, and nothing that could run.

Such a file is a pickle, which can call any function it names. Here it can name dictionaries, tensors and their
types; at any other name reading stops, before anything was called.

Two layouts: since PyTorch 1.6 a zip archive with the pickle and a file of values for each storage; before it one
file of several pickles, one behind the other, and then the values.
"""

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from jaxtyping import Shaped

from l1jax.config import InputError

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # the first two pickles of the older layout
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


class _Kind(NamedTuple):
    """A type of storage; not callable, so that a pickle can do nothing with it."""

    dtype: str


class _Storage(NamedTuple):
    key: str
    dtype: np.dtype
    length: int


class _Tensor(NamedTuple):
    """Where a tensor's values are; made before they are read."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Refused(Exception):
    """What the file must not hold, as the end of a sentence."""


def read_torch(path: Path) -> dict[str, Shaped[np.ndarray, "..."]]:
    """Read a dictionary of tensors that `torch.save` wrote, of either layout.

    Returns:
        Its tensors by name, in their order; what else it holds is left out.

    Raises:
        InputError: if it cannot be read, is no such file, is damaged, or names anything but tensors.
    """
    try:
        with path.open("rb") as file:
            zipped = file.read(4) == b"PK\x03\x04"
            file.seek(0)
            return _read_zip(file) if zipped else _read_stream(file)
    except _Refused as error:
        raise InputError(f"{str(path)!r} {error}.") from error
    except OSError as error:
        raise InputError(f"{str(path)!r} cannot be read ({error.strerror or error}).") from error
    except Exception as error:  # bytes that are no pickle can make the unpickler raise anything
        why = ": ".join([type(error).__name__, *str(error).splitlines()[:1]])
        raise InputError(
            f"{str(path)!r} must be a file of torch.save, and is none or is damaged ({why}): fetch it again."
        ) from error


class _TensorsOnly(pickle.Unpickler):
    """An unpickler for which there are only dictionaries and tensors."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if module == "torch" and name in _STORAGES:
            return _Kind(_STORAGES[name])
        raise _Refused(
            f"names `{module}.{name}`, and may hold tensors alone: nothing of it was run; do not trust it"
        )

    def persistent_load(self, pid: Any) -> _Storage:
        name, kind, key, _, length, *_ = pid
        if (
            name != "storage"
            or not isinstance(kind, _Kind)
            or not isinstance(length, int)
            or length < 0
        ):
            raise _Refused("is damaged: one of its storages is not described as such")
        return _Storage(str(key), np.dtype(kind.dtype), length)


def _rebuild(
    storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any
) -> _Tensor:
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if min(offset, *shape, *strides, 0) < 0 or (0 not in shape and last >= storage.length):
        raise _Refused("is damaged: one of its tensors lies outside of its storage")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _read_zip(file: BinaryIO) -> dict[str, Any]:
    with zipfile.ZipFile(file) as archive:
        pickles = [
            name
            for name in archive.namelist()
            if name.count("/") == 1 and name.endswith("/data.pkl")
        ]
        if len(pickles) != 1:
            raise _Refused("must be a file of torch.save, and is another zip archive")
        folder = pickles[0].removesuffix("data.pkl")
        if (
            f"{folder}byteorder" in archive.namelist()
            and archive.read(f"{folder}byteorder") != b"little"
        ):
            raise _Refused("holds big-endian values: save it on an ordinary machine")

        def values(storage: _Storage) -> bytes:
            name = f"{folder}data/{storage.key}"
            if archive.getinfo(name).file_size != storage.length * storage.dtype.itemsize:
                raise _Refused(f"is damaged: `{name}` in it is not as long as it should be")
            return archive.read(name)

        return _collect(_TensorsOnly(io.BytesIO(archive.read(pickles[0]))).load(), values)


def _read_stream(file: BinaryIO) -> dict[str, Any]:
    def following() -> Any:
        return _TensorsOnly(file).load()

    if following() != _MAGIC or following() != _PROTOCOL:
        raise _Refused("must be a file of torch.save, and is another pickle")
    if not following()["little_endian"]:
        raise _Refused("holds big-endian values: save it on an ordinary machine")
    tree, order = following(), following()
    lengths = {tensor.storage.key: tensor.storage for tensor in _tensors(tree).values()}
    found = {}
    for key in order:
        count = int.from_bytes(file.read(8), "little")
        storage = lengths.get(key)
        if storage is None or storage.length != count:
            raise _Refused(f"is damaged: its storage {key} is not as long as it should be")
        found[key] = file.read(count * storage.dtype.itemsize)
    return _collect(tree, lambda storage: found[storage.key])


def _tensors(tree: Any) -> Mapping[str, _Tensor]:
    if not isinstance(tree, dict) or not all(isinstance(key, str) for key in tree):
        raise _Refused("must hold a dictionary of tensors, as a network's `state_dict()` is")
    return {key: value for key, value in tree.items() if isinstance(value, _Tensor)}


def _collect(tree: Any, values: Callable[[_Storage], bytes]) -> dict[str, Any]:
    """The tensors' values, as arrays of their own."""
    found = {}
    for name, tensor in _tensors(tree).items():
        flat = np.frombuffer(values(tensor.storage), tensor.storage.dtype)
        if len(flat) != tensor.storage.length:
            raise _Refused(f"is cut short in the values of `{name}`: fetch it again")
        steps = [step * flat.itemsize for step in tensor.strides]
        view = np.lib.stride_tricks.as_strided(
            flat[tensor.offset :], tensor.shape, steps, writeable=False
        )
        found[name] = view.copy()
    return found

"""Safetensors files that appear whole or not at all, and whose damage is found on reading."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Shaped
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from l1jax.config import InputError
from l1jax.files import atomic_write

Tensors = dict[str, Shaped[np.ndarray, "..."]]
DIGEST = "l1jax.sha256"  # metadata key: hash of the tensors as they were written


def hash_tensors(tensors: Mapping[str, Shaped[np.ndarray, "..."]]) -> str:
    """Hash names, types, shapes and values, independently of their order.

    Returns:
        SHA-256 in hexadecimal digits.
    """
    total = hashlib.sha256()
    for name in sorted(tensors):
        value = np.ascontiguousarray(tensors[name])
        total.update(f"{name}\0{value.dtype.str}\0{value.shape}\0".encode())
        total.update(value.reshape(-1).view(np.uint8).data)  # bfloat16 has no buffer of its own
    return total.hexdigest()


def save_tensors(
    path: Path, tensors: Mapping[str, Shaped[np.ndarray, "..."]], metadata: Mapping[str, str]
) -> None:
    """Write a safetensors file with the hash of its tensors among the metadata.

    Other processes see the whole file or none.

    Args:
        path: of the file, which is replaced if it exists.
        tensors: arrays by name.
        metadata: texts by name.

    Raises:
        OSError: if it cannot be written.
    """
    content = save(
        {name: np.ascontiguousarray(value) for name, value in tensors.items()},
        {**metadata, DIGEST: hash_tensors(tensors)},
    )
    with atomic_write(path, shared=True) as partial:
        partial.write_bytes(content)


def load_tensors(path: Path) -> tuple[Tensors, dict[str, str]]:
    """Read a safetensors file and its metadata.

    Raises:
        InputError: if the file cannot be read, is no safetensors file, or is damaged.
    """
    if os.path.exists(path) and not os.path.isfile(path):  # a pipe would be waited for
        raise InputError(
            f"{str(path)!r} cannot be read as safetensors (it is a folder, a pipe or a device)."
        )
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
    except (OSError, SafetensorError, TypeError, ValueError) as error:
        text = getattr(error, "strerror", None) or error
        raise InputError(
            f"{str(path)!r} cannot be read as safetensors ({text}): make it anew."
        ) from error
    if DIGEST in metadata and metadata[DIGEST] != hash_tensors(tensors):
        raise InputError(
            f"{str(path)!r} is damaged: it does not hold what was written to it; make it anew."
        )
    return tensors, metadata

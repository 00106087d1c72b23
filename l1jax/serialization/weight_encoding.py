"""Store kernels in fewer bytes, without their zeros or with rounded values; float32 is exact.

Kernels, which are the arrays of two or more dimensions, are stored in the smallest of three forms;
other arrays are stored as they are. `name` is the array's name; the array is read as a matrix whose
columns are its last axis.

    dense     `name`: all values
    bitmask   `name.mask`: one bit per value, set where it is not zero, the lowest bit first;
              `name.values`: the values that are not zero
    csr       `name.rows`: where the values of each row begin and end;
              `name.columns`: the column of each value; `name.values`: the values

The values are float32, float16, bfloat16, or int8 with `name.scale`, one float32 for each column by
which its values are multiplied. The metadata has form and shape under `l1jax.encoding`, as JSON:
name → {"form", "shape"}.
"""

import json
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

import ml_dtypes
import numpy as np
from jaxtyping import Shaped

from l1jax.config import InputError
from l1jax.config.choices import Values
from l1jax.evaluation.tensors import Tensors

KEY = "l1jax.encoding"
DTYPES: dict[str, np.dtype] = {
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "int8": np.dtype(np.int8),
}
Form = Literal["dense", "bitmask", "csr"]
PARTS = {"dense": ("",), "bitmask": (".mask", ".values"), "csr": (".rows", ".columns", ".values")}
Array = Shaped[np.ndarray, "..."]


class Loss(NamedTuple):
    """How much one array changes by rounding."""

    name: str
    # Largest absolute difference of an entry.
    largest: float
    # ‖difference‖₂ / ‖values‖₂.
    relative: float


def encode(
    tensors: Mapping[str, Array], *, sparse: bool, values: Values
) -> tuple[Tensors, dict[str, str]]:
    """Encode arrays in fewer bytes.

    Args:
        tensors: float32 arrays.
        sparse: whether zeros are left out where that is smaller; a negative zero is no zero.
        values: what kernels are rounded to.

    Returns:
        The arrays to write, and their metadata.

    Raises:
        InputError: if a value is too large for `values`.
    """
    written: dict[str, Array] = {}
    entries = {}
    for name, value in tensors.items():
        if value.ndim < 2 or value.size == 0 or (not sparse and values == "float32"):
            written[name] = value
            continue
        stored, scale = _narrow(name, value, values)
        form: Form = "dense"
        parts = {"": stored}
        if sparse:
            form, parts = _smallest(stored)
        for suffix, part in parts.items():
            written[name + suffix] = part
        if scale is not None:
            written[f"{name}.scale"] = scale
        entries[name] = {"form": form, "shape": list(value.shape)}
    if not entries:
        return written, {}
    return written, {KEY: json.dumps(entries)}


def decode(
    tensors: Mapping[str, Array], metadata: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]]
) -> Tensors:
    """Decode what `encode` stored, to float32.

    Args:
        tensors: as they were written.
        metadata: of the file.
        shapes: of the arrays that must be in it, and no others.

    Raises:
        InputError: if they are not what the metadata and `shapes` say, naming the array.
    """
    entries = _read_entries(metadata)
    unread = set(tensors)
    decoded = {}
    for name, shape in shapes.items():
        entry = entries.pop(name, {"form": "dense", "shape": list(shape)})
        _require(
            isinstance(entry, dict) and entry.get("form") in PARTS,
            name,
            f"has no form that is known ({entry!r})",
        )
        parts = [name + suffix for suffix in PARTS[entry["form"]]]
        missing = [part for part in parts if part not in tensors]
        _require(not missing, name, "is missing")
        stored_shape = entry.get("shape")
        if entry["form"] == "dense":
            stored_shape = list(tensors[name].shape)
        _require(
            stored_shape == list(shape),
            name,
            f"has the shape {stored_shape}, and the network's is {list(shape)}",
        )
        value = _dense(entry["form"], name, [tensors[part] for part in parts], shape)
        decoded[name] = _widen(name, value, tensors.get(f"{name}.scale"))
        unread -= {*parts, f"{name}.scale"}
    extra = sorted(unread | set(entries))
    for name in extra:
        _require(False, name, "is no part of the network")
    return decoded


def losses(before: Mapping[str, Array], after: Mapping[str, Array]) -> list[Loss]:
    """Measure how much each array has changed; equal arrays are left out."""
    changed = []
    for name, value in before.items():
        difference = np.asarray(after[name], np.float64) - value
        if np.any(difference):
            relative = float(np.linalg.norm(difference) / np.linalg.norm(value.astype(np.float64)))
            changed.append(Loss(name, float(np.abs(difference).max()), relative))
    return changed


def _narrow(name: str, value: Array, values: Values) -> tuple[Array, Array | None]:
    """Round values to their type; for int8 also return the scale of each column."""
    largest = np.abs(value).max(axis=tuple(range(value.ndim - 1)), initial=0)
    if values != "float32" and not np.all(
        largest <= float(ml_dtypes.finfo(DTYPES["bfloat16"]).max)
    ):
        raise InputError(f"`{name}` must be finite to be stored as {values}.")
    if values == "int8":
        scale = (largest / 127).astype(np.float32)
        return np.rint(value / np.where(scale > 0, scale, 1)).clip(-127, 127).astype(np.int8), scale
    if values == "float16" and largest.max(initial=0) > np.finfo(np.float16).max:
        raise InputError(
            f"`{name}` holds {largest.max():.3g}, too large for float16: store it as bfloat16 or "
            "float32."
        )
    return value.astype(DTYPES[values]), None


def _widen(name: str, value: Array, scale: Array | None) -> Array:
    known = value.dtype in DTYPES.values()
    _require(known, name, f"holds {value.dtype}, and must hold {', '.join(get_args(Values))}")
    if value.dtype != np.int8:
        _require(scale is None, name, f"holds {value.dtype} and has a scale, which only int8 has")
        return value.astype(np.float32)
    fits = scale is not None and scale.dtype == np.float32 and scale.shape == value.shape[-1:]
    _require(fits, name, "holds int8 and needs a float32 scale for each column")
    return value * scale  # type: ignore[operator]


def _smallest(value: Array) -> tuple[Form, dict[str, Array]]:
    """Choose the form that takes the fewest bytes."""
    matrix = np.ascontiguousarray(value).reshape(-1, value.shape[-1])
    # By its bits a negative zero is not zero, so it is stored.
    kept = matrix.view(f"u{matrix.itemsize}") != 0
    rows = np.concatenate([[0], np.cumsum(kept.sum(axis=1))])
    kept_values = matrix[kept]
    columns = np.nonzero(kept)[1]
    forms: dict[Form, dict[str, Array]] = {
        "dense": {"": value},
        "bitmask": {".mask": np.packbits(kept, bitorder="little"), ".values": kept_values},
        "csr": {
            ".rows": rows.astype(np.min_scalar_type(len(kept_values))),
            ".columns": columns.astype(np.min_scalar_type(max(matrix.shape[1] - 1, 0))),
            ".values": kept_values,
        },
    }
    form = min(forms, key=lambda form: sum(part.nbytes for part in forms[form].values()))
    return form, forms[form]


def _dense(form: Form, name: str, parts: list[Array], shape: tuple[int, ...]) -> Array:
    """Restore an array from its parts, which are checked against each other."""
    values = parts[-1]
    count = int(np.prod(shape))
    if form == "dense":
        return values
    flat = all(part.ndim == 1 for part in parts)
    _require(
        flat and all(part.dtype.kind == "u" for part in parts[:-1]),
        name,
        f"has parts that are no {form}",
    )
    if form == "bitmask":
        fits = parts[0].dtype == np.uint8 and len(parts[0]) == -(-count // 8)
        _require(fits, name, "has a mask of another length")
        bits = np.unpackbits(parts[0], bitorder="little")
        _require(not bits[count:].any(), name, "has a mask with bits behind its end")
        places = np.flatnonzero(bits[:count])
    else:
        rows, columns = (part.astype(np.int64) for part in parts[:2])
        fits = (
            len(rows) == count // max(shape[-1], 1) + 1
            and rows[0] == 0
            and rows[-1] == len(columns)
        )
        _require(fits and np.all(np.diff(rows) >= 0), name, "has rows that do not fit")
        places = np.repeat(np.arange(len(rows) - 1), np.diff(rows)) * shape[-1] + columns
        inside = np.all(columns < shape[-1]) and np.all(np.diff(places) > 0)
        _require(inside, name, "has columns that do not fit")
    _require(
        len(places) == len(values), name, f"keeps {len(places):,} values and has {len(values):,}"
    )
    whole = np.zeros(count, values.dtype)
    whole[places] = values
    return whole.reshape(shape)


def _read_entries(metadata: Mapping[str, str]) -> dict[str, Any]:
    try:
        described = json.loads(metadata.get(KEY, "{}"))
    except (ValueError, RecursionError):
        described = None
    if not isinstance(described, dict):
        raise InputError(f"the metadata `{KEY}` must be a JSON object.")
    return described


def _require(holds: bool | np.bool_, name: str, problem: str) -> None:
    if not holds:
        raise InputError(
            f"`{name}` {problem}: these weights are not this network's, or are damaged; export "
            "them anew."
        )

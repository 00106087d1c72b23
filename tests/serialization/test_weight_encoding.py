"""Encoded kernels come back: exactly, or with the error that is stated."""

import json
import struct

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l1jax.config import InputError
from l1jax.serialization.weight_encoding import DTYPES, KEY, decode, encode, losses


def kernel(density, shape=(5, 7, 16), seed=0):
    random = np.random.default_rng(seed)
    return np.where(random.random(shape) < density, random.normal(size=shape), 0).astype(np.float32)


def there_and_back(tensors, **options):
    written, metadata = encode(tensors, **options)
    return decode(
        written, metadata, {name: value.shape for name, value in tensors.items()}
    ), written


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 6), min_size=2, max_size=4),
    st.sampled_from([0.0, 0.02, 0.3, 1.0]),
    st.sampled_from([0.0, -0.0, np.nan, np.inf, 1e-45]),
    st.integers(0, 2**32 - 1),
)
def test_float32_comes_back_bit_by_bit(shape, density, odd, seed):
    tensors = {
        "a/kernel": kernel(density, tuple(shape), seed),
        "a/bias": np.array([odd], np.float32),
    }
    if tensors["a/kernel"].size:
        tensors["a/kernel"].flat[0] = odd
    for sparse in (False, True):
        back, _ = there_and_back(tensors, sparse=sparse, values="float32")
        for name, value in tensors.items():
            assert back[name].dtype == np.float32
            assert back[name].tobytes() == value.tobytes()
            assert back[name].shape == value.shape


@pytest.mark.parametrize(
    ("density", "parts"),
    [(1.0, {""}), (0.5, {".mask", ".values"}), (0.004, {".rows", ".columns", ".values"})],
)
def test_the_smallest_form_is_taken(density, parts):
    value = kernel(density, (400, 128))
    _, written = there_and_back({"k": value}, sparse=True, values="float32")
    assert {name.removeprefix("k") for name in written} == parts
    kept = np.count_nonzero(value)
    rows = 401 * (1 if kept < 2**8 else 2 if kept < 2**16 else 4)
    sizes = 4 * value.size, value.size // 8 + 4 * kept, rows + 5 * kept
    assert sum(part.nbytes for part in written.values()) == min(sizes)


def test_bitmask_and_rows_are_as_documented():
    value = np.array([[0, 2, 0], [0, 0, -1]], np.float32)
    written, metadata = encode({"k": value}, sparse=True, values="float32")
    assert json.loads(metadata[KEY]) == {"k": {"form": "bitmask", "shape": [2, 3]}}
    assert written["k.mask"].tolist() == [0b100010]
    assert written["k.values"].tolist() == [2, -1]
    rows = {
        "k.rows": np.array([0, 1, 2], np.uint8),
        "k.columns": np.array([1, 2], np.uint8),
        "k.values": value[value != 0],
    }
    form = {KEY: json.dumps({"k": {"form": "csr", "shape": [2, 3]}})}
    np.testing.assert_array_equal(decode(rows, form, {"k": (2, 3)})["k"], value)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize(("values", "relative"), [("float16", 2**-11), ("bfloat16", 2**-8)])
def test_sixteen_bits_round_to_nearest(values, relative, sparse):
    value = kernel(0.5)
    back, written = there_and_back({"k": value, "bias": value[0, 0]}, sparse=sparse, values=values)
    assert written["k.values" if sparse else "k"].dtype == DTYPES[values]
    np.testing.assert_array_equal(back["bias"], value[0, 0])
    wanted = value.astype({"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}[values]).astype(
        np.float32
    )
    np.testing.assert_array_equal(back["k"], wanted)
    assert np.all(np.abs(back["k"] - value) <= relative * np.abs(value) + 2**-25)


@pytest.mark.parametrize("sparse", [False, True])
def test_eight_bits_are_off_by_half_a_step_of_their_column(sparse):
    value = kernel(0.5) * np.logspace(-3, 3, 16, dtype=np.float32)
    value[..., 3] = 0
    back, _ = there_and_back({"k": value}, sparse=sparse, values="int8")
    step = np.abs(value).max((0, 1)) / 127
    assert np.all(np.abs(back["k"] - value) <= step * (0.5 + 1e-4))
    np.testing.assert_array_equal(back["k"][value == 0], 0)
    (loss,) = losses({"k": value}, back)
    difference = back["k"].astype(np.float64) - value
    assert loss.largest == pytest.approx(np.abs(difference).max())
    assert loss.relative == pytest.approx(
        np.sqrt((difference**2).sum() / (value.astype(np.float64) ** 2).sum())
    )


def test_what_does_not_fit_is_refused():
    with pytest.raises(
        InputError, match=r"`k` holds 1e\+05, too large for float16: store it as bfloat16"
    ):
        encode({"k": np.full((2, 2), 1e5, np.float32)}, sparse=False, values="float16")
    with pytest.raises(InputError, match="`k` must be finite"):
        encode({"k": np.full((2, 2), np.nan, np.float32)}, sparse=False, values="int8")


def damaged():
    """Encoded arrays with one thing wrong, and what is said of it."""
    written, metadata = encode({"k": kernel(0.5)}, sparse=True, values="int8")
    few, rows = encode({"k": kernel(0.004, (400, 128))}, sparse=True, values="float32")
    form, shape = json.loads(metadata[KEY])["k"].values()

    def described(**entry):
        return {KEY: json.dumps({"k": {"form": form, "shape": shape} | entry})}

    yield {}, {}, "`k` is missing"
    yield written, {KEY: "["}, "must be a JSON object"
    yield written, {KEY: "[" * 100_000}, "must be a JSON object"
    yield written, {KEY: "[]"}, "must be a JSON object"
    yield written, described(form="pickle"), "has no form that is known"
    yield written, {KEY: '{"k": 3}'}, "has no form that is known"
    yield (
        written,
        described(shape=[5, 7, 17]),
        r"has the shape \[5, 7, 17\], and the network's is \[5, 7, 16\]",
    )
    yield (
        written,
        {KEY: json.dumps(json.loads(metadata[KEY]) | {"other": {}})},
        "`other` is no part of the network",
    )
    yield written | {"other": written["k.mask"]}, metadata, "`other` is no part of the network"
    yield {"k": np.zeros((5, 7, 15), np.float32)}, {}, "has the shape"
    yield {"k": np.zeros((5, 7, 16), np.int64)}, {}, "holds int64"
    yield {"k": np.zeros((5, 7, 16), np.int8)}, {}, "needs a float32 scale"
    yield written | {"k.scale": np.zeros(3, np.float32)}, metadata, "needs a float32 scale"
    yield (
        {"k": np.zeros((5, 7, 16), np.float32), "k.scale": np.zeros(16, np.float32)},
        {},
        "only int8 has",
    )
    yield written | {"k.values": written["k.values"][:-1]}, metadata, "keeps"
    yield written | {"k.mask": written["k.mask"][:-1]}, metadata, "mask of another length"
    yield written | {"k.mask": written["k.mask"].astype(np.float32)}, metadata, "no bitmask"
    yield few | {"k.rows": few["k.rows"][::-1]}, rows, "rows that do not fit"
    yield few | {"k.rows": few["k.rows"][:0]}, rows, "rows that do not fit"
    yield few | {"k.columns": few["k.columns"] * 0 + 128}, rows, "columns that do not fit"


@pytest.mark.parametrize(("tensors", "metadata", "problem"), list(damaged()))
def test_damage_is_told(tensors, metadata, problem):
    few = "k.rows" in tensors
    with pytest.raises(InputError, match=problem):
        decode(tensors, metadata, {"k": (400, 128) if few else (5, 7, 16)})


def test_a_negative_zero_is_kept():
    value = np.zeros((8, 8), np.float32)
    value[1, 2] = -0.0
    back, _ = there_and_back({"k": value}, sparse=True, values="float32")
    assert struct.pack("f", back["k"][1, 2]) == struct.pack("f", -0.0)

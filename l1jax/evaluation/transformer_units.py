"""Which attention heads and feed-forward units of a transformer can still have an effect."""

from typing import NamedTuple

import numpy as np
from jaxtyping import PyTree


class AliveUnits(NamedTuple):
    """Numbers over all blocks.

    Attributes:
        heads: attention heads.
        heads_alive: those that read and write something.
        units: feed-forward units.
        units_alive: those that read and write something.
    """

    heads: int
    heads_alive: int
    units: int
    units_alive: int


def count_alive_units(params: PyTree, heads: int, key_value_heads: int = 0) -> AliveUnits:
    """Count the heads and units of which neither what they read nor what they write is all zero.

    A head is alive if its values and its rows of the output kernel are not all zero. A unit is
    alive if its columns of `up` (and `gate`, with SwiGLU) and its row of `down` are not all zero.

    Args:
        params: of a transformer, as `l1jax.models.transformer` makes it.
        heads: attention heads of a whole block.
        key_value_heads: its heads of keys and values; 0 for as many.
    """
    key_value_heads = key_value_heads or heads
    counts = AliveUnits(0, 0, 0, 0)
    for name, block in params.items():
        if not name.startswith("block_"):
            continue
        heads_alive = np.zeros(0, bool)
        if "attention" in block:
            heads_alive = _heads_alive(block["attention"], heads, heads // key_value_heads)
        units_alive = np.zeros(0, bool)
        if "feed_forward" in block:
            units_alive = _units_alive(block["feed_forward"])
        counts = AliveUnits(
            counts.heads + len(heads_alive),
            counts.heads_alive + int(heads_alive.sum()),
            counts.units + len(units_alive),
            counts.units_alive + int(units_alive.sum()),
        )
    return counts


def _heads_alive(attention: PyTree, heads: int, shared: int) -> np.ndarray:
    """Return which heads of a block are alive, of which compaction may have left only some.

    Args:
        attention: the parameters.
        heads: attention heads of a whole block.
        shared: how many of them share keys and values.
    """
    value = _kernel(attention["value"])
    output = _kernel(attention["output"])
    head_size = output.shape[1] // heads
    reads = value.reshape(len(value), -1, head_size).any(axis=(0, 2))
    writes = output.reshape(-1, head_size, output.shape[1]).any(axis=(1, 2))
    return np.repeat(reads, shared) & writes


def _units_alive(feed_forward: PyTree) -> np.ndarray:
    alive = np.asarray(_kernel(feed_forward["up"]).any(axis=0))
    alive &= _kernel(feed_forward["down"]).any(axis=1)
    if "gate" in feed_forward:
        alive &= _kernel(feed_forward["gate"]).any(axis=0)
    return alive


def _kernel(layer: PyTree) -> np.ndarray:
    return np.asarray(layer["kernel"]) != 0

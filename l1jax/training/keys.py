"""Random keys by name, so that every use of a seed or of a step's key has its own."""

import zlib

import jax
from jaxtyping import Array, Key


def named_seed_key(seed: int, name: str) -> Key[Array, ""]:
    """Return the key of one use, such as `"parameters"`, of the experiment's seed."""
    return named_key(jax.random.key(seed), name)


def named_key(key: Key[Array, ""], name: str) -> Key[Array, ""]:
    """Return the key of one use, such as `"flip"`, that a step makes of its key."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()))

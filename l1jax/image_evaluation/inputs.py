"""Hashes of what an evaluation is of: images, their labels, weights and files of statistics."""

import hashlib
from pathlib import Path

import numpy as np
from jaxtyping import Int

from l1jax.cli.options import EvaluateOptions
from l1jax.data.source import Source, hash_arrays
from l1jax.image_evaluation.real_images import RealImages
from l1jax.image_evaluation.sides import Side
from l1jax.reading import sha256
from l1jax.serialization.loaded_generator import LoadedGenerator, hash_weights

NETWORKS = ("inception", "dinov2", "clip")


def side_inputs(real: Side, generated: Side) -> dict[str, str]:
    """Return the hashes of two sides.

    Args:
        real: the real side.
        generated: the generated side.

    Returns:
        Name of what is hashed → SHA-256 in hexadecimal.
    """
    return {**_of_side(real, "real"), **_of_side(generated, "generated")}


def own_inputs(loaded: LoadedGenerator, real_images: RealImages) -> dict[str, str]:
    """Return the hashes of a generator and of its own images.

    Args:
        loaded: the generator.
        real_images: the images of its experiment.

    Returns:
        As `side_inputs`.
    """
    return {
        **_hash_set(real_images.source, real_images.index, "real"),
        "training images": real_images.training.fingerprint,
        "generator's weights": hash_weights(loaded.average),
    }


def network_inputs(options: EvaluateOptions) -> dict[str, str]:
    """Return the hashes of the files of networks.

    Raises:
        UnreadableFileError: if one cannot be read.
    """
    values = {name: getattr(options, name) for name in NETWORKS}
    return {
        f"weights of {name}": sha256(Path(value).expanduser())
        for name, value in values.items()
        if value
    }


def _of_side(side: Side, name: str) -> dict[str, str]:
    if side.opened is not None:
        return _hash_set(side.opened.source, side.opened.index, name)
    if side.loaded is not None:
        return {"generator's weights": hash_weights(side.loaded.average)}
    return {f"statistics of the {name} images": sha256(Path(side.place.path))}


def _hash_set(source: Source, index: Int[np.ndarray, " count"], name: str) -> dict[str, str]:
    """Hash the examples at these indices as they are stored, and their labels."""
    content = source.content
    digest = hashlib.sha256()
    for i in index.tolist():
        stored = np.asarray(source.example(i)).tobytes() if content is None else content(i)
        digest.update(len(stored).to_bytes(8, "big"))
        digest.update(stored)
    hashes = {f"{name} images": digest.hexdigest()}
    if source.labels is not None:
        hashes[f"{name} labels"] = hash_arrays(source.labels[index].astype(np.int64))
    return hashes

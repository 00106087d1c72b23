"""Files of the mean and the covariance of features, in the layout of pytorch-fid and clean-fid.

These packages keep `mu` and `sigma` of Inception features in an `.npz`. Files that are written here
have them, too, and beside them the number of images, the protocol of the features, and the same
arrays of other kinds of features, whose names begin with that of the kind.
"""

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from l1jax.config import InputError
from l1jax.data.file_listing import max_decompressed_size
from l1jax.evaluation.frechet import Gaussian
from l1jax.files import atomic_write

MAIN = "inception"  # the features whose arrays have no prefix
UNKNOWN = ""  # name of the features of a file that does not say what they are
MAX_FEATURES = 4_096  # whose covariance is kept; a larger one takes over 128 MiB
SYMMETRY = 1e-6  # by which a covariance may differ from its transpose, of its largest entry
Arrays = Mapping[str, np.ndarray]


class Statistics(NamedTuple):
    """What a file holds of one kind of features.

    gaussian: mean and covariance.
    count: number of images; None if the file does not say.
    protocol: what distinguishes the features from others; empty if the file does not say.
    """

    gaussian: Gaussian
    count: int | None = None
    protocol: str = ""


def save_statistics(path: Path | str, statistics: Mapping[str, Statistics]) -> None:
    """Write an `.npz` that `load_statistics`, pytorch-fid and clean-fid read.

    The arrays `mu` and `sigma` are those of the features `inception`, or of the first if these are
    not among them.

    Args:
        path: of the file, which appears whole or not at all.
        statistics: name of the features → their statistics; at least one.

    Raises:
        InputError: if there are none.
        OSError: if the file cannot be written.
    """
    if not statistics:
        raise InputError("`statistics` is empty: give those of at least one kind of features.")
    main = MAIN if MAIN in statistics else next(iter(statistics))
    arrays: dict[str, np.ndarray] = {}
    for name, of_features in statistics.items():
        prefix = "" if name == main else f"{name}."
        arrays[f"{prefix}mu"] = of_features.gaussian.mean
        arrays[f"{prefix}sigma"] = of_features.gaussian.covariance
        arrays[f"{prefix}features"] = np.array(name)
        arrays[f"{prefix}protocol"] = np.array(of_features.protocol)
        if of_features.count is not None:
            arrays[f"{prefix}count"] = np.array(of_features.count)
    with atomic_write(Path(path)) as partial, partial.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def load_statistics(path: Path | str) -> dict[str, Statistics]:
    """Read the statistics of features from an `.npz` of l1jax, pytorch-fid or clean-fid.

    Nothing is unpickled.

    Returns:
        Name of the features → their statistics. The name is empty if the file is of another
        package; its features are then most likely those of Inception-v3.

    Raises:
        InputError: if the file cannot be read, is damaged, or holds no mean and covariance of one
            number of features, all finite.
    """
    path = Path(path).expanduser()
    try:
        arrays = _read_arrays(path)
    except MemoryError:
        raise
    except Exception as error:  # damaged bytes lead `zipfile` and NumPy to any kind of error
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise InputError(
            f"`{path}` cannot be read as a file of statistics ({reason}): give an .npz of "
            "--save-statistics, pytorch-fid or clean-fid."
        ) from error
    prefixes = [key.removesuffix("sigma") for key in arrays if key.split(".")[-1] == "sigma"]
    statistics = {}
    for prefix in prefixes:
        name = str(arrays.get(f"{prefix}features", UNKNOWN))
        statistics[name] = _statistics(arrays, prefix, path)
    if not statistics:
        raise InputError(
            f"`{path}` must hold the arrays mu and sigma, mean and covariance of features, and "
            f"holds {', '.join(arrays) or 'nothing'}."
        )
    return statistics


def holds_statistics(path: Path | str) -> bool:
    """Return whether a file is an `.npz` with a mean and a covariance, by the names in it."""
    if not os.path.isfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            names = {Path(name).name for name in archive.namelist()}
    except Exception:  # no zip, or a damaged one: the code that opens it says so
        return False
    return {"mu.npy", "sigma.npy"} <= names


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    limit = max_decompressed_size(path.stat().st_size)
    with zipfile.ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
    if size > limit:
        raise ValueError(f"it grows beyond {limit:,} bytes")
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _statistics(arrays: Arrays, prefix: str, path: Path) -> Statistics:
    mean = arrays.get(f"{prefix}mu", np.zeros(0))
    covariance = arrays[f"{prefix}sigma"]
    is_pair = mean.ndim == 1 and covariance.shape == (len(mean), len(mean))
    if not is_pair or not len(mean):
        raise InputError(
            f"`{path}` must hold `{prefix}mu` of shape (n,) and `{prefix}sigma` of shape (n, n), "
            f"and holds shapes {mean.shape} and {covariance.shape}: make it again."
        )
    if mean.dtype.kind not in "fiu" or covariance.dtype.kind not in "fiu":
        raise InputError(
            f"`{path}` must hold real numbers, and `{prefix}mu` and `{prefix}sigma` are "
            f"{mean.dtype} and {covariance.dtype}: make it again."
        )
    gaussian = Gaussian(mean.astype(np.float64), covariance.astype(np.float64))
    _check_covariance(gaussian, prefix, path)
    count = None
    if f"{prefix}count" in arrays:
        count = int(arrays[f"{prefix}count"])
    return Statistics(gaussian, count, str(arrays.get(f"{prefix}protocol", "")))


def _check_covariance(gaussian: Gaussian, prefix: str, path: Path) -> None:
    """Raise unless a covariance can be one.

    Raises:
        InputError: if numbers are not finite, or it is not symmetric or has negative variances.
    """
    mean, covariance = gaussian
    num_bad = np.count_nonzero(~np.isfinite(mean)) + np.count_nonzero(~np.isfinite(covariance))
    if num_bad:
        raise InputError(
            f"`{path}` must hold finite numbers, and {num_bad:,} of `{prefix}mu` and "
            f"`{prefix}sigma` are NaN or infinite: make it again from images that can be read."
        )
    largest = np.abs(covariance).max()
    is_symmetric = np.abs(covariance - covariance.T).max() <= SYMMETRY * largest
    if not is_symmetric or np.diagonal(covariance).min() < 0:
        raise InputError(
            f"`{path}` must hold a covariance as `{prefix}sigma`, which is symmetric and has no "
            "negative variance: make it again."
        )

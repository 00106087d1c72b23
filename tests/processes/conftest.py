"""Processes that are forked, with a cache of programs that they share."""

import multiprocessing
import multiprocessing.forkserver

import pytest


@pytest.fixture(scope="module")
def forked_pairs(tmp_path_factory):
    """The environment of the processes that `pairs.start` forks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("XLA_FLAGS", raising=False)
        patch.setenv("JAX_PLATFORMS", "cpu")
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path_factory.mktemp("compiled")))
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        patch.setenv("COLUMNS", "200")
        multiprocessing.set_forkserver_preload(["l1jax.train", "sklearn.datasets", "tensorboardX"])
        yield

"""Several processes, each with a part of the images, find the statistics of all."""

import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from l1jax.evaluation.features import extract_all, random_features
from l1jax.evaluation.frechet import moments

PROCESS = """
import sys
import jax, numpy as np
jax.config.update("jax_num_cpu_devices", 4)
port, index, output = sys.argv[1:]
jax.distributed.initialize(f"127.0.0.1:{port}", 2, int(index))
from l1jax.evaluation import merge_processes, moments
from l1jax.evaluation.features import extract_all, random_features

images = np.random.default_rng(0).integers(0, 256, (90, 8, 8, 1), np.uint8)
own = images[:50] if index == "0" else images[50:]
found = merge_processes(moments(extract_all(random_features(features=16), own).features))
np.savez(output, count=found.count, mean=found.mean, scatter=found.scatter)
"""


@pytest.mark.slow
def test_two_processes_with_four_devices_each_are_one_with_eight(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    outputs = [tmp_path / f"{i}.npz" for i in range(2)]
    commands = [
        [sys.executable, "-c", PROCESS, str(port), str(i), str(output)]
        for i, output in enumerate(outputs)
    ]
    root = Path(__file__).parents[2]
    processes = [subprocess.Popen(c, cwd=root, stderr=subprocess.PIPE, text=True) for c in commands]
    try:
        said = [process.communicate(timeout=240)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], said

    images = np.random.default_rng(0).integers(0, 256, (90, 8, 8, 1), np.uint8)
    whole = moments(
        extract_all(random_features(features=16), images).features
    )  # on the tests' eight devices
    for output in outputs:
        with np.load(output) as found:
            assert found["count"] == 90
            np.testing.assert_allclose(found["mean"], whole.mean, rtol=1e-6)
            np.testing.assert_allclose(
                found["scatter"], whole.scatter, rtol=1e-6, atol=1e-6 * whole.scatter.max()
            )
            assert found["scatter"].dtype == np.float64
    with np.load(outputs[0]) as a, np.load(outputs[1]) as b:
        assert all(np.array_equal(a[name], b[name]) for name in a)

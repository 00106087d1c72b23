"""Two processes of four devices train the model that one of eight trains, to rounding."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parent / "float64_steps.py"
SECONDS = 400
TOLERANCE = {"transformer": 1e-6}  # JAX computes the softmax of attention in float32 always


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(*arguments):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    """The states of one process and of two."""
    folder = tmp_path_factory.mktemp("states")
    port = free_port()
    runs = [
        start(folder / "one.npz", 8),
        start(folder / "two.npz", 4, port, 2, 0),
        start(folder / "two.npz", 4, port, 2, 1),
    ]
    for run in runs:
        output, _ = run.communicate(timeout=SECONDS)
        assert run.returncode == 0, output
    return np.load(folder / "one.npz"), np.load(folder / "two.npz")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dcgan", "mlp", "vae", "transformer"])
def test_the_same_state_and_the_same_zeros_after_twenty_steps(states, name):
    one, two = states
    names = [key for key in one.files if key.startswith(f"{name}/")]
    assert names
    assert set(one.files) == set(two.files)
    num_zeros = 0
    for key in names:
        expected = one[key]
        assert two[key].dtype == expected.dtype
        error = np.linalg.norm(two[key] - expected)
        assert error <= TOLERANCE.get(name, 1e-12) * np.linalg.norm(expected) + 1e-300, key
        np.testing.assert_array_equal(two[key] == 0, expected == 0, err_msg=key)
        num_zeros += np.sum(expected == 0)
    assert num_zeros > 10, "the penalty must leave some zeros here"

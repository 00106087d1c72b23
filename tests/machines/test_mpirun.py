"""Open MPI starts a run of two processes, with the command of the documentation."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECONDS = 300
MPIRUN = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", "2"]
FLAGS = (
    "--steps 60 --log-every 20 --sample-every 60 --checkpoint-every 60 --batch-size 16 "
    "--model.latent-size 8 --model.generator-hidden 16 --model.discriminator-hidden 16 "
    "--objective.r1 0 --objective.r2 0"
).split()

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("mpirun") is None, reason="mpirun is not installed"),
]


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    compiled = str(tmp_path_factory.mktemp("compiled"))
    found = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "COLUMNS": "200"}
    found["JAX_COMPILATION_CACHE_DIR"] = compiled
    found["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    found["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # 60 steps run for a moment
    found.pop("XLA_FLAGS", None)
    return found


def train(launcher, workdir, environment, *flags):
    command = [*launcher, sys.executable, "-m", "l1jax.train", "--workdir", str(workdir)]
    return subprocess.run(
        [*command, *FLAGS, *flags],
        env=environment,
        cwd=workdir.parent,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )


def digest(workdir):
    metadata = workdir / "checkpoints" / "60" / "meta" / "metadata"
    return json.loads(metadata.read_text())["digest"]


def test_two_processes_train_what_one_with_two_devices_trains(tmp_path, environment):
    alone = train([], tmp_path / "alone", {**environment, "JAX_NUM_CPU_DEVICES": "2"})
    assert alone.returncode == 0, alone.stderr
    together = train(MPIRUN, tmp_path / "run", environment, "--distributed")
    assert together.returncode == 0, together.stderr
    assert digest(tmp_path / "run") == digest(tmp_path / "alone")
    assert together.stdout.count("samples  ") == 1, "only process 0 prints"


def test_without_the_flag_one_sentence_says_so(tmp_path, environment):
    refused = train(MPIRUN, tmp_path / "run", environment)
    assert refused.returncode == 2
    errors = [line for line in refused.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, refused.stderr
    assert "Open MPI has started 2 tasks" in errors[0]
    assert not (tmp_path / "run").exists()

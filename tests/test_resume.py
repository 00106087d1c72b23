"""A run that is killed at any moment ends bit-identical to one that never stopped."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

FLAGS = [
    "--steps",
    "300",
    "--log-every",
    "10",
    "--sample-every",
    "50",
    "--checkpoint-every",
    "20",
    "--batch-size",
    "16",
    "--model.latent-size",
    "8",
    "--model.generator-hidden",
    "32",
    "--model.discriminator-hidden",
    "32",
    "--generator.penalty.strength",
    "1e-3",
]
ENVIRONMENT = {**os.environ, "JAX_PLATFORMS": "cpu", "COLUMNS": "200"}
KILLS = 25


def start(workdir: Path, *more: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "l1jax.train", "--workdir", str(workdir), *FLAGS, *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=ENVIRONMENT)


def finish(workdir: Path, *more: str) -> str:
    process = start(workdir, *more)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def committed(workdir: Path) -> list[int]:
    return sorted(int(p.name) for p in (workdir / "checkpoints").glob("*") if p.name.isdigit())


def end_of(workdir: Path) -> dict:
    """Everything about a finished run that must not depend on how it came about."""
    meta = json.loads((workdir / "checkpoints" / "300" / "meta" / "metadata").read_text())
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    timing = ("images_per_second", "seconds_per_step")
    return {
        "digest": meta["digest"],
        "metrics": [{k: v for k, v in line.items() if k not in timing} for line in lines],
        "samples": {p.name: p.read_bytes() for p in sorted((workdir / "samples").glob("*.png"))},
    }


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("uninterrupted") / "run"
    finish(workdir)
    return workdir


def kill_during_a_save(process: subprocess.Popen, workdir: Path, deadline: float) -> bool:
    """Kill while a checkpoint is being written under its temporary name."""
    while time.monotonic() < deadline and process.poll() is None:
        if any("tmp" in p.name for p in (workdir / "checkpoints").glob("*")):
            process.kill()
            return True
        time.sleep(0.0005)
    return False


def rewind(workdir: Path) -> None:
    """Delete all checkpoints but the oldest, so that there is something left to kill."""
    for step in committed(workdir)[1:]:
        shutil.rmtree(workdir / "checkpoints" / str(step))


@pytest.mark.slow
def test_kill_minus_nine_at_25_moments_changes_nothing(uninterrupted, tmp_path):
    workdir, choose = tmp_path / "run", random.Random(0)
    during_saves, lives = 0, 0
    while lives < KILLS:
        process = start(workdir)
        before = committed(workdir)
        if lives % 2:
            during_saves += kill_during_a_save(process, workdir, time.monotonic() + 60)
        else:
            time.sleep(choose.uniform(0, 8))
        process.kill()
        output, _ = process.communicate(timeout=60)
        resumed = re.search(r"resuming .* from step ([\d,]+)", output)
        if resumed:
            assert int(resumed[1].replace(",", "")) == before[-1], "the newest whole checkpoint is the one resumed from"
        lives += process.returncode != 0  # a run that ended before its killer came does not count
        if committed(workdir) and committed(workdir)[-1] >= 260:
            rewind(workdir)
    assert lives == KILLS
    assert during_saves >= 5
    finish(workdir)
    assert end_of(workdir) == end_of(uninterrupted)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_request_saves_and_tells_how_to_go_on(uninterrupted, tmp_path, number):
    workdir = tmp_path / "run"
    process = start(workdir, "--checkpoint-every", "300")
    while not (workdir / "metrics.jsonl").exists() or not (workdir / "metrics.jsonl").read_text():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number, output
    (step,) = committed(workdir)
    assert 0 < step < 300
    assert f"saved at step {step}" in output
    command = next(line for line in output.splitlines() if line.startswith("  ") and "-m l1jax.train" in line)
    again = subprocess.run(
        [sys.executable, *command.split()[1:]], capture_output=True, text=True, env=ENVIRONMENT, timeout=300, check=True
    )
    assert f"from step {step}" in again.stdout
    assert end_of(workdir)["digest"] == end_of(uninterrupted)["digest"]


def test_a_longer_run_goes_on_and_ends_like_one_that_was_long_from_the_start(uninterrupted, tmp_path):
    workdir = tmp_path / "run"
    finish(workdir, "--steps", "130")
    output = finish(workdir, "--steps", "300", "--log-every", "30")
    assert "from step 130" in output
    assert end_of(workdir)["digest"] == end_of(uninterrupted)["digest"]
    assert "already trained to step 300" in finish(workdir)

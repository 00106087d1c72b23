"""A run that is killed at any moment ends bit-identical to one that never stopped."""

import json
import multiprocessing
import multiprocessing.forkserver
import os
import random
import re
import shlex
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import numpy as np
import pytest
from forked import live
from PIL import Image

STEPS = 300  # a signal arrives before the last
COMMON = (
    f"--steps {STEPS} --log-every 10 --sample-every 50 --checkpoint-every 20 --batch-size 16 "
    "--generator.penalty.strength 1e-3"
)
FLAGS = {
    "gan": (
        f"{COMMON} --model.latent-size 8 "
        "--model.generator-hidden 32 --model.discriminator-hidden 32 "
        "--model.generator-dropout 0.1 "
        "--objective.r1 0 --objective.r2 0"  # stateless, and a fifth of every start
    ).split(),
    "text": (
        f"{COMMON} --data topics --model transformer --objective next-token "
        "--data.window 16 --model.context 12 --model.width 16 --model.heads 2 --model.layers 1 "
        "--model.dropout 0.1 --model.drop-path 0.1 --holdout 0.1"
    ).split(),
    "sound": (
        f"{COMMON} --data tones --data.count 64 --data.mels 8 --data.frames 12 "
        "--model.latent-size 8 --model.generator-hidden 16 --model.discriminator-hidden 16 "
        "--model.classes 8 --objective.r1 0 --objective.r2 0"
    ).split(),
}
FLAGS["mean flow"] = (
    f"{COMMON} --model flow-mlp --model.hidden 16 --model.time-features 4 "
    "--model.average-velocity --model.method average --model.sampling-steps 1 "
    "--objective mean-flow"
).split()
FLAGS["from"] = (
    f"{COMMON} --model.latent-size 8 --model.generator-hidden 32 --model.discriminator-hidden 32 "
    "--objective.r1 0 --objective.r2 0 --generator.penalty l0 --from-networks generator "
    "--discriminator-steps-first 130"
).split()
FLAGS["own"] = (
    f"{COMMON} --model own_killed:build --model.width 16 --model.latent-size 8 "
    "--objective.r1 0 --objective.r2 0.1 --objective.gamma-ramp.steps 200 "
    "--objective.gamma-ramp.end 0.01 --objective.augment ramped-ada "
    "--objective.augment.ramp.steps 200 --objective.augment.ramp.end 0.5 "
    "--generator.b2-ramp.steps 200 --generator.b2-ramp.end 0.99 --ema-ramp.steps 200"
).split()
KILLS = 6


@pytest.fixture(scope="module", autouse=True)
def environment(tmp_path_factory):
    """Start processes with the users' compiler options, and a cache of programs that they share."""
    compiled = str(tmp_path_factory.mktemp("compiled"))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("XLA_FLAGS", raising=False)
        patch.setenv("JAX_PLATFORMS", "cpu")
        patch.setenv("JAX_COMPILATION_CACHE_DIR", compiled)
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        patch.setenv("COLUMNS", "200")
        multiprocessing.set_forkserver_preload(["l1jax.train", "sklearn.datasets", "tensorboardX"])
        multiprocessing.forkserver.ensure_running()  # it keeps the environment that it finds
        yield


def start(workdir: Path, *arguments: str, family: str = "gan") -> ForkServerProcess:
    return launch(workdir, "--workdir", str(workdir), *FLAGS[family], *arguments)


def launch(workdir: Path, *arguments: str) -> ForkServerProcess:
    process = multiprocessing.get_context("forkserver").Process(
        target=live, args=(arguments, f"{workdir}.out")
    )
    process.start()
    return process


def end(process: ForkServerProcess, workdir: Path) -> tuple[int, str]:
    """Its exit status, negative for the signal that killed it, and what it said."""
    process.join(timeout=300)
    status = process.exitcode
    process.close()
    said = Path(f"{workdir}.out")
    return status, said.read_text() if said.exists() else ""


def finish(workdir: Path, *arguments: str, family: str = "gan") -> str:
    status, output = end(start(workdir, *arguments, family=family), workdir)
    assert status == 0, output
    return output


def committed(workdir: Path) -> list[int]:
    return sorted(int(p.name) for p in (workdir / "checkpoints").glob("*") if p.name.isdigit())


def end_of(workdir: Path) -> dict:
    """Everything about a finished run that must not depend on how it came about."""
    meta = json.loads((workdir / "checkpoints" / str(STEPS) / "meta" / "metadata").read_text())
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    timing = ("images_per_second", "tokens_per_second", "seconds_per_step")
    return {
        "digest": meta["digest"],
        "metrics": [{k: v for k, v in line.items() if k not in timing} for line in lines],
        "samples": {p.name: p.read_bytes() for p in sorted((workdir / "samples").glob("step_*"))},
    }


@pytest.fixture
def own_network(tmp_path, monkeypatch):
    """The network of the guide "Your own network", where processes find it."""
    guide = Path(__file__).parent.parent / "docs/guides/own_network.md"
    blocks = re.findall(
        r"^```python\n(.*?)^```", guide.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    (tmp_path / "own_killed.py").write_text(blocks[1], encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("uninterrupted") / "run"
    finish(workdir)
    return workdir


def unfinished(workdir: Path) -> set[tuple[str, int]]:
    """Temporary checkpoints, with inodes to tell new ones from those that a killed run left."""
    found = set()
    for path in (workdir / "checkpoints").glob("*tmp*"):
        with suppress(FileNotFoundError):  # whole by now, and renamed
            found.add((path.name, path.stat().st_ino))
    return found


def until(process: ForkServerProcess, happened: Callable[[], object]) -> bool:
    """Wait until something has happened, or the process has ended."""
    while process.is_alive():
        if happened():
            return True
        time.sleep(0.0005)
    return False


def rewind(workdir: Path) -> None:
    """Delete all checkpoints but the oldest, so that there is something left to kill."""
    for step in committed(workdir)[1:]:
        shutil.rmtree(workdir / "checkpoints" / str(step))


@pytest.mark.slow
@pytest.mark.parametrize("family", FLAGS)
def test_kill_minus_nine_at_any_moment_changes_nothing(family, request, tmp_path):
    more = ()
    source = tmp_path / "source"
    if family == "from":
        shutil.copytree(request.getfixturevalue("uninterrupted"), source)
        more = ("--from", str(source))
    if family == "own":
        request.getfixturevalue("own_network")
    if family == "gan":
        whole = request.getfixturevalue("uninterrupted")
    else:
        whole = tmp_path / "whole"
        finish(whole, *more, family=family)
    workdir, choose = tmp_path / "run", random.Random(0)
    lives = during_saves = resumptions = 0
    # Seconds from a start to its first save: half of the kills at any time come later than that.
    until_save = 0.0
    while lives < KILLS:
        before, left, began = committed(workdir), unfinished(workdir), time.monotonic()
        process = start(workdir, *more, family=family)
        if lives % 3 == 0:
            if until(process, lambda left=left: unfinished(workdir) - left):
                during_saves, until_save = during_saves + 1, time.monotonic() - began
        elif lives % 3 == 1:
            until(
                process, lambda before=before: committed(workdir) != before
            )  # else a slow machine might never resume
            time.sleep(choose.uniform(0, 0.05))
        else:
            time.sleep(choose.uniform(0, 2 * until_save))
        process.kill()
        status, output = end(process, workdir)
        resumed = re.search(r"resuming .* from step ([\d,]+)", output)
        if resumed:
            assert int(resumed[1].replace(",", "")) == before[-1], (
                "the newest whole checkpoint is the one resumed from"
            )
            resumptions += 1
        if (workdir / "origin.safetensors").exists():
            shutil.rmtree(source, ignore_errors=True)  # the run needs it no more
        lives += status != 0  # a run that ended before its killer came does not count
        if committed(workdir) and committed(workdir)[-1] >= STEPS - 40:
            rewind(workdir)
    assert lives == KILLS
    assert during_saves >= KILLS // 4
    assert resumptions >= KILLS // 4
    finish(workdir, *more, family=family)
    assert end_of(workdir) == end_of(whole)


@pytest.mark.slow
def test_a_run_that_is_killed_once_ends_like_one_that_was_not(uninterrupted, tmp_path):
    workdir = tmp_path / "run"
    process = start(workdir)
    until(process, lambda: len(committed(workdir)) > 1)
    process.kill()
    assert end(process, workdir)[0] == -signal.SIGKILL
    newest = committed(workdir)[-1]
    assert f"from step {newest}" in finish(workdir)
    assert end_of(workdir) == end_of(uninterrupted)


@pytest.mark.slow
@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        signal.SIGINT,
        signal.SIGHUP,
    ],
)
def test_a_stop_request_saves_and_tells_how_to_go_on(uninterrupted, tmp_path, number):
    workdir = tmp_path / "run"
    process = start(workdir, "--checkpoint-every", str(STEPS))
    while not (workdir / "metrics.jsonl").exists() or not (workdir / "metrics.jsonl").read_text():
        assert process.is_alive(), end(process, workdir)
        time.sleep(0.01)
    os.kill(process.pid, number)
    status, output = end(process, workdir)
    assert status == 128 + number, output
    (step,) = committed(workdir)
    assert 0 < step < STEPS
    assert f"saved at step {step}" in output
    command = next(
        line for line in output.splitlines() if line.startswith("  ") and "-m l1jax.train" in line
    )
    status, again = end(
        launch(workdir, *shlex.split(command.partition("-m l1jax.train")[2])), workdir
    )
    assert status == 0, again
    assert f"from step {step}" in again
    assert end_of(workdir)["digest"] == end_of(uninterrupted)["digest"]


@pytest.mark.slow
def test_a_longer_run_goes_on_and_ends_like_one_that_was_long_from_the_start(
    uninterrupted, tmp_path
):
    workdir = tmp_path / "run"
    finish(workdir, "--steps", "70")
    output = finish(workdir, "--log-every", "30")
    assert "from step 70" in output
    assert end_of(workdir)["digest"] == end_of(uninterrupted)["digest"]
    assert f"already trained to step {STEPS}" in finish(workdir)


@pytest.mark.slow
def test_a_streaming_run_that_is_killed_ends_like_one_that_was_not(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for i, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (50, 12, 12), np.uint8)):
        Image.fromarray(pixels).save(images / f"{i}.png")
    flags = (
        f"--data image --data.path {images} --data.image-size 8 --data.channels 1 --resident-mib 0"
    ).split()
    finish(tmp_path / "whole", *flags, "--no-cache")
    workdir = tmp_path / "run"
    for workers in (1, 0):  # the first life fills half of the cache
        newest = max(committed(workdir), default=0)
        process = start(workdir, *flags, "--workers", str(workers))
        while process.is_alive() and max(committed(workdir), default=0) == newest:
            time.sleep(0.0005)
        process.kill()
        assert end(process, workdir)[0] == -signal.SIGKILL
        rewind(workdir)
    finish(workdir, *flags, "--workers", "2")
    assert end_of(workdir) == end_of(tmp_path / "whole")

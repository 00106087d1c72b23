"""Two processes that train together: stopped, killed, refused, and resumed."""

import json
import os
import random
import signal
import time
from pathlib import Path

import pairs
import pytest

COMMON = (
    "--steps 120 --log-every 10 --sample-every 60 --checkpoint-every 20 --batch-size 16 "
    "--generator.penalty.strength 1e-3"
)
ADVERSARIAL = (
    f"{COMMON} --model.latent-size 8 --model.generator-hidden 16 --model.discriminator-hidden 16 "
    "--objective.r1 0 --objective.r2 0"
)
FAMILIES = {
    "images": ADVERSARIAL.split(),
    "text": (
        f"{COMMON} --data topics --model transformer --objective next-token --data.window 16 "
        "--model.context 16 --model.width 8 --model.heads 2 --model.layers 1 --holdout 0.1"
    ).split(),
    "sound": (
        f"{ADVERSARIAL} --data tones --data.count 64 --data.mels 8 --data.frames 12 "
        "--model.classes 8"
    ).split(),
}
FLAGS = FAMILIES["images"]
LOST = 75
KILLS = 2
TIMING = ("images_per_second", "tokens_per_second", "seconds_per_step")
pytestmark = [pytest.mark.usefixtures("forked_pairs"), pytest.mark.slow]


def start(folder: Path, *arguments: str, family: str = "images", **options) -> pairs.Pair:
    flags = ["--workdir", str(folder / "run"), *FAMILIES[family], *arguments]
    return pairs.start(folder, *flags, **options)


def finish(folder: Path, family: str = "images") -> None:
    statuses, said = pairs.end(start(folder, family=family))
    assert statuses == [0, 0], said


def end_of(folder: Path) -> dict:
    """Everything about a finished run that must not depend on how it came about."""
    run = folder / "run"
    meta = json.loads((run / "checkpoints" / "120" / "meta" / "metadata").read_text())
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {
        "digest": meta["digest"],
        "metrics": [{k: v for k, v in line.items() if k not in TIMING} for line in lines],
        "samples": {p.name: p.read_bytes() for p in sorted((run / "samples").glob("step_*"))},
    }


def checkpoints(folder: Path) -> list[int]:
    names = [path.name for path in (folder / "run" / "checkpoints").glob("*")]
    return sorted(int(name) for name in names if name.isdigit())


@pytest.fixture(scope="module")
def uninterrupted(forked_pairs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    finish(folder)
    return folder


def test_one_process_asked_to_stop_stops_both_and_the_run_resumes(uninterrupted, tmp_path):
    pair = start(tmp_path, "--checkpoint-every", "120")
    metrics = tmp_path / "run" / "metrics.jsonl"
    pairs.until(pair, lambda: metrics.stat().st_size)
    os.kill(pair.processes[1].pid, signal.SIGTERM)
    statuses, said = pairs.end(pair)
    assert statuses == [143, 143], said
    (step,) = checkpoints(tmp_path)
    assert 0 < step < 120
    assert f"stopped by SIGTERM, saved at step {step}" in said[0]
    assert said[1] == ""
    finish(tmp_path)
    assert end_of(tmp_path) == end_of(uninterrupted)


@pytest.mark.parametrize(
    ("family", "victim"), [("images", 0), ("images", 1), ("text", 0), ("sound", 1)]
)
def test_the_loss_of_a_process_ends_the_other_and_nothing_is_lost(
    request, tmp_path, family, victim
):
    if family == "images":
        whole = request.getfixturevalue("uninterrupted")
    else:
        whole = tmp_path / "whole"
        finish(whole, family)
    choose = random.Random(victim)
    for _ in range(KILLS):
        pair = start(tmp_path, family=family)
        before = checkpoints(tmp_path)
        pairs.until(pair, lambda before=before: checkpoints(tmp_path) != before)
        time.sleep(choose.uniform(0, 0.1))
        pair.processes[victim].kill()
        killed = time.monotonic()
        statuses, said = pairs.end(pair)
        if statuses[victim] == 0:  # it had ended before
            break
        assert time.monotonic() - killed < 60
        survivor = 1 - victim
        assert statuses[survivor] == LOST, said
        lines = said[survivor].strip().splitlines()
        newest = checkpoints(tmp_path)[-1]
        assert lines[-1] == (
            f"error: process {victim} of 2 is gone: start all processes again, and the run "
            f"resumes from step {newest}."
        )
        assert not any("Traceback" in text or "    @ " in text for text in said)
    finish(tmp_path, family)
    assert end_of(tmp_path) == end_of(whole)


def test_a_signal_before_the_first_step_stops_both(tmp_path):
    pair = start(tmp_path)
    pairs.until(pair, (tmp_path / "run" / "config.json").exists)
    os.kill(pair.processes[1].pid, signal.SIGTERM)
    statuses, said = pairs.end(pair)
    assert statuses == [143, 143], said
    assert "stopped by SIGTERM" in said[0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR1])
def test_other_signals_stop_both(tmp_path, number):
    pair = start(tmp_path, "--steps", "100000")
    metrics = tmp_path / "run" / "metrics.jsonl"
    pairs.until(pair, lambda: metrics.stat().st_size)
    os.kill(pair.processes[0].pid, number)
    statuses, said = pairs.end(pair)
    expected = 130 if number == signal.SIGINT else 143
    assert statuses == [expected, expected], said
    assert "saved at step" in said[0]


def refused(tmp_path, pair) -> str:
    """Return the one sentence with which both end."""
    statuses, said = pairs.end(pair)
    assert statuses == [2, 2], said
    (line,) = said[0].strip().splitlines()
    assert line.startswith("error: ")
    assert said[1] == ""
    assert not (tmp_path / "run" / "checkpoints").exists()
    return line


def test_different_flags_are_refused(tmp_path):
    second = ["--workdir", str(tmp_path / "run"), *FLAGS, "--seed", "1"]
    line = refused(tmp_path, start(tmp_path, second=second))
    assert "the command line must be the same in all processes, and process 1 of 2" in line


def test_a_full_disk_ends_both_with_one_sentence(tmp_path):
    """The disk is full for process 0; process 1 waits for it in a barrier of Orbax."""
    experiment = tmp_path / "experiment.py"
    experiment.write_text(
        "import errno\n"
        "from l1jax.cli.experiment_file import load_experiment\n"
        "from l1jax.training import checkpoint_options\n"
        "def refuse(folder):\n"
        "    raise OSError(errno.ENOSPC, 'No space left on device')\n"
        "checkpoint_options.write_manifest = refuse\n"
        "def get_config():\n"
        "    return load_experiment('digits')\n"
    )
    pair = start(tmp_path, "--config", str(experiment), "--steps", "100000")
    checkpoint = tmp_path / "run" / "checkpoints" / "20.orbax-checkpoint-tmp"
    pairs.until(pair, checkpoint.exists)
    began = time.monotonic()
    statuses, said = pairs.end(pair)
    assert time.monotonic() - began < 120
    assert statuses == [2, 2], said
    (line,) = [line for line in said[0].splitlines() if "error" in line]
    assert line.startswith("error: a checkpoint could not be written to ")
    assert "No space left on device" in line
    assert "error" not in said[1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("batch_size=24", "the experiment must be the same in all processes"),
        ("batch_size=-1", "process 1 of 2: `batch_size` (=-1)"),
    ],
)
def test_what_process_1_refuses_all_end_with(tmp_path, change, words):
    """Its experiment file says something else, as one of another version on its machine would."""
    experiment = tmp_path / "experiment.py"
    experiment.write_text(
        "import dataclasses\n"
        "import sys\n"
        "from l1jax.cli.experiment_file import load_experiment\n"
        "def get_config():\n"
        "    config = load_experiment('digits')\n"
        "    if sys.argv[-1] == '1':\n"  # the number of the process
        f"        config = dataclasses.replace(config, {change})\n"
        "    return config\n"
    )
    pair = pairs.start(
        tmp_path, "--workdir", str(tmp_path / "run"), "--config", str(experiment), "--steps", "10"
    )
    assert words in refused(tmp_path, pair)

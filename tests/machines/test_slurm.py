"""The batch script of the documentation trains, is preempted, goes on, and loses nothing."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from one_node import missing_programs, one_node, output

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "deploy" / "slurm" / "train.sbatch"
SECONDS = 300  # for a job to come to its end on a busy machine
STEPS = 300
# A grid after every ten steps takes longer than they do: there is time to preempt the run.
FLAGS = (
    f"--steps {STEPS} --log-every 10 --sample-every 10 --checkpoint-every {STEPS} "
    "--batch-size 16 --model.latent-size 8 --model.generator-hidden 16 "
    "--model.discriminator-hidden 16 --objective.r1 0 --objective.r2 0"
).split()
# The header's two nodes are one here, and its four hours are more than it needs.
ON_ONE_NODE = ["--nodes=1", "--ntasks-per-node=2", "--time=30", "--overcommit"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing_programs()), reason=f"not installed: {missing_programs()}"),
    pytest.mark.skipif(os.geteuid() != 0, reason="SLURM's daemons want root"),
]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """The environment of a SLURM, in which `python` is the one that runs the tests."""
    with (
        tempfile.TemporaryDirectory(prefix="slurm-") as folder,
        one_node(Path(folder)) as environment,
    ):
        environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
        environment["PYTHONPATH"] = str(ROOT)
        environment["JAX_PLATFORMS"] = "cpu"
        environment["COLUMNS"] = "200"
        environment["JAX_COMPILATION_CACHE_DIR"] = str(tmp_path_factory.mktemp("compiled"))
        environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        environment.pop("XLA_FLAGS", None)
        yield environment


def submit(slurm, folder, *arguments):
    """Submit the script; returns the job's number and the file of what it says."""
    said = folder / "job.out"
    command = ["sbatch", "--parsable", *ON_ONE_NODE, f"--output={said}", str(SCRIPT), *arguments]
    submitted = subprocess.run(command, env=slurm, cwd=folder, capture_output=True, text=True)
    assert submitted.returncode == 0, submitted.stderr
    return submitted.stdout.strip(), said


def job(slurm, number):
    """The state of a job, its exit status and how often it was started again."""
    text = output(["scontrol", "show", "job", number], slurm)
    state = re.search(r"JobState=(\w+)", text)[1]
    status = re.search(r"ExitCode=(\d+):", text)[1]
    restarts = re.search(r"Restarts=(\d+)", text)[1]
    return state, int(status), int(restarts)


def wait_for(slurm, number, said, is_reached):
    """Wait until a job is where it should be; what it said is the reason if it never is."""
    deadline = time.monotonic() + SECONDS
    while not is_reached(job(slurm, number)):
        assert time.monotonic() < deadline, (job(slurm, number), said.read_text())
        time.sleep(0.2)


def is_over(found):
    return found[0] in ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")


def digest(workdir):
    """Of the last checkpoint's parameters."""
    return json.loads((workdir / "checkpoints" / str(STEPS) / "meta" / "metadata").read_text())[
        "digest"
    ]


def last_logged_step(workdir):
    metrics = workdir / "metrics.jsonl"
    lines = metrics.read_text().splitlines() if metrics.exists() else []
    return json.loads(lines[-1])["step"] if lines else 0


def test_a_preempted_job_goes_on_and_ends_like_an_undisturbed_run(slurm, tmp_path):
    alone = {**slurm, "JAX_NUM_CPU_DEVICES": "2"}
    command = [sys.executable, "-m", "l1jax.train", "--workdir", str(tmp_path / "alone"), *FLAGS]
    subprocess.run(command, env=alone, cwd=tmp_path, check=True, capture_output=True)

    workdir = tmp_path / "run"
    number, said = submit(slurm, tmp_path, "--workdir", str(workdir), *FLAGS)
    wait_for(slurm, number, said, lambda _: last_logged_step(workdir) > 0)
    subprocess.run(["scancel", "--signal=TERM", number], env=slurm, check=True)
    wait_for(slurm, number, said, lambda found: found[0] == "PENDING")
    stopped_at = int(re.search(r"stopped by SIGTERM, saved at step ([\d,]+)", said.read_text())[1])
    assert 0 < stopped_at < STEPS

    skip_the_wait = ["scontrol", "update", f"JobId={number}", "StartTime=now"]
    wait_for(
        slurm,
        number,
        said,
        lambda found: found[2] == 1 and (found[0] != "PENDING" or not output(skip_the_wait, slurm)),
    )
    wait_for(slurm, number, said, is_over)
    texts = [said.read_text()]
    if job(slurm, number)[0] == "FAILED" and "resuming" not in texts[0]:
        # A busy node may fail to launch the step. The page says that the same command resumes.
        number, said = submit(slurm, tmp_path, "--workdir", str(workdir), *FLAGS)
        wait_for(slurm, number, said, is_over)
        texts.append(said.read_text())
    assert job(slurm, number)[:2] == ("COMPLETED", 0), texts
    assert f"resuming {workdir} from step {stopped_at}" in texts[-1]
    assert digest(workdir) == digest(tmp_path / "alone")


def test_tasks_that_do_not_know_of_each_other_are_refused_with_one_sentence(slurm, tmp_path):
    command = ["srun", "-n", "2", "--overcommit", sys.executable, "-m", "l1jax.train"]
    command += ["--workdir", str(tmp_path / "run"), *FLAGS]
    refused = subprocess.run(command, env=slurm, cwd=tmp_path, capture_output=True, text=True)
    assert refused.returncode == 2
    errors = [line for line in refused.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, refused.stderr
    assert "SLURM has started 2 tasks" in errors[0]
    assert "--distributed" in errors[0]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["srun", "scontrol"])
def test_the_page_shows_the_script_that_is_tested(name):
    script = SCRIPT.read_text()
    assert name in script
    assert f"```sh\n{script}```" in (ROOT / "docs" / "machines.md").read_text()

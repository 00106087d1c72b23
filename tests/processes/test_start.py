"""Flags and variables that say how many processes there are, and what is wrong with them."""

import signal
import socket
import time

import jax
import pytest

from l1jax.config import InputError
from l1jax.processes import start
from l1jax.processes.start import LAUNCHERS, UnconnectedTasksError, start_processes


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch):
    """A machine on which nothing has started several processes, and no process to connect with."""
    for launcher in LAUNCHERS:
        monkeypatch.delenv(launcher.count, raising=False)
        monkeypatch.delenv(launcher.index, raising=False)
    monkeypatch.delenv("SLURM_NTASKS", raising=False)

    monkeypatch.setattr(start, "watch", lambda sentence: None)  # it changes the whole process

    def refuse(*arguments, **options):
        raise AssertionError("nothing may be started here")

    monkeypatch.setattr(jax.distributed, "initialize", refuse)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--coordinator host", r"`--coordinator` \(=host\) must be HOST:PORT"),
        ("--coordinator :1234", r"`--coordinator` \(=:1234\) must be HOST:PORT"),
        ("--coordinator host:99999", "must be HOST:PORT"),
        ("--coordinator host:1234", r"`--processes` \(=0\) must be the number of all processes"),
        ("--coordinator host:1234 --processes 2", r"`--process` \(=-1\) must be from 0 to 1"),
        (
            "--coordinator host:1234 --processes 2 --process 2",
            r"`--process` \(=2\) must be from 0 to 1",
        ),
        ("--processes 2 --process 0", "need --coordinator HOST:PORT"),
    ],
)
def test_impossible_flags_are_refused_before_anything_starts(flags, words):
    with pytest.raises(InputError, match=words):
        start_processes(flags.split())


def test_a_port_in_use_is_refused():
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        flags = f"--coordinator host:{port} --processes 2 --process 0".split()
        with pytest.raises(InputError, match=f"`--coordinator` .=host:{port}. must name a port"):
            start_processes(flags)


@pytest.mark.parametrize("launcher", LAUNCHERS, ids=lambda launcher: launcher.name)
def test_tasks_that_do_not_know_of_each_other_are_refused(launcher, monkeypatch):
    monkeypatch.setenv(launcher.count, "3")
    monkeypatch.setenv(launcher.index, "2")
    with pytest.raises(UnconnectedTasksError, match="give --distributed") as raised:
        start_processes(["--steps", "10"])
    assert raised.value.index == 2
    assert "has started 3 tasks" in str(raised.value)
    start_processes(["--no-distributed"])
    start_processes(["--help"])
    monkeypatch.setenv(launcher.count, "1")
    start_processes([])


@pytest.mark.parametrize("of_step", ["", "1"])  # a batch script, a shell of salloc
def test_a_job_of_several_tasks_without_srun_is_refused(monkeypatch, of_step):
    monkeypatch.setenv("SLURM_NTASKS", "4")
    if of_step:
        monkeypatch.setenv("SLURM_STEP_NUM_TASKS", of_step)
    with pytest.raises(InputError, match=r"all 4 tasks .* start the command with srun"):
        start_processes(["--distributed"])
    for name, value in (("SLURM_STEP_NUM_TASKS", "4"), ("OMPI_COMM_WORLD_SIZE", "4")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            with pytest.raises(AssertionError, match="nothing may be started here"):
                start_processes(["--distributed"])


@pytest.mark.parametrize(
    ("flags", "rank", "told"),
    [
        ("--coordinator 127.0.0.1:1234 --processes 2 --process 1", None, "127.0.0.1:1234, for up"),
        ("--coordinator no.such.invalid:1 --processes 2 --process 1", None, "1, a name that is"),
        ("--distributed", "0", "the address that the launcher tells, for up"),
        ("--distributed", "1", None),
    ],
)
def test_who_waits_says_so_and_can_be_interrupted(monkeypatch, capfd, flags, rank, told):
    handlers = []
    ignoring = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background does

    def initialize(**options):
        handlers.append(signal.getsignal(signal.SIGINT))
        time.sleep(0.5)
        raise RuntimeError("DEADLINE_EXCEEDED")

    monkeypatch.setattr(start, "SILENT_SECONDS", 0.01)
    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    if rank is not None:
        monkeypatch.setenv("OMPI_COMM_WORLD_RANK", rank)
    with pytest.raises(InputError, match="did not find each other"):
        start_processes(flags.split())
    said = capfd.readouterr().err
    if told is None:
        assert said == ""
    else:
        (line,) = said.splitlines()
        assert line.startswith("waiting for the other processes at ")
        assert told in line
    assert handlers == [signal.SIG_DFL]
    assert signal.signal(signal.SIGINT, ignoring) is signal.default_int_handler


def test_nothing_that_tells_of_other_processes(monkeypatch):
    def initialize(**options):
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    with pytest.raises(InputError, match="finds neither SLURM, Open MPI, Kubernetes nor Cloud TPU"):
        start_processes(["--distributed"])


def test_processes_that_do_not_come(monkeypatch):
    def initialize(**options):
        raise RuntimeError("DEADLINE_EXCEEDED: nobody\nand more")

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    flags = "--coordinator host:1234 --processes 2 --process 1".split()
    with pytest.raises(InputError, match="did not find each other at host:1234 within 300 s"):
        start_processes(flags)

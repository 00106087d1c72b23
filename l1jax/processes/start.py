"""Start the processes of one run, on one machine or on many."""

import argparse
import os
import signal
import socket
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import jax
import numpy as np

from l1jax.config import InputError
from l1jax.processes.agreement import gather, require_same
from l1jax.processes.announced_errors import listen, stop_listening
from l1jax.processes.launchers import (
    LAUNCHERS,
    ProcessOptions,
    UnconnectedTasksError,
    refuse_job_without_srun,
    refuse_lone_tasks,
)
from l1jax.processes.loss import HEARTBEAT_SECONDS, watch, watch_connected

START_SECONDS = 300  # in which all processes must have come
SILENT_SECONDS = 10.0  # after which it is said that some have not come yet
SHUTDOWN_SECONDS = 60
LAUNCHER_ADDRESS = "the address that the launcher tells"
HELP = {"-h", "--help"}


def start_processes(arguments: Sequence[str]) -> None:
    """Connect this process with the others, if the flags say that there are any.

    Must be called before JAX looks for devices.

    Args:
        arguments: what the user typed after the command's name.

    Raises:
        InputError: if flags are missing or impossible, or the others do not come.
    """
    if HELP & set(arguments):
        return
    options = _read_options(arguments)
    if not options.distributed and not options.coordinator:
        if "--no-distributed" not in arguments:
            refuse_lone_tasks()
        _refuse_flags_without_coordinator(options)
        return
    if not options.coordinator:
        refuse_job_without_srun()
    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM from Python
    with _waiting_told(options), _interruptible():
        _initialize(options)
    _check_devices()
    watch_connected(jax.process_index(), jax.process_count())
    listen(jax.process_index(), jax.process_count())
    gather(None)  # connects them while all are here: they wait half a minute for each other


def check_same_arguments(arguments: Sequence[str]) -> None:
    """Refuse processes that were given different flags.

    Raises:
        InputError: naming the first process that differs from process 0.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for flag in ("--coordinator", "--process"):
        parser.add_argument(flag)
    _, others = parser.parse_known_args(list(arguments))
    require_same("the command line", " ".join(others), "give all processes the same flags")


def check_same_versions(version: str) -> None:
    """Refuse processes with different versions of what decides the numbers.

    Each process draws its own share of the order of the examples, with its NumPy.

    Args:
        version: of l1jax.

    Raises:
        InputError: naming the first process that differs from process 0.
    """
    versions = f"{version}, {jax.__version__}, {np.__version__}"
    require_same("the versions of l1jax, JAX and NumPy", versions, "install the same everywhere")


def _check_devices() -> None:
    """Refuse processes with different numbers of devices.

    Raises:
        InputError: if they have, or if there is no device of the kind that was asked for.
    """
    try:
        devices = jax.devices()
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"JAX finds no devices here ({error}).") from error
    counts = Counter(device.process_index for device in devices)
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{counts[process]} in process {process}" for process in sorted(counts))
        raise UnconnectedTasksError(
            f"all processes must have the same number of devices, and there are {listed}: start "
            "them on machines of one kind.",
            jax.process_index(),
        )


def stop_processes() -> None:
    """Wait for the other processes at the end, and release the connection."""
    stop_listening()
    jax.distributed.shutdown()


def _read_options(arguments: Sequence[str]) -> ProcessOptions:
    """Read these flags alone; what cannot be read is reported by the parser of all flags."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--distributed", action=argparse.BooleanOptionalAction, default=False)
    parser.add_argument("--coordinator", default="")
    parser.add_argument("--processes", type=int, default=0)
    parser.add_argument("--process", type=int, default=-1)
    try:
        values, _ = parser.parse_known_args(list(arguments))
    except (argparse.ArgumentError, SystemExit):
        return ProcessOptions()
    return ProcessOptions(**vars(values))


@contextmanager
def _waiting_told(options: ProcessOptions) -> Iterator[None]:
    """Say that the others are waited for, if that takes more than `SILENT_SECONDS`."""
    indices = [os.environ.get(launcher.index, "0") for launcher in LAUNCHERS]
    has_own_terminal = bool(options.coordinator)
    where = options.coordinator or LAUNCHER_ADDRESS

    def say() -> None:
        host = options.coordinator.rpartition(":")[0].strip("[]")
        state = ""
        if not _is_known(host):
            state = ", a name that is not known here so far"
        print(
            f"waiting for the other processes at {where}{state}, for up to {START_SECONDS} s.",
            file=sys.stderr,
            flush=True,
        )

    timer = threading.Timer(SILENT_SECONDS, say)
    timer.daemon = True
    if has_own_terminal or set(indices) == {"0"}:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _is_known(host: str) -> bool:
    """Return whether a host's name leads to an address; an empty one counts as known."""
    try:
        socket.getaddrinfo(host or "localhost", None)
    except (OSError, UnicodeError):
        return False
    return True


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C end this process at once; Python would answer it when the waiting is over."""
    previous = signal.getsignal(signal.SIGINT)
    if previous is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _refuse_flags_without_coordinator(options: ProcessOptions) -> None:
    if options.processes or options.process >= 0:
        raise InputError(
            f"`--processes` (={options.processes}) and `--process` (={options.process}) need "
            "--coordinator HOST:PORT, the address at which all reach process 0."
        )


def _initialize(options: ProcessOptions) -> None:
    """Call `jax.distributed.initialize` with what the flags say.

    Raises:
        InputError: if the flags are impossible, nothing tells of other processes, or they do not
            come in time.
    """
    address = {}
    if options.coordinator:
        _check_address(options)
        address = {
            "coordinator_address": options.coordinator,
            "num_processes": options.processes,
            "process_id": options.process,
        }
    where = options.coordinator or LAUNCHER_ADDRESS
    unconnected_sentence = (
        f"the processes did not find each other at {where} within {START_SECONDS} s: start all of "
        "them, with an address that each can reach and a port that nothing else uses."
    )
    watch(unconnected_sentence)
    try:
        jax.distributed.initialize(
            **address,
            initialization_timeout=START_SECONDS,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=SHUTDOWN_SECONDS,
        )
    except ValueError as error:
        raise InputError(
            "`--distributed` finds neither SLURM, Open MPI, Kubernetes nor Cloud TPU here: give "
            "--coordinator HOST:PORT --processes N --process I to each process."
        ) from error
    except RuntimeError as error:
        raise InputError(unconnected_sentence) from error


def _check_address(options: ProcessOptions) -> None:
    """Refuse an address or numbers that cannot be meant.

    Raises:
        InputError: naming the flag.
    """
    host, _, port = options.coordinator.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 2**16:
        raise InputError(
            f"`--coordinator` (={options.coordinator}) must be HOST:PORT, such as 10.0.0.1:1234."
        )
    if options.processes < 1:
        raise InputError(
            f"`--processes` (={options.processes}) must be the number of all processes, with "
            "--coordinator."
        )
    if not 0 <= options.process < options.processes:
        raise InputError(
            f"`--process` (={options.process}) must be from 0 to {options.processes - 1}, another "
            "one for each process."
        )
    if options.process == 0:
        _check_port(options, int(port))


def _check_port(options: ProcessOptions, port: int) -> None:
    """Refuse a port that something else uses; JAX's service may crash on one.

    Raises:
        InputError: naming the flag.
    """
    try:
        with socket.create_server(("", port)):
            pass
    except OSError as error:
        raise InputError(
            f"`--coordinator` (={options.coordinator}) must name a port that is free on the "
            f"machine of process 0 ({error.strerror}): give another, the same to all processes; "
            "or, if process 0 runs already, give this one another `--process`."
        ) from error

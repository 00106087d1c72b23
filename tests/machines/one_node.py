"""A SLURM of one node on this machine, for the length of a test.

Everything is started as a child of this process, keeps its files in one folder, and listens on free
ports: no daemon is left behind, and one that already runs here is not disturbed.
"""

import getpass
import os
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "scancel", "squeue")
SECONDS_TO_START = 60
SECONDS_TO_STOP = 30

# `localhost` is what the tasks are told to find each other at, so no name service is needed.
CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
FirstJobId={first_job}
NodeName=localhost NodeHostname={host} NodeAddr=127.0.0.1 CPUs={cores} State=UNKNOWN
PartitionName=all Nodes=localhost Default=YES MaxTime=INFINITE State=UP
"""


def missing_programs() -> list[str]:
    """Return which of SLURM's and munge's programs are not installed."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return [name for name in PROGRAMS if shutil.which(name, path=path) is None]


@contextmanager
def one_node(folder: Path) -> Iterator[dict[str, str]]:
    """Run SLURM with its files in a folder, whose path must be short.

    Yields:
        The environment in which SLURM's commands find it.
    """
    environment = {
        **os.environ,
        "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin",
        "SLURM_CONF": str(folder / "slurm.conf"),
    }
    write_files(folder)
    daemons = []
    try:
        for command in (
            ["munged", "--foreground", "--force", *munge_flags(folder)],
            ["slurmctld", "-D"],
            ["slurmd", "-D", "-N", "localhost"],
        ):
            log = (folder / f"{command[0]}.out").open("w")
            daemons.append(
                subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
            )
            log.close()
            if command[0] == "munged":
                wait_until(lambda: (folder / "munge.socket").exists(), folder)
        wait_until(lambda: "idle" in output(["sinfo", "-h", "-o", "%T"], environment), folder)
        yield environment
    finally:
        subprocess.run(["scancel", "--user", getpass.getuser()], env=environment, check=False)
        with_patience = time.monotonic() + SECONDS_TO_STOP
        while output(["squeue", "-h"], environment) and time.monotonic() < with_patience:
            time.sleep(0.2)
        for daemon in reversed(daemons):
            daemon.terminate()
            try:
                daemon.wait(SECONDS_TO_STOP)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


def write_files(folder: Path) -> None:
    """Write the configuration, a secret key and the folders that SLURM needs."""
    folder.chmod(0o755)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    controller, node = free_ports(2)
    text = CONFIGURATION.format(
        host=socket.gethostname().split(".")[0],
        user=getpass.getuser(),
        folder=folder,
        controller_port=controller,
        node_port=node,
        cores=os.cpu_count(),
        # JAX takes the port at which the tasks meet from the job's number.
        first_job=random.randrange(1, 60_000),
    )
    (folder / "slurm.conf").write_text(text)


def munge_flags(folder: Path) -> list[str]:
    """Return the flags that keep munge's files in the folder."""
    files = {"socket": "socket", "key-file": "key", "pid-file": "pid", "seed-file": "seed"}
    files["log-file"] = "log"
    return [f"--{flag}={folder}/munge.{name}" for flag, name in files.items()]


def free_ports(count: int) -> list[int]:
    """Find ports that nothing listens on."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def output(command: list[str], environment: dict[str, str]) -> str:
    """What a command prints; nothing if it fails."""
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return found.stdout.strip() if found.returncode == 0 else ""


def wait_until(happened, folder: Path) -> None:
    """Wait for a daemon.

    Raises:
        TimeoutError: with the end of every log.
    """
    deadline = time.monotonic() + SECONDS_TO_START
    while not happened():
        if time.monotonic() > deadline:
            logs = [*folder.glob("*.log"), *folder.glob("*.out")]
            raise TimeoutError("\n".join(f"{log}:\n{log.read_text()[-2000:]}" for log in logs))
        time.sleep(0.1)

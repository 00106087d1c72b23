"""Programs that start several processes, and what they tell each of them."""

import os
from dataclasses import dataclass
from typing import NamedTuple

from l1jax.config import InputError


@dataclass(frozen=True)
class ProcessOptions:
    """The flags of a command that can be run by several processes together."""

    distributed: bool = False
    """Work with the other processes that SLURM, Open MPI, Kubernetes or Cloud TPU started."""
    coordinator: str = ""
    """HOST:PORT at which process 0 is reached, where nothing tells it; implies --distributed."""
    processes: int = 0
    """Number of processes, with --coordinator."""
    process: int = -1
    """Number of this process, from 0 on, with --coordinator."""


class Launcher(NamedTuple):
    """A program that starts several processes, and the variables by which it tells so."""

    name: str
    count: str
    index: str


SLURM = Launcher("SLURM", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID")
OPEN_MPI = Launcher("Open MPI", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK")
LAUNCHERS = (SLURM, OPEN_MPI)


class UnconnectedTasksError(InputError):
    """Several processes were started, and none was told of the others.

    Attributes:
        index: of this process.
    """

    def __init__(self, message: str, index: int) -> None:
        super().__init__(message)
        self.index = index


def refuse_lone_tasks() -> None:
    """Refuse to be one of several trainings that do not know of each other.

    Raises:
        UnconnectedTasksError: if SLURM or Open MPI has started several tasks.
    """
    for launcher in LAUNCHERS:
        count = os.environ.get(launcher.count, "")
        if count.isdigit() and int(count) > 1:
            index = os.environ.get(launcher.index, "")
            raise UnconnectedTasksError(
                f"{launcher.name} has started {count} tasks ({launcher.count}={count}): give "
                "--distributed to let them work together, or --no-distributed if each is to work "
                "alone, in a --workdir of its own.",
                int(index) if index.isdigit() else 0,
            )


def refuse_job_without_srun() -> None:
    """Refuse to be the only process in a job of SLURM that has several tasks.

    Raises:
        InputError: if the command runs in a batch script or a shell of the job, not in its tasks.
    """
    num_tasks = os.environ.get("SLURM_NTASKS", "")
    if not num_tasks.isdigit() or int(num_tasks) < 2 or OPEN_MPI.count in os.environ:
        return
    if os.environ.get(SLURM.count) != num_tasks:
        raise InputError(
            f"`--distributed` needs all {num_tasks} tasks of SLURM's job (SLURM_NTASKS="
            f"{num_tasks}), and here is one process: start the command with srun."
        )

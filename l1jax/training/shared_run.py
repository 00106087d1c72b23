"""What a run of several processes needs beyond one of one: one experiment, one work directory."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import jax

from l1jax.config import Config, InputError, to_json
from l1jax.processes.agreement import lead, num_processes, require_same
from l1jax.processes.storage import check_shared_storage
from l1jax.training.checkpoint_files import is_step
from l1jax.training.workdir import open_workdir, read_config


def check_processes(experiment: Config) -> None:
    """Refuse what several processes cannot do together, or would each do differently.

    Raises:
        InputError: naming the field, or the process that differs.
    """
    if num_processes() == 1:
        return
    if experiment.parallel == "pmap":
        raise InputError(
            f"`parallel` (=pmap) must be shard_map for {num_processes()} processes, because l1jax "
            "maps with pmap over the devices of one; both train the same model."
        )
    remedy = "give all processes the same flags, experiment file and versions"
    require_same("the experiment", json.dumps(to_json(experiment), sort_keys=True), remedy)
    require_same("the number of devices of a process", jax.local_device_count(), remedy)


@contextmanager
def lock_shared_workdir(
    workdir: Path, experiment: Config, *, overwrite: bool
) -> Iterator[Config | None]:
    """Lock the work directory for all processes; process 0 does it.

    Args:
        workdir: on storage that all processes share.
        experiment: that is trained in it.
        overwrite: whether an existing run is deleted.

    Yields:
        The experiment that was in it before, None if there was none or this is not process 0.

    Raises:
        InputError: if it may not be used, or a process does not see it.
    """
    previous_config = None
    with ExitStack() as stack:

        def open_it() -> None:
            nonlocal previous_config
            if not overwrite:
                previous_config = read_config(workdir)
            stack.enter_context(open_workdir(workdir, experiment, overwrite=overwrite))

        lead(open_it)
        check_shared_storage(workdir)
        yield previous_config


def describe_restart(workdir: Path) -> str:
    """Say how to go on after a process was lost, as the end of a sentence."""
    steps = [int(path.name) for path in (workdir / "checkpoints").iterdir() if is_step(path.name)]
    if not steps:
        return "start all processes again; there is no checkpoint yet"
    return f"start all processes again, and the run resumes from step {max(steps):,}"

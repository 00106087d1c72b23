"""The two flags that name a trained model: a work directory, or an exported folder."""

from pathlib import Path

from l1jax.config import InputError


def check_one_place(workdir: Path | None, model: Path | None, command: str) -> None:
    """Raise unless one of two flags names a generator.

    Args:
        workdir: `--workdir`.
        model: `--model`.
        command: for messages.

    Raises:
        InputError: if none or both are given.
    """
    if workdir is None and model is None:
        raise InputError(
            f"Missing from {command}: --workdir of a training run, or --model of an exported model."
        )
    if workdir is not None and model is not None:
        raise InputError(
            f"`--workdir` (={workdir}) and `--model` (={model}) name two generators: give one of "
            "them."
        )

"""Training as a process that does not pay for the imports.

It is forked from one that has done them.
"""

import os
import sys


def live(arguments: list[str], output: str) -> None:
    """Be `python -m l1jax.train` with these arguments, saying everything into a file."""
    with open(output, "w") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    sys.argv = ["l1jax.train", *arguments]
    from l1jax import train
    from l1jax.cli.process import run_command

    run_command(train.main, is_shared=True)

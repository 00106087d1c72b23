"""A command as a process that does not pay for the imports.

It is forked from one that has done them.
"""

import importlib
import os
import sys


def live(arguments: list[str], output: str, command: str = "train") -> None:
    """Be `python -m l1jax.COMMAND` with these arguments, saying everything into a file."""
    with open(output, "w") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    sys.argv = [f"l1jax.{command}", *arguments]
    from l1jax.cli.process import run_command

    main = importlib.import_module(f"l1jax.{command}").main
    run_command(main, is_shared=True)

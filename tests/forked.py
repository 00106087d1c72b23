"""A command as a process that does not pay for the imports.

It is forked from one that has done them.
"""

import importlib
import os
import sys

import jax


def live(arguments: list[str], output: str, command: str = "train", num_devices: int = 1) -> None:
    """Be `python -m l1jax.COMMAND` with these arguments, saying everything into a file.

    The environment is that of the first test file which started the server, so what a test needs
    otherwise is an argument here.
    """
    jax.config.update("jax_num_cpu_devices", num_devices)
    with open(output, "w") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    sys.argv = [f"l1jax.{command}", *arguments]
    from l1jax.cli.process import run_command

    main = importlib.import_module(f"l1jax.{command}").main
    run_command(main, is_shared=True)

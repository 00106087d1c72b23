"""The command `l1jax`, whose subcommands are the modules that `python -m l1jax.…` runs."""

import runpy
import sys
from collections.abc import Sequence
from typing import NamedTuple

import l1jax
from l1jax.cli.completion_scripts import COMPLETE, SCRIPTS
from l1jax.cli.suggestions import suggest
from l1jax.streams import lasting_output


class Command(NamedTuple):
    """A subcommand: the module that runs it, and what it does in one line."""

    module: str
    summary: str


COMMANDS = {
    "train": Command("l1jax.train", "Train an experiment."),
    "sample": Command("l1jax.sample", "Draw images from a trained or exported generator."),
    "evaluate": Command("l1jax.evaluate", "Compare generated images with real ones; count zeros."),
    "select": Command("l1jax.select", "Choose the strength of a penalty."),
    "compact": Command("l1jax.compact", "Remove dead channels from a trained generator."),
    "export": Command("l1jax.export", "Export a generator as weights, StableHLO or ONNX."),
    "demo": Command("l1jax.demo", "Show a generator in the browser."),
    "report": Command("l1jax.report", "Write a page about a run: curves, images, zeros."),
    "prepare": Command("l1jax.prepare", "Prepare a data set for training."),
    "convert": Command("l1jax.convert", "Convert Inception-v3's public weights."),
}


def main() -> None:
    """Run the subcommand that the command line names, as `python -m` runs its module."""
    arguments = sys.argv[1:]
    if arguments and arguments[0] in COMMANDS:
        module = COMMANDS[arguments[0]].module
        sys.argv = [module, *arguments[1:]]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        return
    with lasting_output():
        if arguments[:1] == [COMPLETE]:
            from l1jax.cli.completion import candidates  # the other options need none of it

            print("\n".join(candidates(list(COMMANDS), arguments[1:])))
            sys.exit(0)
        sys.exit(_print_help(arguments))


def _print_help(arguments: Sequence[str]) -> int:
    """Print the help, the version or an error; return the exit status."""
    first = arguments[0] if arguments else "--help"
    if first in ("-h", "--help"):
        print(usage())
        return 0
    if first == "--version":
        print(f"l1jax {l1jax.__version__}")
        return 0
    if first == "--completion":
        shell = arguments[1] if len(arguments) > 1 else ""
        if shell in SCRIPTS:
            print(SCRIPTS[shell])
            return 0
        print(f"error: `--completion` (={shell}) must be {' or '.join(SCRIPTS)}.", file=sys.stderr)
        return 2
    what = "option" if first.startswith("-") else "command"
    known = ["--help", "--version", "--completion"] if what == "option" else list(COMMANDS)
    hint = suggest(first, known)
    print(f"error: `{first}` is no {what} of l1jax{hint} (see l1jax --help).", file=sys.stderr)
    return 2


def usage() -> str:
    """Return the help text, which lists every subcommand with its summary."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: l1jax COMMAND [FLAGS]",
            "",
            "Train sparse generative models, choose their strength, and make them small.",
            "",
            "commands:",
            *lines,
            "",
            "options:",
            f"  {'--help':<{width}}  Show this help, or with a command its flags.",
            f"  {'--version':<{width}}  Show the version.",
            "  --completion SHELL  Print what completes flags in bash, zsh or fish.",
        ]
    )

"""Answers that need no network: `--help`, and what is wrong with flags and paths.

A command gives them before it imports JAX and what else takes seconds to load; `answer_early`
stands above these imports. What this finds, the command itself would find later.
"""

import os
import sys
from collections.abc import Callable, Sequence

from l1jax.cli.experiment_options import ExperimentOptions
from l1jax.cli.flags import parse, parse_optional_path
from l1jax.cli.places import check_one_place
from l1jax.config import InputError
from l1jax.streams import lasting_output

# Several processes agree on what is wrong, and only one of them says it.
SHARING_FLAGS = ("--distributed", "--coordinator", "--processes", "--process")
# Field of the flags → the flag, and where what it names comes from.
ABSENT = {
    "workdir": ("--workdir", "give the work directory of python -m l1jax.train"),
    "model": ("--model", "make it with python -m l1jax.export"),
    "dense": ("--dense", "give a work directory, or a folder of python -m l1jax.export"),
    "file": ("FILE", "give the file that you downloaded"),
}

Check = Callable[[Sequence[str]], object]  # arguments → nothing that matters


def answer_early(check: Check) -> None:
    """Exit now if the user asks for help, or if something is wrong with the flags.

    Args:
        check: raises what is wrong with the arguments.

    Raises:
        SystemExit: with status 0 after --help, or 2 and one sentence if the input is wrong.
    """
    arguments = sys.argv[1:]
    flags = {argument.partition("=")[0] for argument in arguments}
    is_help = bool(flags & {"-h", "--help", "--help-all"})
    if flags.intersection(SHARING_FLAGS) and not is_help:
        return
    with lasting_output():
        try:
            check(arguments)
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)


def check_model_flags(
    options: type, prog: str, check_numbers: Callable[..., None] | None = None
) -> Check:
    """Return a check of the flags of a command that works on a trained model.

    Args:
        options: the dataclass of its flags.
        prog: its name, for messages.
        check_numbers: raises if a number is out of its range.
    """

    def check(arguments: Sequence[str]) -> None:
        parsed = parse(options, arguments, prog)
        if check_numbers is not None:
            check_numbers(parsed)
        fields = vars(parsed)
        paths = {
            name: parse_optional_path(ABSENT[name][0], fields[name])
            for name in ABSENT
            if name in fields
        }
        if "model" in paths:
            check_one_place(paths["workdir"], paths["model"], prog)
        for name, path in paths.items():
            if path is not None and not path.exists():
                flag, remedy = ABSENT[name]
                raise InputError(f"`{flag}` (={path}) does not exist: {remedy}.")

    return check


def check_experiment_flags(
    options: type[ExperimentOptions], prog: str, workdir: str = "runs/{}"
) -> Check:
    """Return a check of the flags of a command that takes an experiment.

    Args:
        options: the dataclass of its flags.
        prog: its name, for messages.
        workdir: default of `--workdir`.
    """
    from l1jax.cli.experiment import parse_experiment
    from l1jax.cli.starting import check_source_name

    def check(arguments: Sequence[str]) -> None:
        parsed = parse_experiment(options, arguments, prog, workdir)
        folder = parse_optional_path("--workdir", parsed.workdir)
        source = getattr(parsed, "from_source", None)
        if source is not None and not (folder and folder.exists()):  # else a run has the source
            check_source_name(source)
        path = getattr(parsed.experiment.data, "path", None)
        if path and "://" not in path and not os.path.exists(os.path.expanduser(path)):
            raise InputError(
                f"`data.path` (={path}) does not exist: give the path of the data on this machine."
            )

    return check

"""The flags of `l1jax.evaluate`, checked before anything heavy is imported."""

import os
from collections.abc import Sequence

from l1jax.cli.evaluation_again import with_recorded_flags
from l1jax.cli.flags import parse, parse_optional_path
from l1jax.cli.options import EvaluateOptions
from l1jax.config import InputError

PROG = "python -m l1jax.evaluate"
MIN_IMAGES = 16  # that precision and recall need
GENERATED_FLAGS = ("--workdir", "--model", "--generated")


def parse_evaluate(arguments: Sequence[str]) -> EvaluateOptions:
    """Parse the flags of the command.

    Raises:
        InputError: if a flag or a value is wrong, or a work directory or a model does not exist.
        SystemExit: with status 0 after --help.
    """
    options = read_flags(arguments)
    for flag, value, remedy in (
        ("--workdir", options.workdir, "give the work directory of python -m l1jax.train"),
        ("--model", options.model, "make it with python -m l1jax.export"),
    ):
        path = parse_optional_path(flag, value)
        if path is not None and not path.exists():
            raise InputError(f"`{flag}` (={path}) does not exist: {remedy}.")
    return options


def read_flags(arguments: Sequence[str]) -> EvaluateOptions:
    """Parse the flags, or read them from the evaluation that `--again` names, and check them.

    Raises:
        InputError: if a flag or a value is wrong, or that evaluation cannot be repeated.
        SystemExit: with status 0 after --help.
    """
    options = parse(EvaluateOptions, arguments, PROG)
    if options.again and options.save_statistics:
        raise InputError(
            f"`--save-statistics` (={options.save_statistics}) must be left out beside --again, "
            "which compares two sets."
        )
    if options.again:
        options = with_recorded_flags(options, PROG)
    check_sides(options)
    check_numbers(options)
    return options


def generated_flags(options: EvaluateOptions) -> dict[str, str]:
    """Return the flags that name what is generated, with their values; at most one is right."""
    values = (options.workdir, options.model, options.generated)
    pairs = zip(GENERATED_FLAGS, values, strict=True)
    return {flag: value for flag, value in pairs if value is not None}


def check_sides(options: EvaluateOptions) -> None:
    """Raise unless the flags say what is compared with what.

    Raises:
        InputError: naming the flags.
    """
    generated = generated_flags(options)
    if len(generated) > 1:
        (first, own), (second, other), *_ = generated.items()
        kind = "generators" if second == "--model" else "sets of generated images"
        raise InputError(
            f"`{first}` (={own}) and `{second}` (={other}) name two {kind}: give one of them."
        )
    sides = len(generated) + (options.real is not None)
    if options.save_statistics and sides != 1:
        raise InputError(
            f"`--save-statistics` (={options.save_statistics}) is of one set of images: give "
            "--real, or one of --generated, --workdir and --model, and no other."
        )
    if not generated and not options.save_statistics:
        raise InputError(
            f"Missing from {PROG}: --workdir of a training run, --model of an exported model, or "
            "--generated with any images."
        )
    if options.path and options.real is not None:
        raise InputError(
            f"`--path` (={options.path}) is where a run's own images are, and `--real` "
            f"(={options.real}) gives others: leave one out."
        )
    if options.likelihood and options.real is not None:
        raise InputError(
            f"`--likelihood` is of a run's own data: leave out --real (={options.real})."
        )
    for flag, value in (*generated.items(), ("--real", options.real)):
        if value is not None and not os.path.basename(os.path.normpath(value)):
            raise InputError(f"`{flag}` is empty: give it a path.")


def check_numbers(options: EvaluateOptions) -> None:
    """Raise if a number is out of its range.

    Raises:
        InputError: naming the flag.
    """
    if options.seeds < 1:
        raise InputError(f"`--seeds` (={options.seeds}) must be at least 1; 3 give a deviation.")
    for flag, value in (("samples", options.samples), ("real-samples", options.real_samples)):
        if value and value < MIN_IMAGES:
            raise InputError(
                f"`--{flag}` (={value}) must be at least {MIN_IMAGES}, or 0 for as many as the "
                "help says."
            )
    if not 0 <= options.image_size <= 4096:
        raise InputError(
            f"`--image-size` (={options.image_size}) must be from 1 to 4,096, or 0 to leave images "
            "as they are."
        )

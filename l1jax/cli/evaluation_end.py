"""The end of an evaluation: what is shown and written, and with --again compared."""

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from l1jax.cli.evaluation_again import (
    check_inputs,
    compare_with_earlier,
    describe_agreement,
    describe_changes,
    read_earlier,
    recorded_flags,
)
from l1jax.cli.options import EvaluateOptions
from l1jax.evaluation.comparison import JsonObject
from l1jax.files import write_json
from l1jax.outputs import write_error
from l1jax.processes.agreement import lead
from l1jax.reporting.evaluation_tables import show_evaluation
from l1jax.terminal import make_say


def check_again(options: EvaluateOptions, inputs: Mapping[str, str]) -> None:
    """Raise if --again is given, and images or weights are not those of that evaluation.

    Raises:
        InputError: naming what is another.
    """
    if options.again:
        check_inputs(read_earlier(options.again), inputs, options)


def conclude(
    result: JsonObject,
    inputs: Mapping[str, str],
    output: Path | None,
    options: EvaluateOptions,
    console: Console,
) -> int:
    """Show and write all numbers, and return 1 if --again is given and they are others; else 0.

    Args:
        result: the numbers, to which is added what repeats them.
        inputs: name of what was evaluated → its hash.
        output: the file of the numbers; None to write none.
        options: the command's flags.
        console: for the tables.

    Raises:
        InputError: if the file cannot be written.
    """
    say = make_say(console)
    earlier = read_earlier(options.again) if options.again else None
    folder = Path() if output is None else output.parent
    flags = recorded_flags(options, folder, result.get("step"))
    result["protocol"] |= {"inputs": dict(inputs), "flags": flags}
    if earlier is not None:
        changes = describe_changes(earlier, result["protocol"])
        if changes:
            result["remarks"] = [*result.get("remarks", []), *changes]
    show_evaluation(result, console)
    if output is not None:
        lead(lambda: _write_result(output, result))
        say(f"all numbers: {output}")
    if earlier is None:
        return 0
    differing = compare_with_earlier(earlier, result)
    say(describe_agreement(earlier, differing))
    return int(bool(differing))


def _write_result(path: Path, result: JsonObject) -> None:
    """Write all numbers.

    Raises:
        InputError: if the file cannot be written.
    """
    try:
        write_json(path, result)
    except OSError as error:
        raise write_error(path, error) from error

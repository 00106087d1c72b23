"""Prepare images as a TFDS set: `python -m l1jax.prepare NAME_OR_FOLDER`."""

from l1jax.cli.early_answers import answer_early
from l1jax.cli.preparing import parse_prepare

if __name__ == "__main__":
    answer_early(parse_prepare)


import os
from collections.abc import Sequence

from l1jax import config
from l1jax.cli.flag_errors import translate_errors
from l1jax.cli.options import PrepareOptions
from l1jax.cli.preparing import RENAMED
from l1jax.cli.process import run_command
from l1jax.config import InputError
from l1jax.data.tfds_preparation import prepare_files, prepare_known
from l1jax.terminal import make_console, make_say


@translate_errors(PrepareOptions, RENAMED)
def main(arguments: Sequence[str]) -> int:
    """Prepare what the command line names; return the exit status."""
    options = parse_prepare(arguments)
    data = config.ImageData(
        options.what, subfolder=options.subfolder, on_error=options.on_error, labels=options.labels
    )
    try:
        if os.path.exists(os.path.expanduser(options.what)):
            builder = prepare_files(data, options.name, options.data_dir)
        else:
            builder = prepare_known(options.what, options.data_dir)
    except OSError as error:
        folder = options.data_dir or "TFDS's own folder"
        raise InputError(
            f"`--data-dir` (={folder}) must be writable: {error.strerror or error}."
        ) from error
    info = builder.info
    counts = ", ".join(f"{name} ({split.num_examples:,})" for name, split in info.splits.items())
    flags = f"--data tfds --data.name {info.full_name.replace('/', ':')}"
    if options.data_dir:
        flags += f" --data.data-dir {options.data_dir}"
    say = make_say(make_console())
    say(f"prepared {info.full_name} in {builder.data_path}: {counts}")
    say(f"train on it: python -m l1jax.train {flags}")
    return 0


if __name__ == "__main__":
    run_command(main)

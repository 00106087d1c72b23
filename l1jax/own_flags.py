"""Errors of code that several commands share, in the flags of the one that met them."""

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

from l1jax.command_line import flags
from l1jax.config import InputError

NOTHING: Mapping[str, str] = MappingProxyType({})
_OF_TRAINING = re.compile(
    r"(?<![\w-])--(?:(?:data|model|generator|discriminator|encoder|objective)\.[a-z][\w.-]*\w"
    r"|data(?![\w.-])|overwrite)"
)


def rename(sentence: str, renamed: Mapping[str, str]) -> str:
    """A sentence with other names for flags, each replaced where it stands as a whole."""
    for name, own in renamed.items():
        sentence = re.sub(
            rf"(?<![\w.-]){re.escape(name)}(?![\w-]|\.\w)", own.replace("\\", r"\\"), sentence
        )
    return sentence


def in_flags(known: Collection[str], sentence: str, renamed: Mapping[str, str] = NOTHING) -> str:
    """A sentence that names the flags of a command, and says of others whose they are.

    Args:
        known: the command's flags.
        sentence: in the words of training.
        renamed: flag of training → the command's own.
    """
    sentence = rename(sentence, renamed)
    others = list(
        dict.fromkeys(flag for flag in _OF_TRAINING.findall(sentence) if flag not in known)
    )
    if not others:
        return sentence
    what = f"{others[0]} is a flag" if len(others) == 1 else f"{' and '.join(others)} are flags"
    return f"{sentence.rstrip('.')}; {what} of python -m l1jax.train."


@contextmanager
def own_flags(options: Any, renamed: Mapping[str, str] = NOTHING) -> Iterator[None]:
    """Let errors within the block, or of the function that this decorates, name a command's own flags.

    Args:
        options: the dataclass of the command's flags.
        renamed: flag of training → the command's own.

    Raises:
        InputError: the block's, in other words.
    """
    try:
        yield
    except InputError as error:
        said = in_flags(flags(options), str(error), renamed)
        if said == str(error):
            raise
        raise InputError(said) from error

"""Errors of shared code, rewritten in the flags of the command that met them.

Code that several commands share names the flags of `l1jax.train` in its errors. A command that
names a flag otherwise, or lacks it, rewrites the sentence.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

from l1jax.cli.flag_names import flag_names
from l1jax.config import InputError

NO_RENAMES: Mapping[str, str] = MappingProxyType({})
_TRAINING_FLAG = re.compile(
    r"(?<![\w-])--(?:(?:data|model|generator|discriminator|encoder|objective)\.[a-z][\w.-]*\w"
    r"|data(?![\w.-])|overwrite)"
)


def rename_flags(sentence: str, renames: Mapping[str, str]) -> str:
    """Replace flags in a sentence, each where it stands as a whole word."""
    for old, new in renames.items():
        pattern = rf"(?<![\w.-]){re.escape(old)}(?![\w-]|\.\w)"
        sentence = re.sub(pattern, new.replace("\\", r"\\"), sentence)
    return sentence


def translate_flags(
    known: Collection[str], sentence: str, renames: Mapping[str, str] = NO_RENAMES
) -> str:
    """Rewrite a sentence in the flags of a command, and say of other flags that training has them.

    Args:
        known: the command's flags.
        sentence: an error in the words of training.
        renames: flag of training → flag of the command.
    """
    sentence = rename_flags(sentence, renames)
    unknown = [flag for flag in _TRAINING_FLAG.findall(sentence) if flag not in known]
    unknown = list(dict.fromkeys(unknown))
    if not unknown:
        return sentence
    if len(unknown) == 1:
        subject = f"{unknown[0]} is a flag"
    else:
        subject = f"{' and '.join(unknown)} are flags"
    return f"{sentence.rstrip('.')}; {subject} of python -m l1jax.train."


@contextmanager
def translate_errors(options: type, renames: Mapping[str, str] = NO_RENAMES) -> Iterator[None]:
    """Make errors within the block, or in the function that this decorates, name a command's flags.

    Args:
        options: the dataclass of the command's flags.
        renames: flag of training → flag of the command.

    Raises:
        InputError: the block's, in other words.
    """
    try:
        yield
    except InputError as error:
        sentence = translate_flags(flag_names(options), str(error), renames)
        if sentence == str(error):
            raise
        raise InputError(sentence) from error

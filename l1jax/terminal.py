"""What commands print on: a Rich console, and lines of plain text on it."""

from collections.abc import Callable

from rich.console import Console

Say = Callable[[str], None]  # prints one sentence on a line of its own


def make_console(*, quiet: bool = False) -> Console:
    """Make the console of a command, which leaves long lines to the terminal to wrap.

    Args:
        quiet: whether it prints nothing.
    """
    return Console(soft_wrap=True, emoji=False, quiet=quiet)


def make_say(console: Console) -> Say:
    """Return a function that prints a line of text as it is, without markup or colours."""

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    return say

"""Standard output and error whose reader may go away: work goes on, and nobody sees a traceback of it."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any


class Output:
    """A stream that drops what it is given once it cannot be written any more.

    `lost` is the error that showed it: a broken pipe, a terminal that was closed, a full disk.
    """

    def __init__(self, stream: Any, tell: Callable[[OSError], None]) -> None:
        self._stream, self._tell = stream, tell
        self.lost: OSError | None = None

    def write(self, text: str) -> int:
        """Write text, as long as that is possible."""
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Pass on what was written, as long as that is possible."""
        self._try(self._stream.flush)

    def _try(self, action: Callable[[], object]) -> None:
        try:
            action()
        except OSError as error:
            self._lose(error)

    def _lose(self, error: OSError) -> None:
        with suppress(OSError, ValueError):  # a stream of a test has no descriptor
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(
                nowhere, self._stream.fileno()
            )  # else Python would try again as it ends, and complain
            os.close(nowhere)
        if self.lost is None:
            self.lost = error
            self._tell(error)

    def __getattr__(self, name: str) -> Any:
        """Everything else is the stream's own."""
        return getattr(self._stream, name)


@contextmanager
def lasting_output(goes_on: str = "") -> Iterator[Output]:
    """Replace standard output and error by ones that outlive their readers.

    Args:
        goes_on: said on standard error when standard output is lost; empty to say nothing of a pipe that is closed,
            as by `| head`.

    Yields:
        The standard output.
    """
    before = sys.stdout, sys.stderr
    errors = Output(sys.stderr, lambda error: None)

    def tell(error: OSError) -> None:
        if goes_on or not isinstance(error, BrokenPipeError):
            print(
                f"standard output is lost ({error.strerror or error}){goes_on and '; '}{goes_on}.",
                file=errors,
            )

    output = Output(sys.stdout, tell)
    sys.stdout, sys.stderr = output, errors  # type: ignore[assignment]
    try:
        yield output
    finally:
        output.flush()
        errors.flush()
        sys.stdout, sys.stderr = before

"""Standard output and error that survive their reader: work continues without a traceback."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any


class Output:
    """A stream that drops what it is given once it can no longer be written.

    `lost` is the error that showed it: a broken pipe, a closed terminal, a full disk. It is None as
    long as the stream can be written.
    """

    def __init__(self, stream: Any, on_loss: Callable[[OSError], None]) -> None:
        self._stream = stream
        self._on_loss = on_loss
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
            # Python writes once more as the process ends, and would complain about the old stream.
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)
        if self.lost is None:
            self.lost = error
            self._on_loss(error)

    def __getattr__(self, name: str) -> Any:
        """Return any other attribute of the stream."""
        return getattr(self._stream, name)


@contextmanager
def lasting_output(notice: str = "") -> Iterator[Output]:
    """Replace standard output and error by streams that survive their readers.

    Args:
        notice: what standard error says when standard output is lost. If it is empty, nothing is
            said about a closed pipe, which is ordinary (`| head`).

    Yields:
        The standard output.
    """
    stdout = sys.stdout
    stderr = sys.stderr
    errors = Output(stderr, lambda error: None)

    def report_loss(error: OSError) -> None:
        if not notice and isinstance(error, BrokenPipeError):
            return
        consequence = f"; {notice}" if notice else ""
        reason = error.strerror or error
        print(f"standard output is lost ({reason}){consequence}.", file=errors)

    output = Output(stdout, report_loss)
    sys.stdout = output  # type: ignore[assignment]
    sys.stderr = errors  # type: ignore[assignment]
    try:
        yield output
    finally:
        output.flush()
        errors.flush()
        sys.stdout = stdout
        sys.stderr = stderr

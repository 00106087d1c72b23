"""Files that appear whole or not at all."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def whole(path: Path, shared: bool = False) -> Iterator[Path]:
    """Yield a place beside `path` to write to; its content takes `path`'s name at the end, or goes if the block fails.

    Args:
        path: of the file, which is replaced if it is there.
        shared: whether several processes may write it at once; the last one's content stays.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial" if shared else f".{path.name}.partial")
    try:
        partial.unlink(missing_ok=True)  # what a kill left there, or a pipe, which would wait for a reader
        yield partial
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_json(path: Path, values: Any) -> None:
    """Write values for programs and people."""
    with whole(path) as partial:
        partial.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")

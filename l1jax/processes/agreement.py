"""What the processes of one run tell each other between their computations.

Process 0 leads: it alone writes and prints. Functions that exchange something must be called by all
processes, in the same order; with one process they do nothing.
An error that one process tells is raised in every process at its next call of these functions.
"""

import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import PyTree

from l1jax.config import InputError
from l1jax.processes.announced_errors import announce
from l1jax.processes.loss import end_as_lost, is_communication_error

LEADER = 0
SHORT_BYTES = 1024  # of a message, with its length; a longer one is sent by a second exchange
LENGTH_BYTES = 8
BLOCK_BYTES = 64 * 2**20  # of a long message that are sent at once

# What JSON can hold: messages are sent as such.
Json = Any
Result = TypeVar("Result")
_is_alone = False  # whether process 0 does something that the others wait for


class SharedError(InputError):
    """An error that all processes raise, because one of them could not go on.

    Attributes:
        process: index of the process in which it occurred.
    """

    def __init__(self, message: str, process: int) -> None:
        super().__init__(message)
        self.process = process


def num_processes() -> int:
    """Return the number of processes that work together; 1 unless they were started so."""
    return jax.process_count() if jax.distributed.is_initialized() else 1


def process_index() -> int:
    """Return the number of this process, from 0 on."""
    return jax.process_index() if jax.distributed.is_initialized() else LEADER


def is_leader() -> bool:
    """Return whether this process writes, prints and decides."""
    return process_index() == LEADER


def gather(value: Json) -> list[Json]:
    """Exchange a value that JSON can hold; return the values of all processes, in their order.

    Raises:
        SharedError: if a process tells an error instead.
        OSError: likewise, if it is of the operating system.
    """
    if num_processes() == 1:
        return [value]
    return _exchange({"value": value})


def lead(action: Callable[[], Json]) -> Json:
    """Run an action in process 0 alone, and return in all what it returns, which JSON can hold.

    Raises:
        SharedError: in all processes, if the action raises an InputError.
        OSError: in all processes, if the action does.
    """
    if num_processes() == 1:
        return action()
    message: dict[str, Json] = {"value": None}
    if is_leader():
        try:
            with _alone():
                message = {"value": action()}
        except InputError as error:
            message = {"error": str(error)}
        except OSError as error:
            message = _describe_os_error(error)
    return _exchange(message)[LEADER]


@contextmanager
def _alone() -> Iterator[None]:
    """Mark that process 0 does something alone, in which it must not exchange anything."""
    global _is_alone
    _is_alone = True
    try:
        yield
    finally:
        _is_alone = False


def fetch(tree: PyTree) -> PyTree:
    """Return a tree's arrays on the host, also those of which other processes have parts."""
    leaves, structure = jax.tree.flatten(tree)
    values = []
    for leaf in leaves:
        if getattr(leaf, "is_fully_addressable", True) or leaf.is_fully_replicated:
            values.append(jax.device_get(leaf))
        else:
            values.append(multihost_utils.process_allgather(leaf, tiled=True))
    return jax.tree.unflatten(structure, values)


def gather_arrays(arrays: Sequence[np.ndarray]) -> list[list[np.ndarray]]:
    """Exchange arrays; return those of all processes, in their order.

    Raises:
        SharedError: if a process tells an error instead.
    """
    if num_processes() == 1:
        return [list(arrays)]
    file = io.BytesIO()
    np.savez(file, *arrays)
    gather(None)  # raises an error that another process tells
    received = []
    for content in _exchange_bytes(file.getvalue()):
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            received.append([archive[name] for name in archive.files])
    return received


def divide_rows(
    num_rows: int, block: int, compute: Callable[[int, int], Sequence[np.ndarray]]
) -> list[np.ndarray]:
    """Compute rows of arrays, each process its share, and return all rows in all processes.

    Args:
        num_rows: of all processes together.
        block: rows that are computed at once; a share is made of whole blocks, so that every row
            is computed in the company in which one process would compute it.
        compute: (first row, row after the last) → arrays that lead with these rows.
    """
    if num_processes() == 1:
        return list(compute(0, num_rows))
    blocks_each = -(-num_rows // (block * num_processes()))
    rows_each = blocks_each * block
    start = min(process_index() * rows_each, num_rows)
    stop = min(start + rows_each, num_rows)
    mine: Sequence[np.ndarray] = []
    if start < stop:
        mine = compute(start, stop)
    shares = [share for share in gather_arrays(mine) if share]
    return [np.concatenate(parts) for parts in zip(*shares, strict=True)]


def divide_items(num_items: int, compute: Callable[[int], Result]) -> dict[int, Result]:
    """Compute this process's share of some items; return index → result.

    Args:
        num_items: of all processes together.
        compute: index of an item → its result.
    """
    return {item: compute(item) for item in range(process_index(), num_items, num_processes())}


def _describe_os_error(error: OSError) -> dict[str, Json]:
    return {"os_error": [error.errno, error.strerror or str(error)]}


def require_same(name: str, value: Json, remedy: str) -> None:
    """Refuse to go on if a value is not the same in all processes.

    Args:
        name: what it is, for the message.
        value: this process's.
        remedy: what the user can do.

    Raises:
        InputError: naming the first process that differs from process 0.
    """
    values = gather(value)
    for process, other in enumerate(values):
        if other != values[LEADER]:
            raise InputError(
                f"{name} must be the same in all processes, and process {process} of "
                f"{len(values)} has another ({other}) than process 0 ({values[LEADER]}): {remedy}."
            )


@contextmanager
def shared_errors() -> Iterator[None]:
    """Raise an error of this block in all processes, as soon as they listen.

    Raises:
        SharedError: for an InputError of any process.
    """
    try:
        yield
    except SharedError:
        raise
    except InputError as error:
        if num_processes() == 1:
            raise
        tell_error(error)
    except OSError as error:
        if num_processes() == 1 or is_communication_error(error):
            raise
        announce(str(error))
        _exchange(_describe_os_error(error))


def tell_error(error: InputError) -> None:
    """Tell the other processes an error, and raise it here and there.

    Processes that do not listen, or cannot end because of it, are ended; this one, too.

    Raises:
        SharedError: always; of the lowest process that has an error.
    """
    text = str(error)
    announce(text)
    _exchange({"error": text})


def _exchange(message: dict[str, Json]) -> list[Json]:
    """Send a message to all processes; return their values, or raise the first error."""
    texts = _exchange_bytes(json.dumps(message).encode())
    messages = [json.loads(text) for text in texts]
    for process, received in enumerate(messages):
        if "error" in received:
            raise SharedError(received["error"], process)
        if "os_error" in received:
            raise OSError(*received["os_error"])
    return [received["value"] for received in messages]


def _exchange_bytes(text: bytes) -> list[bytes]:
    """Exchange texts of any length.

    Other processes would take what process 0 sends alone for something else.

    The arrays must have one shape in all processes. Each shape is compiled, so there are few.
    """
    assert not _is_alone, "an exchange of all processes in what process 0 does alone"
    capacity = SHORT_BYTES - LENGTH_BYTES
    first = _exchange_padded(text[:capacity], len(text), SHORT_BYTES)
    lengths = [length for length, _ in first]
    texts = [part for _, part in first]
    longest = max(lengths)
    size = min(BLOCK_BYTES, 1 << longest.bit_length())
    for start in range(capacity, longest, size - LENGTH_BYTES):
        block = text[start : start + size - LENGTH_BYTES]
        for process, (_, part) in enumerate(_exchange_padded(block, len(text), size)):
            texts[process] += part
    return [part[:length] for part, length in zip(texts, lengths, strict=True)]


def _exchange_padded(text: bytes, length: int, size: int) -> list[tuple[int, bytes]]:
    """Exchange texts in arrays of `size` bytes, each behind its whole length."""
    sent = np.zeros(size, np.uint8)
    content = length.to_bytes(LENGTH_BYTES, "little") + text
    sent[: len(content)] = np.frombuffer(content, np.uint8)
    try:
        received = np.asarray(multihost_utils.process_allgather(sent))
    except Exception as error:  # of the transport, whose types differ between platforms
        if not is_communication_error(error):
            raise
        end_as_lost(error)
    parts = []
    for row in received.reshape(-1, size):
        row_length = int.from_bytes(row[:LENGTH_BYTES].tobytes(), "little")
        parts.append((row_length, row[LENGTH_BYTES:].tobytes()))
    return parts

"""Batches made as they are needed, ahead of the steps, by threads or worker processes (Grain)."""

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from l1jax.config import InputError
from l1jax.data.batches import SINGLE_HOST, Batch, Feed, Host, batch_indices
from l1jax.data.source import Source, take
from l1jax.processes.loss import print_native_output

THREADS = 4  # each makes a whole batch; more would only wait for the GIL
AHEAD = 8  # batches that are made before they are asked for
BLOCK = 4  # steps whose batches a worker process hands over at once, which costs as much as one


def streaming_feed(
    source: Source,
    seed: int,
    draws: int,
    batch_size: int,
    workers: int = 0,
    host: Host = SINGLE_HOST,
) -> Feed:
    """Make batches ahead of the steps; a chunk holds the images themselves.

    The batches are those of `resident_feed`, bit for bit, whoever makes them. Worker processes pay
    off for images that must be decoded. For other sources threads are faster, and they are used
    whatever `workers` says.

    Args:
        source: the examples; worker processes open it again.
        seed: seed of the order.
        draws: batches per step.
        batch_size: images per batch over all hosts.
        workers: number of processes that decode; 0 for threads.
        host: the host whose part of each batch is made.

    Raises:
        ValueError: if the hosts cannot share a batch evenly.
    """
    batch_indices(seed, 0, 1, draws, batch_size, source.length, host)  # checks the sizes
    if source.stamp is None or source.reopen is None:
        workers = 0
    order = _Order(seed, draws, batch_size, host, BLOCK if workers else 1)
    make_batches = _BatchMaker(source, order)
    next_step: int | None = None
    iterator: Iterator[Batch] | None = None
    batches: Iterator[Batch] | None = None

    def close() -> None:
        nonlocal next_step, iterator, batches
        if iterator is not None:
            iterator.close()  # pyright: ignore[reportAttributeAccessIssue] (of Grain's iterators)
        next_step = iterator = batches = None

    def chunk(first: int, steps: int) -> Batch:
        nonlocal next_step, iterator, batches
        if batches is None or next_step != first:
            close()
            iterator = _read_ahead(make_batches, first, workers)
            batches = _single_steps(iterator)
        try:
            parts = [next(batches) for _ in range(steps)]
        except RuntimeError as error:
            _explain_crash(error, workers)
            raise
        next_step = first + steps
        return jax.tree.map(lambda *leaves: np.stack(leaves), *parts)

    def make_batch(resident: PyTree, batch: Batch) -> Batch:
        return batch

    return Feed(np.zeros(()), make_batch, chunk, close)


class _Order(NamedTuple):
    """What determines which examples a batch holds."""

    seed: int
    draws: int
    batch_size: int
    host: Host
    steps: int
    """Steps whose batches are made at once."""


class _BatchMaker:
    """Makes the batches of some steps at once.

    Pickled to another process, it opens the source there again.
    """

    def __init__(self, source: Source, order: _Order) -> None:
        self.source = source
        self.order = order
        labels = source.labels
        if labels is None:
            labels = np.zeros(source.length, np.int32)
        self.labels = labels

    def __reduce__(self) -> tuple[Callable[..., "_BatchMaker"], tuple[object, ...]]:
        return _reopen, (self.source.reopen, self.source.fingerprint, self.order)

    def __call__(self, step: int) -> Batch:
        seed, draws, batch_size, host, steps = self.order
        index = batch_indices(seed, step, steps, draws, batch_size, self.source.length, host)
        images = take(self.source, index.ravel())
        images = images.reshape(*index.shape, *self.source.image_shape)
        return Batch(images, index, self.labels[index])


def _single_steps(blocks: Iterator[Batch]) -> Iterator[Batch]:
    for block in blocks:
        copy = jax.tree.map(np.array, block)  # a worker reuses the memory of its arrays
        yield from (Batch(*(leaf[i] for leaf in copy)) for i in range(len(copy.index)))


def _reopen(reopen: Callable[[], Source], fingerprint: str, order: _Order) -> _BatchMaker:
    source = reopen()
    if source.fingerprint != fingerprint:
        raise InputError(
            "the images changed while they were read: let them be, and run the same command again."
        )
    return _BatchMaker(source, order)


def _read_ahead(make_batches: _BatchMaker, first: int, processes: int) -> Iterator[Batch]:
    """Iterate over blocks of batches from a step on, made by threads or by processes."""
    import grain

    steps = grain.MapDataset.range(first, np.iinfo(np.int32).max, make_batches.order.steps)
    blocks = steps.map(make_batches)
    if not processes:
        in_threads = grain.ReadOptions(num_threads=THREADS, prefetch_buffer_size=AHEAD)
        return iter(blocks.to_iter_dataset(in_threads))
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()  # Grain reads them, and only absl's own programs parse them
    no_threads = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    options = grain.MultiprocessingOptions(
        num_workers=processes, per_worker_buffer_size=max(1, AHEAD // BLOCK // processes)
    )
    prefetched = blocks.to_iter_dataset(no_threads).mp_prefetch(
        options, worker_init_fn=_start_worker
    )
    return iter(prefetched)


def _explain_crash(error: RuntimeError, workers: int) -> None:
    """Say what happened if a worker process ended without an error of its own.

    Args:
        error: that Grain raised.
        workers: number of processes.

    Raises:
        InputError: if it did; after what it printed, if that is hidden.
    """
    found = re.search(r"terminated unexpectedly with exit code (-?\d+)", str(error))
    if not found:
        return
    status = int(found[1])
    reason = f"with exit status {status}"
    if status < 0:
        reason = f"by {signal.Signals(-status).name}"
    print_native_output()
    raise InputError(
        f"one of the processes that decode the data, `--workers` (={workers}), was ended {reason}: "
        "run the same command again; if it lacked memory, with fewer of them, or with 0 for "
        "threads."
    ) from error


def _start_worker(worker: int, workers: int) -> None:
    """Leave signals to the main process, and end when that ends, even by `kill -9`."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"):  # Windows has not all of them
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, args=(os.getppid(),), daemon=True).start()


def _exit_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)

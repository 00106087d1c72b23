"""Batches made as they are needed, ahead of the steps, by threads or worker processes (Grain)."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from l1jax.config import InputError
from l1jax.data.batches import ALONE, Batch, Feed, Host, batch_indices
from l1jax.data.source import Source, take

THREADS = 4  # each makes a batch of its own; more only wait for the GIL
AHEAD = 8  # batches that are made before they are asked for
BLOCK = 4  # steps whose batches a worker process hands over at once, which costs as much as for one


def streaming_feed(
    source: Source, seed: int, draws: int, batch_size: int, workers: int = 0, host: Host = ALONE
) -> Feed:
    """Make batches ahead of the steps; a chunk is the images themselves.

    The batches are those of `resident_feed`, bit for bit, whoever makes them. Worker processes pay for
    images that must be decoded; for others threads are used whatever `workers` says, for they are faster.

    Args:
        source: the examples; worker processes open it anew.
        seed: of the order.
        draws: batches per step.
        batch_size: images per batch over all hosts.
        workers: processes that decode; 0 for threads.
        host: which part of each batch is made here.

    Raises:
        ValueError: if the hosts cannot share a batch evenly.
    """
    batch_indices(seed, 0, 1, draws, batch_size, source.length, host)
    processes = workers if source.stamp is not None and source.reopen is not None else 0
    batches = _Batches(source, BLOCK if processes else 1, seed, draws, batch_size, host)
    reader: dict[str, Any] = {"step": None, "iterator": None, "steps": None}

    def close() -> None:
        if reader["iterator"] is not None:
            reader["iterator"].close()
        reader.update(step=None, iterator=None, steps=None)

    def chunk(first: int, steps: int) -> Batch:
        if reader["step"] != first:
            close()
            iterator = _read(batches, first, processes)
            reader.update(step=first, iterator=iterator, steps=_single_steps(iterator))
        parts = [next(reader["steps"]) for _ in range(steps)]
        reader["step"] = first + steps
        return jax.tree.map(lambda *leaves: np.stack(leaves), *parts)

    return Feed(np.zeros(()), lambda resident, batch: batch, chunk, close)


class _Batches:
    """The batches of some steps; in another process it opens the source again."""

    def __init__(self, source: Source, steps: int, *order: Any) -> None:
        self.source, self.steps, self.order = source, steps, order
        self.labels = np.zeros(source.length, np.int32) if source.labels is None else source.labels

    def __reduce__(self) -> tuple[Callable[..., "_Batches"], tuple[Any, ...]]:
        return _reopen, (self.source.reopen, self.source.fingerprint, self.steps, *self.order)

    def __call__(self, step: int) -> Batch:
        seed, draws, batch_size, host = self.order
        index = batch_indices(seed, step, self.steps, draws, batch_size, self.source.length, host)
        images = take(self.source, index.ravel())
        return Batch(
            images.reshape(*index.shape, *self.source.image_shape), index, self.labels[index]
        )


def _single_steps(blocks: Iterator[Batch]) -> Iterator[Batch]:
    for block in blocks:
        owned = jax.tree.map(np.array, block)  # a worker's arrays lie in memory that it takes back
        yield from (Batch(*(leaf[i] for leaf in owned)) for i in range(len(owned.index)))


def _reopen(reopen: Callable[[], Source], fingerprint: str, *order: Any) -> _Batches:
    source = reopen()
    if source.fingerprint != fingerprint:
        raise InputError(
            "the images changed while they were read: let them be, and run the same command again."
        )
    return _Batches(source, *order)


def _read(batches: _Batches, step: int, processes: int) -> Iterator[Batch]:
    import grain

    endless = grain.MapDataset.range(step, np.iinfo(np.int32).max, batches.steps).map(batches)
    if not processes:
        return iter(
            endless.to_iter_dataset(
                grain.ReadOptions(num_threads=THREADS, prefetch_buffer_size=AHEAD)
            )
        )
    from absl import flags

    if (
        not flags.FLAGS.is_parsed()
    ):  # the workers are handed these flags, which only absl's own programs parse
        flags.FLAGS.mark_as_parsed()
    alone = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    options = grain.MultiprocessingOptions(
        num_workers=processes, per_worker_buffer_size=max(1, AHEAD // BLOCK // processes)
    )
    return iter(endless.to_iter_dataset(alone).mp_prefetch(options, worker_init_fn=_begin_worker))


def _begin_worker(worker: int, workers: int) -> None:
    """Leave Ctrl-C to the main process, and end when it does, even by `kill -9`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)

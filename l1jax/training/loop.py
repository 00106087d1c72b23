"""The training loop: compiled chunks of steps, with a callback and a checkpoint between them."""

import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, TypeVar

import numpy as np
from jaxtyping import PyTree

from l1jax.processes.agreement import fetch, gather, num_processes
from l1jax.training.checkpoint import Checkpoints
from l1jax.training.patience import BestSoFar
from l1jax.training.state import Metrics, State

AnyState = TypeVar("AnyState", bound=State)
# A launcher sends a signal to every process, and each process may pass its copy on: in this time
# they are one request.
SAME_REQUEST_SECONDS = 2.0
_remembered_signals: list[int] | None = None  # see `remember_signals`


class ChunkProgram(NamedTuple):
    """How a chunk, several steps in one compiled call, is loaded and run.

    Attributes:
        length: number of steps so far → number of steps of the next chunk.
        load: (steps so far, number of steps) → the chunk's batches, on the devices. The loop
            calls it while the devices work on the chunk before.
        run: (state, chunk) → (state, metrics). It donates the state.
    """

    length: Callable[[int], int]
    load: Callable[[int, int], PyTree]
    run: Callable[[Any, PyTree], tuple[Any, Metrics]]


class ChunkResult(NamedTuple):
    """What the loop knows after a chunk.

    Attributes:
        step: number of steps so far, this chunk's included.
        num_steps: number of steps of this chunk.
        state: on the devices. The next chunk donates it, so a callback must not keep it.
        metrics: what the chunk returned, on the host.
        seconds_per_step: wall-clock time; None for the first chunk of its length, which includes
            compilation.
    """

    step: int
    num_steps: int
    state: Any
    metrics: dict[str, np.ndarray]
    seconds_per_step: float | None


class CheckpointRequest(NamedTuple):
    """Asks the loop to write a checkpoint of the state.

    Attributes:
        score: of the state; lower is better, infinite when unknown.
        stops: whether training ends with this checkpoint.
    """

    score: float
    stops: bool = False


class ChunkCallbacks(NamedTuple):
    """What happens between chunks.

    Attributes:
        on_chunk: called after each chunk, to report it. Returns a request if the loop is to write a
            checkpoint then, or None.
        score_when_stopped: state → score of the checkpoint that the loop writes when a signal
            stops it and `on_chunk` asked for none.
        best_so_far: () → the best score so far, which each checkpoint holds; None where scores
            choose nothing.
    """

    on_chunk: Callable[[ChunkResult], CheckpointRequest | None]
    score_when_stopped: Callable[[Any], float]
    best_so_far: Callable[[], BestSoFar | None] = lambda: None


class LoopEnd(NamedTuple):
    """How far the loop came: to its last step, or to where a callback or a signal stopped it."""

    step: int
    signal: int | None


def run_chunks(
    state: AnyState,
    last_step: int,
    program: ChunkProgram,
    callbacks: ChunkCallbacks,
    checkpoints: Checkpoints,
    say: Callable[[str], None],
) -> tuple[AnyState, LoopEnd]:
    """Run chunks from `state.step` to `last_step`, or until a callback or a signal stops them.

    Several processes call it together; a signal to one of them stops all after the same step.

    Args:
        state: on the devices; donated.
        last_step: number of steps at which the loop ends.
        program: the compiled steps and their batches.
        callbacks: what is reported and when a checkpoint is written.
        checkpoints: where the state is saved.
        say: called with the sentence that confirms a signal.

    Returns:
        The last state, saved if any step was run, and where the loop ended.

    Raises:
        InputError: if a checkpoint cannot be written.
    """

    def load_chunk(step: int) -> tuple[int, PyTree]:
        if step >= last_step:
            return 0, None
        num_steps = program.length(step)
        return num_steps, program.load(step, num_steps)

    step = int(state.step)
    saved_step = step
    compiled_lengths = set[int]()
    with stop_requests(say) as signals:
        num_steps, chunk = load_chunk(step)
        stop_signal = agree_on_signal(signals)
        while num_steps and not stop_signal:
            start_time = time.perf_counter()
            state, metrics = program.run(state, chunk)
            step += num_steps
            next_num_steps, chunk = load_chunk(step)  # while the devices work
            metrics = {name: np.asarray(value) for name, value in fetch(metrics).items()}
            seconds_per_step = None
            if num_steps in compiled_lengths:
                seconds_per_step = (time.perf_counter() - start_time) / num_steps
            compiled_lengths.add(num_steps)
            result = ChunkResult(step, num_steps, state, metrics, seconds_per_step)
            request = callbacks.on_chunk(result)
            if request is not None:
                checkpoints.save(step, state, request.score, callbacks.best_so_far())
                saved_step = step
                if request.stops:
                    break
            num_steps = next_num_steps
            stop_signal = agree_on_signal(signals)
        if step != saved_step:
            score = callbacks.score_when_stopped(state)
            checkpoints.save(step, state, score, callbacks.best_so_far())
        checkpoints.wait()
    return state, LoopEnd(step, stop_signal)


def agree_on_signal(signals: Sequence[int]) -> int | None:
    """Return the first signal of the lowest process that received one; the same in all."""
    received = [number for number in gather(next(iter(signals), None)) if number is not None]
    return next(iter(received), None)


@contextmanager
def remember_signals(say: Callable[[str], None]) -> Iterator[None]:
    """Remember signals that come while the loop does not run; it then stops at once.

    It is for several processes: without it, one of them would end at the signal, and the others
    would take it for lost.

    Args:
        say: called with one sentence at the first signal.
    """
    global _remembered_signals
    if num_processes() == 1:
        yield
        return
    with stop_requests(say) as received:
        _remembered_signals = received
        try:
            yield
        finally:
            _remembered_signals = None


@contextmanager
def stop_requests(say: Callable[[str], None]) -> Iterator[list[int]]:
    """Collect SIGINT, SIGTERM, SIGHUP and SIGUSR1 instead of letting them end the process.

    A second SIGINT or SIGTERM has its usual effect; with several processes, if it comes more than
    two seconds after the first. SIGHUP and SIGUSR1 are collected any number of times, because a
    terminal that closes sends several. If the parent process ignores SIGHUP, as nohup does, it
    stays ignored. SLURM can send SIGUSR1 before a time limit.

    Args:
        say: called with one sentence at the first signal.

    Yields:
        The signals received so far, those of `remember_signals` included; the list grows.
    """
    if _remembered_signals is not None:
        yield _remembered_signals
        return
    received: list[int] = []
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    replaced = dict(handlers)
    if hasattr(signal, "SIGHUP"):  # Windows has none
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            replaced[signal.SIGHUP] = signal.getsignal(signal.SIGHUP)
        replaced[signal.SIGUSR1] = signal.getsignal(signal.SIGUSR1)

    def restore(handlers: Mapping[Any, Any]) -> None:
        for number, handler in handlers.items():
            signal.signal(number, handler)

    first_time = math.inf  # of SIGINT or SIGTERM

    def receive(number: int, frame: object) -> None:
        nonlocal first_time
        is_first = not received
        received.append(number)
        if number in handlers:
            now = time.monotonic()
            is_repeated = now - first_time > SAME_REQUEST_SECONDS
            first_time = min(first_time, now)
            if num_processes() == 1 or is_repeated:
                restore(handlers)
            if is_repeated:
                signal.raise_signal(number)
        if is_first:
            with suppress(RuntimeError):  # the signal may arrive while a line is being printed
                say("stopping after the steps under way, then saving; once more to stop at once.")

    for number in replaced:
        signal.signal(number, receive)
    try:
        yield received
    finally:
        restore(replaced)

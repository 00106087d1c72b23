"""The chunk loop, the signals that stop it, and those that must not."""

import inspect
import os
import signal
from typing import NamedTuple

import numpy as np
import pytest

from l1jax.training.loop import (
    CheckpointRequest,
    ChunkCallbacks,
    ChunkProgram,
    run_chunks,
    stop_requests,
)


@pytest.fixture(autouse=True)
def handlers():
    """Known handlers, and those from before afterwards."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def send(*numbers):
    for number in numbers:
        os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_collected_and_told_once(number):
    said, dying = [], []
    for own in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(own, lambda got, _: dying.append(got))
    with stop_requests(said.append) as requests:
        send(number)
        assert requests == [number]
        assert dying == []
    assert len(said) == 1
    send(number)
    assert dying == [number]  # afterwards everything is as before


def test_a_second_stop_is_not_caught_but_a_closing_terminal_sends_several_hangups():
    said, dying = [], []
    for own in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(own, lambda got, _: dying.append(got))
    with stop_requests(said.append) as requests:
        send(signal.SIGHUP, signal.SIGHUP, signal.SIGTERM, signal.SIGHUP)
        assert dying == []
        send(signal.SIGTERM)
        assert dying == [signal.SIGTERM]
    assert requests[0] == signal.SIGHUP
    assert len(said) == 1


def test_an_ignored_hangup_stays_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    with stop_requests(print) as requests:
        send(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    assert requests == []
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_a_signal_in_the_middle_of_a_line_is_collected():
    def say(text):
        raise RuntimeError("reentrant call inside <_io.BufferedWriter name='<stdout>'>")

    signal.signal(signal.SIGTERM, lambda *_: None)
    with stop_requests(say) as requests:
        send(signal.SIGTERM)
    assert requests == [signal.SIGTERM]


class Counting(NamedTuple):
    """The state of a program that adds the numbers of its chunks."""

    step: int
    total: int


class Saved:
    """Checkpoints that only remember what they are given."""

    def __init__(self):
        self.saves = []
        self.waited = False

    def save(self, step, state, score, best=None):
        self.saves.append((step, state.total, score))

    def wait(self):
        self.waited = True


def count(last_step, on_chunk):
    """Run chunks of 3 steps, each of which adds its first step; save as the callback says."""
    program = ChunkProgram(
        length=lambda step: min(3, last_step - step),
        load=lambda first, num_steps: (first, num_steps),
        run=lambda state, chunk: (
            Counting(state.step + chunk[1], state.total + chunk[0]),
            {"first": np.asarray(chunk[0])},
        ),
    )
    checkpoints = Saved()
    callbacks = ChunkCallbacks(on_chunk, score_when_stopped=lambda state: -1.0)
    # The types of the state and the checkpoints are training's, so the check of types is left out.
    loop = inspect.unwrap(run_chunks)
    state, end = loop(Counting(1, 0), last_step, program, callbacks, checkpoints, print)
    assert checkpoints.waited
    return state, end, checkpoints.saves


def test_the_loop_runs_chunks_to_the_last_step_and_saves_when_asked():
    results = []

    def on_chunk(result):
        results.append(result)
        return CheckpointRequest(float(result.step)) if result.step in (4, 9) else None

    state, end, saves = count(9, on_chunk)
    assert state == Counting(9, 1 + 4 + 7)
    assert end == (9, None)
    assert saves == [(4, 1, 4.0), (9, 12, 9.0)]
    assert [(r.step, r.num_steps, int(r.metrics["first"])) for r in results] == [
        (4, 3, 1), (7, 3, 4), (9, 2, 7)
    ]  # fmt: skip
    # Only the second chunk of three steps is timed: the first of each length is compiled.
    assert [r.seconds_per_step is None for r in results] == [True, False, True]


def test_a_request_that_stops_is_saved_and_ends_the_loop():
    _, end, saves = count(9, lambda result: CheckpointRequest(2.0, stops=result.step == 7))
    assert end == (7, None)
    assert saves == [(4, 1, 2.0), (7, 5, 2.0)]


def test_a_signal_ends_the_loop_after_the_chunk_and_the_state_is_saved():
    signal.signal(signal.SIGTERM, lambda *_: None)

    def on_chunk(result):
        if result.step == 7:
            send(signal.SIGTERM)

    state, end, saves = count(30, on_chunk)
    assert end == (7, signal.SIGTERM)
    assert saves == [(7, state.total, -1.0)]


def test_a_loop_that_is_at_its_end_runs_and_saves_nothing():
    state, end, saves = count(1, lambda result: CheckpointRequest(0.0))
    assert (state, end, saves) == (Counting(1, 0), (1, None), [])

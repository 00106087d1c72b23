"""Signals that stop a run, and those that must not."""

import os
import signal

import pytest

from l1jax.training.loop import stop_requests


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

"""An error that is kept by the coordination service ends all processes, and is printed once."""

import threading

import pytest

from l1jax.processes import announced_errors


class Service:
    """Stands for the coordination service's client."""

    def __init__(self):
        self.values = {}

    def key_value_set(self, key, value):
        if key in self.values:
            raise RuntimeError("ALREADY_EXISTS")
        self.values[key] = value

    def key_value_try_get(self, key):
        if key not in self.values:
            raise RuntimeError("NOT_FOUND")
        return self.values[key]


@pytest.fixture
def ended(monkeypatch):
    """Where this process "ends", with its status, after no seconds instead of some."""
    statuses = []
    is_over = threading.Event()

    def end(status):
        statuses.append(status)
        is_over.set()

    monkeypatch.setattr(announced_errors.os, "_exit", end)
    monkeypatch.setattr(announced_errors, "SECONDS_TO_END", 0.0)
    monkeypatch.setattr(announced_errors, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(announced_errors, "_is_printed", threading.Event())
    monkeypatch.setattr(announced_errors, "_listener", None)

    def wait():
        assert is_over.wait(timeout=20)
        return statuses

    return wait


def listen(monkeypatch, service, index, count=2):
    monkeypatch.setattr(announced_errors.distributed.global_state, "client", service)
    announced_errors.listen(index, count)


@pytest.mark.parametrize(
    ("index", "told_by", "said"),
    [(0, 0, "error: no space\n"), (0, 1, "error: process 1 of 2: no space\n"), (1, 0, "")],
)
def test_process_0_prints_what_another_one_told(monkeypatch, ended, capfd, index, told_by, said):
    service = Service()
    listen(monkeypatch, service, index)
    service.key_value_set(announced_errors.KEY, f'[{told_by}, "no space"]')
    assert ended() == [2]
    assert capfd.readouterr().err == said


def test_the_process_with_the_error_ends_too_and_the_first_error_is_kept(monkeypatch, ended, capfd):
    service = Service()
    service.key_value_set(announced_errors.KEY, '[0, "first"]')
    listen(monkeypatch, service, 1, count=1)  # it does not look
    announced_errors.announce("second")
    assert ended() == [2]
    assert service.values == {announced_errors.KEY: '[0, "first"]'}
    assert capfd.readouterr().err == ""


def test_what_was_printed_is_not_printed_again(monkeypatch, ended, capfd):
    listen(monkeypatch, Service(), 0, count=1)
    announced_errors.mark_as_printed()
    announced_errors.announce("no space")
    assert ended() == [2]
    assert capfd.readouterr().err == ""


def test_one_process_announces_nothing(monkeypatch):
    monkeypatch.setattr(announced_errors, "_listener", None)
    announced_errors.announce("no space")  # would end the process

"""An error that is kept by the coordination service ends all processes, and is printed once."""

import threading

import pytest

from l1jax.processes import announced_errors


@pytest.fixture
def kept(monkeypatch):
    """Stands for the coordination service: name → text."""
    texts = {}

    def keep(name, text):
        if name in texts:
            raise RuntimeError("ALREADY_EXISTS")
        texts[name] = text

    monkeypatch.setattr(announced_errors, "keep", keep)
    monkeypatch.setattr(announced_errors, "look_up", lambda name: texts[name])
    return texts


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
    monkeypatch.setattr(announced_errors, "SECONDS_TO_HEAR", 0.0)
    monkeypatch.setattr(announced_errors, "_is_told", threading.Event())
    monkeypatch.setattr(announced_errors, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(announced_errors, "_is_printed", threading.Event())
    monkeypatch.setattr(announced_errors, "_listener", None)

    def wait():
        assert is_over.wait(timeout=20)
        return statuses

    return wait


@pytest.mark.parametrize(
    ("index", "told_by", "said"),
    [(0, 0, "error: no space\n"), (0, 1, "error: process 1 of 2: no space\n"), (1, 0, "")],
)
def test_process_0_prints_what_another_one_told(kept, ended, capfd, index, told_by, said):
    announced_errors.listen(index, 2)
    kept[announced_errors.NAME] = f'[{told_by}, "no space"]'
    assert ended() == [2]
    assert capfd.readouterr().err == said


def test_the_process_with_the_error_ends_too_and_the_first_error_is_kept(kept, ended, capfd):
    kept[announced_errors.NAME] = '[0, "first"]'
    announced_errors.listen(1, 1)  # one process does not look
    announced_errors.announce("second")
    assert ended() == [2]
    assert kept == {announced_errors.NAME: '[0, "first"]'}
    assert capfd.readouterr().err == ""


def test_what_was_printed_is_not_printed_again(kept, ended, capfd):
    announced_errors.listen(0, 1)
    announced_errors.mark_as_printed()
    announced_errors.announce("no space")
    assert ended() == [2]
    assert capfd.readouterr().err == ""


def test_one_process_announces_nothing(monkeypatch):
    monkeypatch.setattr(announced_errors, "_listener", None)
    announced_errors.announce("no space")  # would end the process

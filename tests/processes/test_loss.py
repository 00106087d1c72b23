"""Who is gone, read from what JAX's coordination service says in JAX 0.10.2."""

import tempfile
import threading

import pytest

from l1jax.processes import loss

CASES = {
    # Of process 0, when process 1 of 2 was killed.
    "a worker": (
        "Use error polling to propagate the following error to all tasks: UNAVAILABLE: The "
        "following tasks are unhealthy (stopped sending heartbeats):\n1\nThe tasks have crashed. "
        "Check the task logs for an earlier error, or scheduler events to debug further.",
        {1},
    ),
    "two workers": ("tasks are unhealthy (stopped sending heartbeats):\n2\n11\nThe tasks", {2, 11}),
    # Of process 1, when process 0 was killed, whose service ends with it.
    "the leader": (
        "UNAVAILABLE: Failed to send RPC to coordination service. Either the leader task was "
        "preempted/died/restarted unexpectedly or this task is experiencing network issues.",
        {0},
    ),
    # Of process 0, when process 1 was killed and started again at once.
    "a newcomer": (
        "Polled an error: ABORTED: 1 unexpectedly tried to connect with a different incarnation. "
        "It has likely restarted.",
        {1},
    ),
    "something else": ("F0000 Check failed: x > 0", None),
    "nothing": ("", None),
}


@pytest.mark.parametrize("name", CASES)
def test_the_service_names_who_is_gone(name):
    text, gone = CASES[name]
    assert loss._find_gone(text) == gone


@pytest.mark.parametrize(
    ("text", "words"),
    [
        # Of the first of two processes with one number.
        (
            "absl::Status: ALREADY_EXISTS: Aborted connect attempt as there is a request from a "
            "newer incarnation.",
            "give each its own --process",
        ),
        ("absl::Status: DEADLINE_EXCEEDED: Deadline Exceeded", "nobody came"),
    ],
)
def test_why_the_processes_did_not_connect(monkeypatch, capfd, text, words):
    def end(status):
        raise SystemExit(status)

    monkeypatch.setattr(loss.os, "_exit", end)
    monkeypatch.setattr(loss, "_read_native_output", lambda: text)
    monkeypatch.setattr(loss, "_watch", loss._Watch(None, None, "nobody came"))
    with pytest.raises(SystemExit, match="2"):
        loss._answer_abort(6)
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert words in line


@pytest.mark.parametrize(("later", "status"), [("a worker", loss.STATUS), ("something else", 134)])
def test_an_abort_of_the_transport_waits_for_the_service(monkeypatch, capfd, later, status):
    said = [
        "terminate called after throwing an instance of 'gloo::EnforceNotMet'\n  what(): [enforce "
        "fail at external/gloo/gloo/transport/tcp/pair.cc:446] op.preamble.length <= op.nbytes. 8 "
        "vs 4. Received data size doesn't match expected size. Is there a distributed collective "
        "mismatch in your code?"
    ]

    def end(status):
        raise SystemExit(status)

    monkeypatch.setattr(loss.os, "_exit", end)
    monkeypatch.setattr(loss.time, "sleep", lambda _: said.append(CASES[later][0]))
    monkeypatch.setattr(loss, "_read_native_output", lambda: "\n".join(said))
    monkeypatch.setattr(loss, "_is_ending", threading.Lock())
    with tempfile.TemporaryFile() as native_output:
        watch = loss._Watch(native_output, None, "nobody came", 0, 2)
        monkeypatch.setattr(loss, "_watch", watch)
        with pytest.raises(SystemExit, match=str(status)):
            loss._answer_abort(6)
    error = capfd.readouterr().err
    assert ("error: process 1 of 2 is gone: " in error) == (later == "a worker")
    assert ("Received data size" in error) == (later == "something else")


def test_a_process_that_ends_with_an_error_says_no_more(monkeypatch, capfd):
    """Process 0, whose service ends with it, has printed the error."""

    def end(status):
        raise SystemExit(status)

    monkeypatch.setattr(loss.os, "_exit", end)
    monkeypatch.setattr(loss, "_watch", loss._Watch(None, None, "nobody came", 1, 2))
    monkeypatch.setattr(loss.announced_errors, "is_told", lambda: True)
    with pytest.raises(SystemExit, match="2"):
        loss._answer_abort(6)
    assert capfd.readouterr().err == ""


def test_the_remedy_of_a_block_lasts_as_long_as_the_block():
    before = loss._remedy  # an error in another test may have kept one
    with loss.remedy_for_loss(lambda: "start again from step 7"):
        assert loss._remedy() == "start again from step 7"
    assert loss._remedy is before


def test_an_error_in_the_block_keeps_its_remedy(monkeypatch):
    monkeypatch.setattr(loss, "_remedy", loss._remedy)
    with pytest.raises(ValueError, match="lost"), loss.remedy_for_loss(lambda: "from step 7"):
        raise ValueError("connection lost")
    assert loss._remedy() == "from step 7"


def test_one_process_takes_no_error_for_a_loss():
    assert not loss.is_communication_error(RuntimeError("Gloo: connection closed"))
    loss.end_at_once_if_shared(RuntimeError("Gloo: connection closed"))  # would end the process

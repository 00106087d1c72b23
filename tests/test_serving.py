"""A page is announced once it answers, however long a busy machine takes.

If it does not answer, one sentence says so.
"""

import contextlib
import http.server
import socket
import threading
import time

import pytest

from l1jax.config import InputError
from l1jax.serving import address_of, listen, wait_for_answer


class Answer(http.server.BaseHTTPRequestHandler):
    """Hangs up on the first calls, then says that it is not ready, then answers."""

    calls = 0

    def do_GET(self):
        type(self).calls += 1
        if self.calls < 3:
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response(503 if self.calls == 3 else 200)
        self.end_headers()

    def log_message(self, *arguments):
        """Say nothing."""


@contextlib.contextmanager
def serving(listening, delay):
    """A server of that socket, which begins to answer after a while."""
    server = http.server.HTTPServer(listening.getsockname()[:2], Answer, bind_and_activate=False)
    server.socket.close()
    server.socket = listening

    def serve():
        time.sleep(delay)
        server.serve_forever(poll_interval=0.01)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield thread
    server.shutdown()
    thread.join()


def test_a_slow_server_is_waited_for_and_no_proxy_asked(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with listen("127.0.0.1", 0) as listening, serving(listening, delay=0.3) as thread:
        wait_for_answer(listening, thread.is_alive, patience=30)
    assert Answer.calls == 4


def test_what_does_not_answer_is_told():
    with listen("127.0.0.1", 0) as listening:
        address = address_of(listening)
        with pytest.raises(InputError) as caught:
            wait_for_answer(listening, lambda: True, patience=0.2)
    said = str(caught.value)
    assert said.startswith(
        f"The page at {address} could not be reached from this machine itself within 0.2 seconds"
    )
    assert said.endswith(".")


def test_a_server_that_stops_is_told_at_once():
    with (
        listen("127.0.0.1", 0) as listening,
        pytest.raises(InputError, match="stopped as it started"),
    ):
        wait_for_answer(listening, lambda: False, patience=60)


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1"])
def test_the_address_is_one_to_open_here(host):
    with listen(host, 0) as listening:
        assert address_of(listening) == f"http://127.0.0.1:{listening.getsockname()[1]}/"


def test_a_port_that_is_taken_and_a_host_that_is_not_here_are_refused():
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            InputError,
            match=rf"`--port` \(={port}\) of `--host` .* cannot be listened on \(Address",
        ):
            listen("127.0.0.1", port)
    with pytest.raises(InputError, match=r"`--host` \(=192\.0\.2\.1\) cannot be listened on"):
        listen("192.0.2.1", 0)

"""A page on an address of this machine.

It is announced once it answers, and served until it is stopped.
"""

import http.client
import importlib
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from l1jax.config import InputError

PATIENCE = 120.0  # seconds that a busy machine has to give its first answer
PAUSE = 0.1  # seconds between two tries


def listen(host: str, port: int) -> socket.socket:
    """Open a socket that listens at once.

    Nobody else can take the port before the server starts.

    Args:
        host: name or address of this machine.
        port: 0 for any that is free.

    Raises:
        InputError: if that cannot be listened on.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        return socket.create_server(address, family=family)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(
            f"`--port` (={port}) of `--host` (={host}) cannot be listened on ({why}): choose "
            "another, 0 for any port that is free."
        ) from error


def serve_page(
    gradio: Any, page: Any, listening: socket.socket, say: Callable[[str], None]
) -> None:
    """Serve a page of gradio until Ctrl-C.

    Args:
        gradio: the module.
        page: its blocks.
        listening: where.
        say: told the address once it answers.

    Raises:
        InputError: if the server does not start, or does not answer.
    """
    fastapi = importlib.import_module("fastapi")  # both come with gradio
    uvicorn = importlib.import_module("uvicorn")
    app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app = gradio.mount_gradio_app(app, page, path="/", ssr_mode=False)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    failures: list[BaseException] = []

    def serve() -> None:
        try:
            server.run(sockets=[listening])
        except BaseException as error:  # SystemExit too: it is told by the main thread
            failures.append(error)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        wait_for_answer(listening, thread.is_alive, PATIENCE)
        say(f"the page: {address_of(listening)} (Ctrl-C stops it)")
        while thread.is_alive():
            thread.join(0.5)
    except KeyboardInterrupt:
        say("stopped.")
    except InputError as error:
        why = f" ({failures[0]!r})" if failures else ""
        raise InputError(f"{str(error).rstrip('.')}{why}.") from error
    finally:
        server.should_exit = True
        thread.join(5)


def wait_for_answer(listening: socket.socket, alive: Callable[[], bool], patience: float) -> None:
    """Ask a server for its page until it gives it; proxies are not asked, for the server is here.

    Args:
        listening: the server's socket.
        alive: whether the server still runs.
        patience: seconds.

    Raises:
        InputError: if it has stopped, or has not answered in that time.
    """
    deadline = time.monotonic() + patience
    host, port = _reached_at(listening)
    said = "no answer"
    while (left := deadline - time.monotonic()) > 0:
        if not alive():
            raise InputError(
                f"The server of the page at {address_of(listening)} stopped as it started."
            )
        connection = http.client.HTTPConnection(host, port, timeout=left)
        try:
            connection.request("GET", "/")
            status = connection.getresponse().status
            if status < 400:
                return
            said = f"status {status}"
        except (OSError, http.client.HTTPException) as error:
            said = str(error) or type(error).__name__
        finally:
            connection.close()
        time.sleep(PAUSE)
    raise InputError(
        f"The page at {address_of(listening)} could not be reached from this machine itself "
        f"within {patience:g} seconds ({said}): try again when the machine is less busy, or give "
        "another --host."
    )


def address_of(listening: socket.socket) -> str:
    """Return the address to open in a browser on this machine."""
    host, port = _reached_at(listening)
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def _reached_at(listening: socket.socket) -> tuple[str, int]:
    """Host and port; what listens on all addresses is reached at this machine's own."""
    name = listening.getsockname()
    host = str(name[0])
    own = {"0.0.0.0": "127.0.0.1", "::": "::1"}
    return own.get(host, host), int(name[1])

"""A Hugging Face Hub on this machine, for one model of several commits."""

import hashlib
import importlib
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class LocalHub:
    """What the server gives; tests change it while it runs.

    commits: commit → file name → content.
    revisions: branch or tag → commit.
    requested: names of the files that were asked for.
    closed: status and headers of every answer instead; None for those of the model.
    on_sent: called with the name of a file after it was sent.
    delay: seconds before each answer.
    """

    def __init__(self, name, commits, revisions):
        self.name = name
        self.commits = commits
        self.revisions = revisions
        self.requested = set()
        self.closed = None
        self.on_sent = lambda file: None
        self.delay = 0
        self.stopped = threading.Event()

    def find(self, path):
        """The answer to a path: a status, headers and a body."""
        if path.startswith("/api/"):  # which the client asks about itself
            return 404, {}, b""
        owner, name, _, revision, *file = path.strip("/").split("/")
        file = "/".join(file)
        self.requested.add(file)
        if self.closed is not None:
            return *self.closed, b""
        commit = self.revisions.get(revision, revision)
        if f"{owner}/{name}" != self.name:
            return 404, {"X-Error-Code": "RepoNotFound"}, b""
        if commit not in self.commits:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        if file not in self.commits[commit]:
            return 404, {"X-Error-Code": "EntryNotFound"}, b""
        body = self.commits[commit][file]
        tag = hashlib.sha1(body).hexdigest()
        return 200, {"ETag": f'"{tag}"', "X-Repo-Commit": commit}, body


@contextmanager
def serve(hub):
    """Run the server; the block gets its address and a function that stops it."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.answer(with_body=False)

        def do_GET(self):
            self.answer(with_body=True)

        def answer(self, with_body):
            hub.stopped.wait(hub.delay)
            status, headers, body = hub.find(self.path)
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(key, value)
            self.end_headers()
            if with_body:
                self.wfile.write(body)
            if with_body and status == 200:
                hub.on_sent(self.path.rpartition("/")[2])

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def stop():
        hub.stopped.set()
        server.shutdown()
        server.server_close()

    try:
        yield f"http://127.0.0.1:{server.server_port}", stop
    finally:
        stop()


def use(monkeypatch, address, cache):
    """Make the Hub's client ask a server, as HF_ENDPOINT does when the package is imported."""
    constants = importlib.import_module("huggingface_hub.constants")
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))

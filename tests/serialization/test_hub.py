"""Uploads with a client that keeps what it is told, downloads from a server in this process."""

import importlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from absent import hide

from l1jax.config import InputError
from l1jax.extras import MissingExtraError
from l1jax.serialization import hub
from l1jax.serialization.hub import check_repository, download, open_hub, upload


class Client:
    """Remembers calls, as `HfApi` takes them."""

    def __init__(self, error=None):
        self.calls, self.error = [], error

    def create_repo(self, **arguments):
        if self.error:
            raise self.error
        self.calls.append(("create_repo", arguments))
        return "https://hub.example/me/digits"

    def upload_folder(self, **arguments):
        self.calls.append(("upload_folder", arguments))


@pytest.mark.parametrize("public", [False, True])
def test_the_folder_goes_to_the_repository(tmp_path, public):
    client = Client()
    assert upload(client, tmp_path, "me/digits", public=public) == "https://hub.example/me/digits"
    (_, made), (_, sent) = client.calls
    assert made == {
        "repo_id": "me/digits",
        "repo_type": "model",
        "private": not public,
        "exist_ok": True,
    }
    assert (sent["repo_id"], sent["folder_path"], sent["repo_type"]) == (
        "me/digits",
        tmp_path,
        "model",
    )


def test_the_real_client_takes_these_arguments():
    api = importlib.import_module("huggingface_hub").HfApi
    from inspect import signature

    assert {"repo_id", "repo_type", "private", "exist_ok"} <= set(
        signature(api.create_repo).parameters
    )
    wanted = {"repo_id", "repo_type", "folder_path", "commit_message"}
    assert wanted <= set(signature(api.upload_folder).parameters)


def test_what_the_hub_refuses_is_told(tmp_path):
    with pytest.raises(
        InputError, match=r"`--upload` \(=me/digits\) did not succeed: 403 Forbidden\.$"
    ):
        upload(Client(RuntimeError("403 Forbidden.\n\nmore")), tmp_path, "me/digits", public=False)
    with pytest.raises(InputError, match=r"did not succeed: TimeoutError\.$"):
        upload(Client(TimeoutError()), tmp_path, "me/digits", public=False)


@pytest.mark.parametrize(
    "name", ["digits", "me/", "/digits", "me/digits/x", "../x", "me/dig its", "", "me/ä"]
)
def test_a_repository_is_owner_and_name(name):
    with pytest.raises(InputError, match="must be owner/name"):
        check_repository(name)


def test_only_who_is_logged_in_uploads(monkeypatch):
    module = SimpleNamespace(get_token=lambda: None, HfApi=lambda library_name: Client())
    monkeypatch.setattr(hub.importlib, "import_module", lambda name: module)
    with pytest.raises(InputError, match="needs you to be logged in to the Hub: run hf auth login"):
        open_hub()
    module.get_token = lambda: "a token that is never looked at"
    assert isinstance(open_hub(), Client)


def test_a_missing_package_is_told(monkeypatch):
    hide(monkeypatch, "huggingface_hub")
    with pytest.raises(
        MissingExtraError, match=r"needs the package huggingface_hub, .* 'l1jax\[hub\]'"
    ):
        open_hub()


COMMITS = {"main": "a" * 40, "v1": "b" * 40}
FILES = {"config.json": b"{}", "model.safetensors": b"weights"}


class Hub(BaseHTTPRequestHandler):
    """Answers as the Hub does for one model, `me/digits`, with two revisions."""

    def do_HEAD(self):
        self.answer(with_body=False)

    def do_GET(self):
        self.answer(with_body=True)

    def answer(self, with_body):
        owner, name, _, revision, file = self.path.strip("/").split("/")
        commit = COMMITS.get(revision, revision)
        if f"{owner}/{name}" != "me/digits":
            return self.refuse("RepoNotFound")
        if commit not in COMMITS.values():
            return self.refuse("RevisionNotFound")
        if file not in FILES:
            return self.refuse("EntryNotFound")
        body = FILES[file] + commit.encode()
        headers = {"ETag": f'"{file}-{commit}"', "X-Repo-Commit": commit}
        self.send_response(200)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)
        return None

    def refuse(self, code):
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A Hub on this machine, and an empty cache."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    client = importlib.import_module("huggingface_hub")
    address = f"http://127.0.0.1:{server.server_port}"

    def from_here(repository, name, **arguments):
        where = {"endpoint": address, "cache_dir": tmp_path / "cache"}
        return original(repository, name, **where, **arguments)

    original = client.hf_hub_download
    monkeypatch.setattr(client, "hf_hub_download", from_here)
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.slow  # the client asks again for 20 seconds
def test_a_model_is_downloaded_at_its_commit_and_found_again_without_a_network(server):
    names = list(FILES)
    folder, commit = download("me/digits", None, names)
    assert commit == COMMITS["main"]
    assert (folder / "model.safetensors").read_bytes() == b"weights" + b"a" * 40
    folder, commit = download("me/digits", "v1", names)
    assert commit == COMMITS["v1"]
    assert (folder / "model.safetensors").read_bytes() == b"weights" + b"b" * 40
    server.shutdown()
    server.server_close()
    assert download("me/digits", None, names).commit == COMMITS["main"]
    with pytest.raises(InputError, match=r"cannot be reached for the model me/other"):
        download("me/other", None, names)


@pytest.mark.parametrize(
    ("repository", "revision", "names", "words"),
    [
        ("me/letters", None, ["config.json"], "the Hub has no model me/letters, or it is private"),
        ("me/digits", "v9", ["config.json"], "the Hub has no revision 'v9' of the model me/digits"),
        (
            "me/digits",
            None,
            ["config.json", "x.bin"],
            "me/digits on the Hub lacks one of",
        ),
    ],
)
def test_what_the_hub_does_not_have_is_told(server, repository, revision, names, words):
    with pytest.raises(InputError, match=words) as error:
        download(repository, revision, names)
    assert "\n" not in str(error.value)

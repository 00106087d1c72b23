"""Uploads with a client that keeps what it is told, downloads from a server in this process."""

import importlib
import time
from types import SimpleNamespace

import pytest
from absent import hide
from local_hub import LocalHub, serve, use

from l1jax.config import InputError
from l1jax.extras import MissingExtraError
from l1jax.serialization import hub
from l1jax.serialization.hub import check_repository, download, open_hub, upload
from l1jax.serialization.trained_source import find_source
from l1jax.training.origin_request import Request


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
    assert sent["ignore_patterns"] == ["evaluation.json"]  # which names paths of this machine


def test_the_real_client_takes_these_arguments():
    api = importlib.import_module("huggingface_hub").HfApi
    from inspect import signature

    assert {"repo_id", "repo_type", "private", "exist_ok"} <= set(
        signature(api.create_repo).parameters
    )
    wanted = {"repo_id", "repo_type", "folder_path", "commit_message", "ignore_patterns"}
    assert wanted <= set(signature(api.upload_folder).parameters)


def test_what_the_hub_refuses_is_told(tmp_path):
    with pytest.raises(
        InputError, match=r"`--upload` \(=me/digits\) did not succeed: 403 Forbidden\.$"
    ):
        upload(Client(RuntimeError("403 Forbidden.\n\nmore")), tmp_path, "me/digits", public=False)
    with pytest.raises(InputError, match=r"did not succeed: TimeoutError\.$"):
        upload(Client(TimeoutError()), tmp_path, "me/digits", public=False)


WRONG_NAMES = ["digits", "me/", "/digits", "me/digits/x", "../x", "me/dig its", "", "me/ä"]
WRONG_NAMES += ["me/-x", "me/x.", "me/a--b", "me/a..b", "me/x.git", "me/" + "x" * 94]


@pytest.mark.parametrize("name", WRONG_NAMES)
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
FILES = ("config.json", "model.safetensors")


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A Hub on this machine, and an empty cache."""
    commits = {
        commit: {name: f"{name} of {commit}".encode() for name in FILES}
        for commit in COMMITS.values()
    }
    hub = LocalHub("me/digits", commits, dict(COMMITS))
    with serve(hub) as (address, stop):
        hub.stop = stop
        hub.address = address
        use(monkeypatch, address, tmp_path / "cache")
        yield hub


def test_a_model_is_downloaded_at_its_commit_and_found_again_without_a_network(server):
    for revision, wanted in ((None, COMMITS["main"]), ("v1", COMMITS["v1"])):
        folder, commit = download("me/digits", revision, FILES)
        assert commit == wanted
        for name in FILES:
            assert (folder / name).read_text() == f"{name} of {wanted}"
    server.requested.clear()
    assert download("me/digits", COMMITS["v1"], FILES).commit == COMMITS["v1"]
    assert not server.requested  # a commit never changes
    server.stop()
    assert download("me/digits", None, FILES).commit == COMMITS["main"]
    assert download("me/digits", "v1", FILES).commit == COMMITS["v1"]


def refusal(*arguments):
    """The one sentence that refuses a download."""
    with pytest.raises(InputError) as error:
        download(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


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
    assert words in refusal(repository, revision, names)


@pytest.mark.parametrize(
    ("status", "headers", "words"),
    [
        (401, {"X-Error-Code": "GatedRepo"}, "is not open to all: ask its owner for access"),
        (403, {"X-Error-Code": "GatedRepo"}, "is not open to all: ask its owner for access"),
        (401, {}, "hf auth login"),
        (403, {}, "does not let you read the model me/digits (status 403): run hf auth login"),
    ],
)
def test_a_model_that_is_not_for_all_is_told(server, status, headers, words):
    server.closed = (status, headers)
    assert words in refusal("me/digits", None, FILES)


@pytest.mark.parametrize("trouble", ["stopped", "slow", "overloaded"])
def test_without_an_answer_it_says_at_once_what_was_tried(server, trouble, monkeypatch, tmp_path):
    if trouble == "stopped":
        server.stop()
    if trouble == "slow":
        monkeypatch.setattr(hub, "SECONDS_TO_ANSWER", 0.2)
        server.delay = 60
    if trouble == "overloaded":
        server.closed = (503, {})
    begun = time.monotonic()
    sentence = refusal("me/digits", None, FILES)
    assert time.monotonic() - begun < 5
    assert sentence.startswith(f"the Hub at {server.address} did not answer (")
    assert f"the model me/digits is not in the cache {tmp_path / 'cache'}: load it" in sentence
    assert "HF_HUB_OFFLINE=1" in sentence


def test_offline_nothing_is_asked(server, monkeypatch):
    constants = importlib.import_module("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set, and the model me/digits" in refusal("me/digits", None, FILES)
    assert not server.requested


@pytest.mark.parametrize("missing", ["second", "none"])
def test_a_commit_that_is_cached_in_part_is_completed(server, missing):
    names = FILES[:1] if missing == "second" else FILES
    download("me/digits", COMMITS["v1"], names)
    folder, _ = download("me/digits", COMMITS["v1"], FILES)
    assert (folder / "model.safetensors").exists()


def test_a_run_begins_from_one_commit(server, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    server.on_sent = lambda file: server.revisions.update(main=COMMITS["v1"])  # after the first
    place = find_source(Request("me/digits"))
    assert place[1:] == ("me/digits", COMMITS["main"])
    assert (place.path / "model.safetensors").read_text().endswith(COMMITS["main"])
    server.closed = (403, {})
    with pytest.raises(InputError, match=r"does not let you read the model me/digits"):
        find_source(Request("me/digits", revision="v2"))

"""Uploads with a client that keeps what it is told, and never the network."""

import importlib
from types import SimpleNamespace

import pytest
from absent import hide

from l1jax.config import InputError
from l1jax.extras import MissingExtraError
from l1jax.serialization import hub
from l1jax.serialization.hub import check_repository, open_hub, upload


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

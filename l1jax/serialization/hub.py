"""Upload a model's folder to the Hugging Face Hub as the user who is logged in, or download one.

The package comes with the extra `hub`.
"""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from l1jax.config import InputError
from l1jax.training.origin_request import is_repository
from l1jax.training.workdir import EVALUATION

SECONDS_TO_ANSWER = 4.0
FORBIDDEN = (401, 403)
TOO_MANY = 429  # requests
SERVER_ERROR = 500  # the first status of those


class Downloaded(NamedTuple):
    """A model of the Hub in the cache of this machine."""

    folder: Path
    commit: str


def check_repository(repository: str) -> None:
    """Raise if a name cannot be that of a repository.

    Raises:
        InputError: if it is not `owner/name`.
    """
    if not is_repository(repository):
        raise InputError(f"`--upload` (={repository!r}) must be owner/name.")


def open_hub() -> Any:
    """Make a client with the token of the user's login, which is never shown or stored here.

    Raises:
        MissingExtraError: if the package is missing.
        InputError: if nobody is logged in.
    """
    hub = importlib.import_module("huggingface_hub")
    if hub.get_token() is None:
        raise InputError(
            "`--upload` needs you to be logged in to the Hub: run hf auth login, then try again."
        )
    return hub.HfApi(library_name="l1jax")


def upload(client: Any, folder: Path, repository: str, *, public: bool) -> str:
    """Upload a folder to a repository, which is created if it does not exist.

    An evaluation of the folder stays behind: it names paths of this machine.

    Args:
        client: a `huggingface_hub.HfApi`.
        folder: of the model.
        repository: owner/name.
        public: whether a new repository is for all to see; one that exists stays as it is.

    Returns:
        The address of the repository.

    Raises:
        InputError: if the Hub refuses or cannot be reached.
    """
    check_repository(repository)
    try:
        where = client.create_repo(
            repo_id=repository, repo_type="model", private=not public, exist_ok=True
        )
        client.upload_folder(
            repo_id=repository,
            repo_type="model",
            folder_path=folder,
            commit_message="Upload by l1jax",
            ignore_patterns=[EVALUATION],
        )
    except Exception as error:  # of its HTTP library, of the Hub, of the file system
        raise InputError(
            f"`--upload` (={repository}) did not succeed: {_first_line(error)}."
        ) from error
    return str(where)


def download(repository: str, revision: str | None, names: Sequence[str]) -> Downloaded:
    """Download files of a model, or find them in the cache of `huggingface_hub`.

    All are of one commit, also if the revision moves meanwhile. Nothing that is downloaded is
    executed. The address is that of the environment variable HF_ENDPOINT, and HF_HUB_OFFLINE=1
    leaves it at the cache. The cache also serves when the Hub has not answered for
    `SECONDS_TO_ANSWER`.

    Args:
        repository: owner/name.
        revision: branch, tag or commit; None for the main branch.
        names: of the files.

    Raises:
        MissingExtraError: if the package is missing.
        InputError: if there is no such model, revision or file, or the Hub cannot be reached.
    """
    hub = importlib.import_module("huggingface_hub")
    errors = importlib.import_module("huggingface_hub.errors")
    what = repository
    if revision is not None:
        what = f"{repository} at revision {revision}"
    commit = revision
    folder = Path()
    tried = ""
    try:
        cached = {cached_commit(repository, revision, name) for name in names}
        if revision is None or cached != {revision}:  # unless a commit is there, which never moves
            tried = _ask(repository, revision, names[0])
        for name in names:  # all of the commit that the first one is of
            file = hub.hf_hub_download(
                repository, name, revision=commit, local_files_only=bool(tried)
            )
            folder = Path(file).parent
            commit = folder.name
    except errors.RevisionNotFoundError as error:
        raise InputError(
            f"the Hub has no revision {revision!r} of the model {repository}."
        ) from error
    except errors.GatedRepoError as error:
        raise InputError(
            f"the model {repository} is not open to all: ask its owner for access on the Hub, and "
            "run hf auth login."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise InputError(
            f"the Hub has no model {repository}, or it is private: check the name, or run hf auth "
            "login."
        ) from error
    except errors.LocalEntryNotFoundError as error:
        reason = tried or "the Hub cannot be reached"
        cache = importlib.import_module("huggingface_hub.constants").HF_HUB_CACHE
        raise InputError(
            f"{reason}, and the model {what} is not in the cache {cache}: load it once with a "
            "network, after which HF_HUB_OFFLINE=1 finds it there, or give a path."
        ) from error
    except errors.EntryNotFoundError as error:
        raise InputError(f"the model {what} on the Hub lacks one of {', '.join(names)}.") from error
    except Exception as error:  # of its HTTP library, of the file system
        if _status(error) in FORBIDDEN:
            raise InputError(
                f"the Hub does not let you read the model {repository} (status {_status(error)}): "
                "run hf auth login, or ask its owner for access."
            ) from error
        raise InputError(
            f"the model {what} could not be downloaded: {_first_line(error)}."
        ) from error
    return Downloaded(folder, folder.name)


def _ask(repository: str, revision: str | None, name: str) -> str:
    """Ask the Hub once for a file; its client would try again for 23 seconds.

    Args:
        repository: owner/name.
        revision: branch, tag or commit; None for the main branch.
        name: of the file.

    Returns:
        What was tried in vain, for messages; empty if the Hub has the file.

    Raises:
        Exception: the client's, if the Hub refuses.
    """
    hub = importlib.import_module("huggingface_hub")
    constants = importlib.import_module("huggingface_hub.constants")
    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    url = hub.hf_hub_url(repository, name, revision=revision)
    try:
        hub.get_hf_file_metadata(url, timeout=SECONDS_TO_ANSWER)
    except Exception as error:  # of its HTTP library
        status = _status(error)
        if status is not None and status < SERVER_ERROR and status != TOO_MANY:
            raise
        return f"the Hub at {constants.ENDPOINT} did not answer ({_first_line(error)})"
    return ""


def _status(error: Exception) -> int | None:
    """Return the HTTP status that an error tells of; None if there was no answer."""
    return getattr(getattr(error, "response", None), "status_code", None)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".")


def cached_commit(repository: str, revision: str | None, name: str) -> str | None:
    """Return the commit that a revision pointed to when it was last downloaded here.

    Args:
        repository: owner/name.
        revision: branch, tag or commit; None for the main branch.
        name: of a file of the model.

    Returns:
        The commit's hash; None if the file is not in the cache.

    Raises:
        MissingExtraError: if the package is missing.
    """
    hub = importlib.import_module("huggingface_hub")
    found = hub.try_to_load_from_cache(repository, name, revision=revision)
    if not isinstance(found, str):
        return None
    return Path(found).parent.name

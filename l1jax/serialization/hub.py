"""Upload a model's folder to the Hugging Face Hub as the user who is logged in, or download one.

The package comes with the extra `hub`.
"""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from l1jax.config import InputError
from l1jax.training.origin_request import is_repository


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
        )
    except Exception as error:  # of its HTTP library, of the Hub, of the file system
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"`--upload` (={repository}) did not succeed: {why.rstrip('.')}."
        ) from error
    return str(where)


def download(repository: str, revision: str | None, names: Sequence[str]) -> Downloaded:
    """Download files of a model, or find them in the cache of `huggingface_hub`.

    Nothing that is downloaded is executed. The address is that of the environment variable
    HF_ENDPOINT, and HF_HUB_OFFLINE=1 leaves it at the cache.

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
    try:
        for name in names:  # all of the commit that the first one is of
            folder = Path(hub.hf_hub_download(repository, name, revision=commit)).parent
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
        raise InputError(
            f"the Hub cannot be reached for the model {what}, and it is not in the cache: try "
            "again with a network, or give a path."
        ) from error
    except errors.EntryNotFoundError as error:
        raise InputError(f"the model {what} on the Hub lacks one of {', '.join(names)}.") from error
    except Exception as error:  # of its HTTP library, of the file system
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"the model {what} could not be downloaded: {why.rstrip('.')}.") from error
    return Downloaded(folder, folder.name)


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

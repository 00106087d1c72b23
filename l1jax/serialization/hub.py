"""Upload a model's folder to the Hugging Face Hub as the user who is logged in.

The package comes with the extra `hub`.
"""

import importlib
import re
from pathlib import Path
from typing import Any

from l1jax.config import InputError


def check_repository(repository: str) -> None:
    """Raise if a name cannot be that of a repository.

    Raises:
        InputError: if it is not `owner/name`.
    """
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", repository, re.ASCII):
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

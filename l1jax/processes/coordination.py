"""Texts that JAX's coordination service keeps for all processes, by name."""

from typing import Any

from jax._src import distributed  # the service has no public interface; Orbax uses this one

PREFIX = "l1jax/"


def keep(name: str, text: str) -> None:
    """Keep a text for the other processes.

    Raises:
        Exception: if there is one of that name, or the service is gone.
    """
    _client().key_value_set(PREFIX + name, text)


def look_up(name: str) -> str:
    """Return a text that is kept.

    Raises:
        Exception: if there is none of that name, or the service is gone.
    """
    return _client().key_value_try_get(PREFIX + name)


def _client() -> Any:
    return distributed.global_state.client

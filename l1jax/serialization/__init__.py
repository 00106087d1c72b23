"""Write trained generators to folders and programs, and open them again."""

from l1jax.serialization.model_folder import read_model, write_model
from l1jax.serialization.rebuild_generator import rebuild

__all__ = ["read_model", "rebuild", "write_model"]

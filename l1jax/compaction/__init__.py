"""Trained generators without what is dead in them, with proof that they are the same, in files that run elsewhere."""

from l1jax.compaction.compacting import Compact, compact, compact_linen
from l1jax.compaction.folder import read_model, write_model
from l1jax.compaction.layout import rebuild
from l1jax.compaction.proof import Different, Proof, prove

__all__ = [
    "Compact",
    "Different",
    "Proof",
    "compact",
    "compact_linen",
    "prove",
    "read_model",
    "rebuild",
    "write_model",
]

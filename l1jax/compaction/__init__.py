"""Remove the dead channels of trained networks and verify that their outputs stay the same."""

from l1jax.compaction.channel_groups import channel_groups
from l1jax.compaction.compact_network import compact, compact_linen
from l1jax.compaction.compact_transformer import (
    TrainedLanguageModel,
    compact_transformer,
    verify_transformer,
)
from l1jax.compaction.verify_generator import Verification, verify
from l1jax.compaction.verify_module import MismatchError
from l1jax.models.layout.layout_network import TrainedGenerator

__all__ = [
    "MismatchError",
    "TrainedGenerator",
    "TrainedLanguageModel",
    "Verification",
    "channel_groups",
    "compact",
    "compact_linen",
    "compact_transformer",
    "verify",
    "verify_transformer",
]

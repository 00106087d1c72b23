"""Write a transformer without its dead heads and units to a folder, with the proof in its notes."""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

from rich.table import Table

from l1jax.build import build_language_model, example_shape
from l1jax.compaction.compact_transformer import (
    TextVerification,
    TrainedLanguageModel,
    compact_transformer,
    verify_transformer,
)
from l1jax.compaction.verify_module import MismatchError
from l1jax.config import InputError, Transformer
from l1jax.models import LanguageModel
from l1jax.serialization.text_folder import ExportedText, write_text_model
from l1jax.text_runs.loading import LoadedText
from l1jax.training.keys import named_seed_key


class CompactText(NamedTuple):
    """A compacted language model, and how it compares with the original."""

    exported: ExportedText
    proof: TextVerification


def compact_text(loaded: LoadedText, batch: int) -> CompactText:
    """Remove the dead heads and units of a language model, and verify the rest in float32.

    The sizes of its blocks become part of the experiment, so that the model can be sampled,
    evaluated, exported and trained like any other.

    Args:
        loaded: the model.
        batch: sequences that are generated at a time where the speed is measured.

    Raises:
        InputError: if the smaller network computes something else, which would be a bug.
    """
    experiment = loaded.experiment
    config = experiment.model
    assert isinstance(config, Transformer)
    shape = example_shape(experiment.data)

    def build(dtype: Any, heads: tuple[int, ...], hidden: tuple[int, ...]) -> LanguageModel:
        sized = dataclasses.replace(config, dtype=dtype, block_heads=heads, block_hidden=hidden)
        return build_language_model(sized, shape)

    def rebuild(heads: tuple[int, ...], hidden: tuple[int, ...]) -> LanguageModel:
        return build("float32", heads, hidden)

    params = loaded.average.params
    heads = config.block_heads or (config.heads,) * config.layers
    hidden = tuple(_num_units(params, i) for i in range(config.layers))
    original = TrainedLanguageModel(rebuild(heads, hidden), params, heads, hidden)
    smaller = compact_transformer(original.model, params, rebuild)
    key = named_seed_key(experiment.seed, "proof of compaction")
    try:
        proof = verify_transformer(original, smaller, key, batch=batch)
    except MismatchError as error:
        raise InputError(str(error)) from error
    sized = dataclasses.replace(
        config, block_heads=smaller.block_heads, block_hidden=smaller.block_hidden
    )
    notes = {
        "compaction": {
            "error": proof.error,
            "rounding": proof.rounding,
            "before": proof.before._asdict(),
            "after": proof.after._asdict(),
        }
    }
    exported = ExportedText(
        build(config.dtype, smaller.block_heads, smaller.block_hidden),
        smaller.params,
        loaded.average.batch_stats,
        dataclasses.replace(experiment, model=sized),
        loaded.step,
        notes,
    )
    return CompactText(exported, proof)


def _num_units(params: Any, block: int) -> int:
    layers = params.get(f"block_{block}", {}).get("feed_forward")
    return layers["up"]["kernel"].shape[1] if layers else 0


def write_compact_text(compact: CompactText, output: Path) -> None:
    """Write the model to a new or empty folder, which appears whole or not at all.

    Raises:
        InputError: if it cannot be written.
    """
    write_text_model(output, compact.exported)


def unit_table(compact: CompactText) -> Table:
    """Tabulate the heads and units of each block, and costs, before and after."""
    proof = compact.proof
    config = compact.exported.experiment.model
    assert isinstance(config, Transformer)
    table = Table(title="Heads and units", title_justify="left")
    for heading in ("", "before", "after", "left"):
        table.add_column(heading, justify="right" if heading else "left")
    rows = {
        "attention heads": (proof.before.heads, proof.after.heads),
        "feed-forward units": (proof.before.units, proof.after.units),
        "parameters": (proof.before.parameters, proof.after.parameters),
        "bytes": (proof.before.bytes, proof.after.bytes),
    }
    for label, (before, after) in rows.items():
        table.add_row(label, f"{before:,}", f"{after:,}", f"{after / max(before, 1):.0%}")
    table.add_section()
    for i, (heads, units) in enumerate(zip(config.block_heads, config.block_hidden, strict=True)):
        table.add_row(f"block {i}", "", f"{heads:,} heads, {units:,} units", "")
    table.add_section()
    before, after = (cost.tokens_per_second for cost in (proof.before, proof.after))
    table.add_row("bytes per second", f"{before:,.0f}", f"{after:,.0f}", f"{after / before:.0%}")
    return table


def compaction_sentences(proof: TextVerification) -> list[str]:
    """Return what the numbers say, as sentences."""
    found = [
        f"the same logits: over {proof.count:,} tokens, the largest difference from exact ones is "
        f"{proof.error:.2g} of the largest value; that of the original, by rounding alone, is "
        f"{proof.rounding:.2g}."
    ]
    if proof.before.parameters == proof.after.parameters:
        found.append(
            "nothing to remove: every head and every unit is live. Train with a penalty of "
            "channels to have dead ones."
        )
    else:
        faster = proof.after.tokens_per_second / proof.before.tokens_per_second
        found.append(
            f"{proof.before.bytes / max(proof.after.bytes, 1):.3g} × smaller; generation is "
            f"{faster:.3g} × as fast here."
        )
    return found

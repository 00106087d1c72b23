"""Remove the dead channels of a trained generator and write the smaller one.

`python -m l1jax.compact --workdir runs/digits --output digits-compact`

Of a run of text it removes the dead attention heads and feed-forward units.
"""

from l1jax.cli.early_answers import answer_early, check_model_flags
from l1jax.cli.options import CompactOptions

if __name__ == "__main__":
    answer_early(check_model_flags(CompactOptions, "python -m l1jax.compact"))


from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from l1jax.cli.flag_errors import translate_errors
from l1jax.cli.flags import parse, parse_path
from l1jax.cli.process import run_command
from l1jax.compaction.compact_network import compact
from l1jax.compaction.verify_generator import MismatchError, Verification, verify
from l1jax.config import InputError
from l1jax.models import Generator
from l1jax.models.layout.layout_network import TrainedGenerator
from l1jax.outputs import check_output_folder
from l1jax.serialization.loaded_generator import check_finite
from l1jax.serialization.model_folder import write_model
from l1jax.serialization.rebuild_generator import float32_model, in_float32, rebuild
from l1jax.serialization.stored_evaluation import read_evaluation
from l1jax.terminal import Say, make_console, make_say
from l1jax.text_runs.compacting import (
    compact_text,
    compaction_sentences,
    unit_table,
    write_compact_text,
)
from l1jax.text_runs.loading import is_text_run, open_text_model
from l1jax.training.keys import named_seed_key
from l1jax.training.saved_run import SavedRun, image_generator, load_run
from l1jax.training.state import Average


@translate_errors(CompactOptions)
def main(arguments: Sequence[str]) -> int:
    """Compact as the flags say; returns the exit status."""
    options = parse(CompactOptions, arguments, "python -m l1jax.compact")
    workdir = parse_path("--workdir", options.workdir)
    output = parse_path("--output", options.output)
    if options.batch < 1:
        raise InputError(f"`--batch` (={options.batch}) must be at least 1.")
    check_output_folder(output)
    console = make_console()
    say = make_say(console)
    if is_text_run(workdir):
        compact_text_run(options, workdir, output, console, say)
        return 0

    trained = load_run(workdir, options.step, say)
    generator = image_generator(trained, workdir)
    average = trained.state.average
    check_finite(average, trained.step)
    smaller = compact_known(generator, average, options.fold_norms)
    proof = proof_in_float32(trained, smaller, options.batch)
    console.print(channel_table(proof, generator.evaluations))
    for line in sentences(proof, generator.image_range is None):
        say(line)
    notes: dict[str, Any] = {
        "compaction": {
            "error": proof.error,
            "rounding": proof.rounding,
            "before": proof.before._asdict(),
            "after": proof.after._asdict(),
        }
    }
    evaluation = read_evaluation(workdir, trained.step)
    if evaluation is not None:
        notes["evaluation"] = evaluation
    write_model(output, smaller, trained.experiment, trained.step, notes)
    say(f"the compact generator of step {trained.step:,}: {output}")
    return 0


def compact_known(generator: Generator, average: Average, fold_norms: bool) -> TrainedGenerator:
    """Compact a generator whose operations are all known.

    Args:
        generator: of the run.
        average: its weights.
        fold_norms: whether batch norms become part of the layers in front of them.

    Raises:
        InputError: naming the operation that is not known, as a model of one's own may have.
    """
    try:
        return compact(generator, average.params, average.batch_stats, fold_norms=fold_norms)
    except ValueError as error:
        raise InputError(str(error)) from error


def compact_text_run(
    options: CompactOptions, workdir: Path, output: Path, console: Console, say: Say
) -> None:
    """Compact a run of text, and write its model.

    Args:
        options: the flags.
        workdir: of the run.
        output: a new or empty folder.
        console: for the table.
        say: prints one sentence on a line of its own.

    Raises:
        InputError: if there is no good checkpoint, or a flag has no meaning here.
    """
    if not options.fold_norms:
        raise InputError("`--no-fold-norms` is for batch norms, which a model of text lacks.")
    compacted = compact_text(open_text_model(workdir, None, options.step, say), options.batch)
    console.print(unit_table(compacted))
    for line in compaction_sentences(compacted.proof):
        say(line)
    write_compact_text(compacted, output)
    say(f"the compact model of step {compacted.exported.step:,}: {output}")


def proof_in_float32(trained: SavedRun, smaller: TrainedGenerator, batch: int) -> Verification:
    """Compare with the run's own generator, in float32 whatever they were trained in.

    Args:
        trained: the run.
        smaller: its compacted generator.
        batch: the number of latents that are drawn at a time.

    Raises:
        InputError: if they differ.
    """
    model = float32_model(trained.experiment.model)
    shape = smaller.generator.image_shape
    average = trained.state.average
    original = TrainedGenerator(rebuild(model, shape, {}), average.params, average.batch_stats, {})
    exact = smaller._replace(generator=rebuild(model, shape, in_float32(smaller.layout)))
    try:
        return verify(
            original,
            exact,
            named_seed_key(trained.experiment.seed, "proof of compaction"),
            batch=batch,
        )
    except MismatchError as error:
        raise InputError(str(error)) from error


def channel_table(proof: Verification, evaluations: int = 1) -> Table:
    """Channels of each layer, and costs, before and after.

    Args:
        proof: the numbers.
        evaluations: of the network for an image, which a flow model has several of.
    """
    table = Table(title="Channels", title_justify="left")
    for heading in ("", "before", "after", "left"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, before, after in proof.channels:
        table.add_row(name, f"{before:,}", f"{after:,}", f"{after / before:.0%}")
    table.add_section()
    work = "FLOPs per image"
    if evaluations > 1:
        work += f", {evaluations} evaluations"
    for label, field in (("parameters", "parameters"), ("bytes", "bytes"), (work, "flops")):
        before, after = (getattr(cost, field) for cost in (proof.before, proof.after))
        table.add_row(label, f"{before:,}", f"{after:,}", f"{after / max(before, 1):.0%}")
    before, after = (1e3 * cost.latency for cost in (proof.before, proof.after))
    table.add_row(
        f"ms for {proof.batch} images", f"{before:.3g}", f"{after:.3g}", f"{after / before:.0%}"
    )
    return table


def sentences(proof: Verification, points: bool) -> list[str]:
    """Return what the numbers say, as sentences."""
    what = "points" if points else "images"
    found = [
        f"the same {what}: over {proof.count} of them, the largest difference from exact ones is "
        f"{proof.error:.2g} of the largest value; that of the original, by rounding alone, is "
        f"{proof.rounding:.2g}."
    ]
    if proof.constant:
        found.append(
            f"the output is constant: zeros cut all latents off, and all {what} (of a class) are "
            "the same."
        )
    elif proof.before.flops == proof.after.flops:
        found.append(
            "nothing to remove: every channel is live. Train with a group penalty to have dead "
            "ones."
        )
    else:
        faster = proof.before.latency / proof.after.latency
        found.append(
            f"{proof.before.bytes / max(proof.after.bytes, 1):.3g} × smaller, {faster:.3g} × as "
            "fast here."
        )
    return found


if __name__ == "__main__":
    run_command(main)

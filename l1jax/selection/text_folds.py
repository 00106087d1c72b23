"""Text in folds of documents, and the scores of language models by the text of each fold."""

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree

from l1jax.config import InputError, Text
from l1jax.data.batches import Batch
from l1jax.data.byte_tokens import BOUNDARY
from l1jax.data.corpus import Corpus, all_tokens, document_windows
from l1jax.data.corpus_splits import corpus_units
from l1jax.data.text_batches import stream_batch, window_starts, windows_per_epoch
from l1jax.evaluation.text_likelihood import bits_per_byte, make_window_bits
from l1jax.models import LanguageModel, generate
from l1jax.selection.fold_data import FoldedData, SelectionData
from l1jax.selection.fold_scores import FoldResult, FoldScorer, fold_result
from l1jax.selection.folds import stratified_folds
from l1jax.selection.plan import Plan
from l1jax.selection.score_table import INFORMATION_CRITERIA
from l1jax.selection.task_replicas import FoldFeed
from l1jax.training.keys import named_seed_key
from l1jax.training.state import State, Task

MAX_TOKENS = 2**20  # that a run is scored by
NUM_SAMPLES = 2
SAMPLE_LENGTH = 300  # bytes


class TextFold(NamedTuple):
    """What one fold is trained on and scored by."""

    training: Corpus
    scored: Corpus


def open_text_data(
    plan: Plan, data: Text, training: Corpus, held_out: Corpus | None
) -> SelectionData:
    """Divide text into the folds of a plan.

    An observation is a predicted token: a byte, or the end of a document.

    Args:
        plan: how many folds, and the criterion.
        data: the configuration of the text.
        training: the documents that are divided.
        held_out: those that the experiment holds out from training, if any.

    Raises:
        InputError: if there are too few documents, none to score by, or too little text.
    """
    folds = divide_text(plan, data, training, held_out)
    for fold in folds:
        windows_per_epoch(fold.training, data.window)  # raises if the text is too short
    size = 2 * sum(fold.training.num_tokens for fold in folds)
    if size > min(plan.experiment.resident_mib * 2**20, 2**32):
        raise InputError(
            f"`resident_mib` (={plan.experiment.resident_mib}) must hold the tokens of all folds, "
            f"two bytes each ({size / 2**20:,.0f} MiB, and at most 4,096), to select on "
            "them: raise it, or take fewer folds or a part of the text."
        )

    def divided(folds: Sequence[TextFold], task: Task) -> FoldedData:
        feed = text_fold_feed(
            [fold.training for fold in folds],
            data.window,
            seed=plan.experiment.seed,
            batch_size=plan.experiment.batch_size,
        )
        scored = [fold.scored for fold in folds]
        return FoldedData(feed, make_text_scorer(task, scored, data.window, plan.experiment.seed))

    return SelectionData(
        fingerprint=training.fingerprint,
        count=training.num_bytes + training.num_documents,
        noun="text",
        in_folds=partial(divided, folds),
        whole=partial(divided, [TextFold(training, training)]),
    )


def divide_text(
    plan: Plan, data: Text, training: Corpus, held_out: Corpus | None
) -> list[TextFold]:
    """Return the folds of a plan: documents, or blocks where `data.split` says so.

    Information criteria score by the training data, so they have one fold of all documents.

    Args:
        plan: how many folds, and the criterion.
        data: the configuration of the text.
        training: the documents that are divided.
        held_out: those that the experiment holds out from training, if any.

    Raises:
        InputError: if there are too few documents or blocks, or none to score by.
    """
    if plan.rule.criterion in INFORMATION_CRITERIA:
        return [TextFold(training, training)]
    if plan.folds == 1:
        if held_out is None:
            raise InputError(
                "`--folds` (=1) must be at least 2, or --holdout must be a share of the text to "
                "score by."
            )
        return [TextFold(training, held_out)]
    units = corpus_units(training, data.split, f"fold {plan.experiment.seed}")
    different = len(np.unique(units.hashes))
    if plan.folds > different:
        remedy = "give more text"
        if different > 1:
            remedy += ", or fewer folds"
        if units.noun == "documents":
            remedy += ", or --data.split blocks"
        raise InputError(
            f"`--folds` (={plan.folds}) must be at most the number of different {units.noun} "
            f"(={different}): {remedy}."
        )
    fold_ids = stratified_folds(None, units.hashes, plan.folds)
    return [
        TextFold(units.select(fold_ids != fold), units.select(fold_ids == fold))
        for fold in range(plan.folds)
    ]


def text_fold_feed(
    corpora: Sequence[Corpus], window: int, *, seed: int, batch_size: int
) -> FoldFeed:
    """Feed each fold with the windows that `l1jax.train` makes of its text.

    The streams of tokens of all folds lie one behind the other on the device.

    Args:
        corpora: what each fold is trained on.
        window: targets per window.
        seed: of the order of the windows.
        batch_size: windows per step of a replica.
    """
    offsets = np.cumsum([0] + [corpus.num_tokens for corpus in corpora[:-1]])

    def make_batch(resident: PyTree, index: Int[Array, "draws batch"]) -> Batch:
        return stream_batch(jnp.asarray(resident), index, window)

    def chunk(first: int, steps: int) -> Int[np.ndarray, "folds steps draws batch"]:
        starts = [
            offset + window_starts(corpus, window, seed, first, steps, batch_size)
            for offset, corpus in zip(offsets, corpora, strict=True)
        ]
        return np.stack(starts)[:, :, None].astype(np.int32)

    streams = np.concatenate([all_tokens(corpus) for corpus in corpora])
    return FoldFeed(len(corpora), streams, make_batch, chunk)


def make_text_scorer(task: Task, corpora: Sequence[Corpus], window: int, seed: int) -> FoldScorer:
    """Build a function that scores averaged models by bits per byte of the text of their fold.

    The log-likelihood is in nats per token, mean over the tokens, and exact.

    Args:
        task: for its model.
        corpora: what each fold is scored by.
        window: tokens that each window predicts.
        seed: of the samples, and of the choice of documents where there are many.
    """
    model = task.generator
    assert isinstance(model, LanguageModel)
    windows = [document_windows(corpus, window, MAX_TOKENS, seed) for corpus in corpora]
    window_bits = [make_window_bits(model, own) for own in windows]
    key = named_seed_key(seed, "judged")
    prompts = jnp.full((NUM_SAMPLES, 1), BOUNDARY)

    @jax.jit
    def draw(params: PyTree) -> Int[Array, "samples tokens"]:
        return generate(model, params, prompts, key, SAMPLE_LENGTH)

    def score(state: State, fold: int) -> FoldResult:
        average = state.average
        found = window_bits[fold](average.params, average.batch_stats)
        bits = bits_per_byte(found, windows[fold]).mean
        if not math.isfinite(bits):
            bits = math.nan
        scores = {"bits_per_byte": bits, "log_likelihood": -bits * math.log(2)}
        samples = np.asarray(draw(average.params)).astype(np.uint16)
        return fold_result(task, "generator", state, scores, samples)

    most = f", at most {MAX_TOKENS:,} tokens" if _any_is_cut(corpora) else ""
    return FoldScorer(score, f"averaged models, windows of {window} tokens{most}")


def _any_is_cut(corpora: Sequence[Corpus]) -> bool:
    return any(corpus.num_tokens - 1 > MAX_TOKENS for corpus in corpora)

"""Samples and held-out bits per byte of a language model in training."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree

from l1jax.data.byte_tokens import BOUNDARY, decode, sample_page, to_text
from l1jax.data.corpus import Corpus, document_windows
from l1jax.evaluation.text_likelihood import bits_per_byte, make_window_bits
from l1jax.models import LanguageModel, generate
from l1jax.training.keys import named_seed_key
from l1jax.training.log import Log
from l1jax.training.observer import Evaluate, Observer, ShowSamples, no_evaluation
from l1jax.training.state import Average, State

NUM_SAMPLES = 6
SAMPLE_LENGTH = 400  # bytes
SCORE_TOKENS = 2**16  # of the documents that are scored at each checkpoint
EVALUATION_TOKENS = 2**20  # and at each evaluation


def make_text_observer(
    model: LanguageModel,
    training: Corpus,
    held_out: Corpus | None,
    window: int,
    seed: int,
    *,
    evaluates: bool,
) -> Observer:
    """Build the observer of a language model.

    The score is the bits per byte of held-out documents, or of documents that it is trained on if
    none are held out; its name says which. The documents and windows are the same each time.

    Args:
        model: the network.
        training: the text to train on.
        held_out: the text kept back, if any.
        window: tokens that each window predicts.
        seed: of samples, and of the choice of documents where there are many.
        evaluates: whether more documents are scored every few checkpoints.
    """
    corpus = training
    which = "training"
    if held_out is not None:
        corpus = held_out
        which = "held_out"
    score = make_score(model, corpus, window, SCORE_TOKENS, seed)
    evaluation_name = f"evaluation/{which}_bits_per_byte"
    evaluate = no_evaluation
    if evaluates:
        evaluation_score = make_score(model, corpus, window, EVALUATION_TOKENS, seed)
        evaluate = _named(evaluation_name, evaluation_score)

    return Observer(
        show_samples=make_page_logger(model, seed),
        health=lambda state: {},
        score_name=f"{which}/bits_per_byte",
        score=score,
        evaluation_name=evaluation_name,
        evaluate=evaluate,
        rate_name="tokens_per_second",
        rate_per_example=window,
    )


def _named(name: str, score: Callable[[Average], float]) -> Evaluate:
    def evaluate(average: Average) -> dict[str, float]:
        return {name: score(average)}

    return evaluate


def make_score(
    model: LanguageModel, corpus: Corpus, window: int, max_tokens: int, seed: int
) -> Callable[[Average], float]:
    """Build average → bits per byte of some documents; infinite if it is not finite.

    Args:
        model: the network.
        corpus: the documents.
        window: tokens that each window predicts.
        max_tokens: the most bytes and ends of documents.
        seed: that chooses documents if there are more.
    """
    windows = document_windows(corpus, window, max_tokens, seed)
    window_bits = make_window_bits(model, windows)

    def score(average: Average) -> float:
        mean = bits_per_byte(window_bits(average.params, average.batch_stats), windows).mean
        return mean if math.isfinite(mean) else math.inf

    return score


def make_page_logger(model: LanguageModel, seed: int) -> ShowSamples:
    """Build (step, state, log) → None, which logs samples, each from the beginning of a document.

    Args:
        model: the network.
        seed: of the samples, which are drawn with the same random numbers each time.
    """
    key = named_seed_key(seed, "samples")
    prompts = jnp.full((NUM_SAMPLES, 1), BOUNDARY)

    @jax.jit
    def draw(params: PyTree) -> Int[Array, "samples tokens"]:
        return generate(model, params, prompts, key, SAMPLE_LENGTH)

    def log_page(step: int, state: State, log: Log) -> None:
        tokens = jax.device_get(draw(state.average.params))
        log.page(step, sample_page(map(to_text, map(decode, tokens))))

    return log_page

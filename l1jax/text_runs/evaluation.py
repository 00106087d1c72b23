"""Measure a trained language model: its likelihood, its samples, its zeros and its speed."""

import platform
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from jaxlib.version import __version__ as jaxlib_version

import l1jax
from l1jax.config import Text, Transformer
from l1jax.config.fields import JsonObject
from l1jax.data.byte_tokens import to_text
from l1jax.data.corpus import Corpus, document_windows
from l1jax.data.text_source import open_text
from l1jax.evaluation.comparison import seed_statistics
from l1jax.evaluation.text_likelihood import BitsPerByte, bits_per_byte, make_window_bits
from l1jax.evaluation.text_quality import (
    CopiedPassage,
    distinct_ngrams,
    longest_copied_passage,
    repetition,
)
from l1jax.evaluation.transformer_units import count_alive_units
from l1jax.evaluation.zeros import count_zeros
from l1jax.models import LanguageModel, Sampling
from l1jax.models.summary import layers
from l1jax.processes.agreement import divide_items, gather, lead
from l1jax.reporting.evaluation_tables import format_statistics
from l1jax.serialization.loaded_generator import hash_weights
from l1jax.text_runs.loading import LoadedText
from l1jax.text_runs.samples import BlockSampler, TextSample, count_blocks, make_block_sampler
from l1jax.training.state import Average

MAX_TOKENS = 2**20  # that are scored on either side
NUM_SAMPLES = 64  # per seed
SAMPLE_LENGTH = 512  # bytes
DISTINCT = (1, 2, 3)  # words of an n-gram


class Likelihood(NamedTuple):
    """Bits per byte of held-out text, if there is any, and of as much training text."""

    held_out: BitsPerByte | None
    training: BitsPerByte


def evaluate_text(
    loaded: LoadedText,
    num_samples: int,
    num_seeds: int,
    check: Callable[[dict[str, str]], None] = lambda _: None,
) -> JsonObject:
    """Measure a language model.

    Several processes share the work, so all of them must call it; process 0 measures the speed
    and compares the samples with the text.

    Args:
        loaded: the model.
        num_samples: samples for each seed, 0 for 64.
        num_seeds: seeds of the samples, from 0 on.
        check: takes the hashes of the text and the weights, and raises if they are not the right
            ones.

    Returns:
        All numbers, as `evaluation.json` holds them.

    Raises:
        InputError: if the text cannot be opened any more.
    """
    experiment = loaded.experiment
    data = experiment.data
    model = loaded.model
    assert isinstance(data, Text)
    assert isinstance(experiment.model, Transformer)
    num_samples = num_samples or NUM_SAMPLES
    average = loaded.average
    training, held_out = open_text(data, experiment.holdout)
    inputs = {"training text": training.fingerprint, "generator's weights": hash_weights(average)}
    if held_out is not None:
        inputs["real text"] = held_out.fingerprint
    check(inputs)
    likelihood = measure_likelihood(model, average, training, held_out, data.window)
    sample_block = make_block_sampler(model, b"", num_samples, SAMPLE_LENGTH, Sampling())
    samples = draw_samples(sample_block, average, num_samples, num_seeds)
    bytes_per_second = lead(partial(measure_speed, sample_block, average, num_samples))
    quality = lead(partial(compare_samples, samples, training, held_out))
    units = count_alive_units(
        average.params, experiment.model.heads, experiment.model.key_value_heads
    )
    text = {
        "held_out": likelihood.held_out and likelihood.held_out._asdict(),
        "training": likelihood.training._asdict(),
        **quality,
        "units": units._asdict(),
        "bytes_per_second": bytes_per_second,
    }
    return {
        "step": loaded.step,
        "protocol": {
            **describe_protocol(held_out or training, held_out is not None, num_samples, num_seeds),
            "inputs": inputs,
        },
        "text": text,
        "remarks": describe(text, likelihood),
        "zeros": count_zeros(average.params, layers(model.network.init)).to_json(),
    }


def draw_samples(
    sample_block: BlockSampler, average: Average, num_samples: int, num_seeds: int
) -> list[list[TextSample]]:
    """Draw the samples of each seed; several processes share the blocks.

    Args:
        sample_block: draws one block.
        average: the weights.
        num_samples: samples for each seed.
        num_seeds: seeds, from 0 on.
    """
    num_blocks = count_blocks(num_samples)

    def draw(item: int) -> list[TextSample]:
        seed, block = divmod(item, num_blocks)
        return sample_block(average, seed, block)

    mine = divide_items(num_seeds * num_blocks, draw)
    sent = [
        [item, [[sample.content.decode("latin-1"), sample.is_finished] for sample in block]]
        for item, block in mine.items()
    ]
    blocks = {item: block for process in gather(sent) for item, block in process}
    return [
        [
            TextSample(content.encode("latin-1"), is_finished)
            for block in range(num_blocks)
            for content, is_finished in blocks[seed * num_blocks + block]
        ]
        for seed in range(num_seeds)
    ]


def measure_speed(sample_block: BlockSampler, average: Average, num_samples: int) -> float:
    """Return the bytes generated per second.

    Args:
        sample_block: draws one block, and is compiled.
        average: the weights.
        num_samples: samples that are drawn.
    """
    start = time.perf_counter()
    for block in range(count_blocks(num_samples)):
        sample_block(average, 0, block)
    return num_samples * SAMPLE_LENGTH / (time.perf_counter() - start)


def compare_samples(
    samples: Sequence[Sequence[TextSample]], training: Corpus, held_out: Corpus | None
) -> JsonObject:
    """Measure how varied samples are and what they copy, beside as much real text.

    Args:
        samples: of each seed.
        training: the text that the model was trained on.
        held_out: the text kept back, if there is any; then it is the real text.
    """
    real_pieces = cut_pieces(held_out or training, len(samples[0]))
    documents = [
        training.content[start : start + size]
        for start, size in zip(training.starts, training.sizes, strict=True)
    ]
    content = [sample.content for of_seed in samples for sample in of_seed]
    real_copied = None
    if held_out is not None:
        real_copied = describe_passage(longest_copied_passage(real_pieces, documents))
    return {
        "samples": seed_statistics(
            [measure_samples([sample.text for sample in of_seed]) for of_seed in samples]
        ),
        "real": measure_samples([to_text(piece) for piece in real_pieces]),
        "copied": describe_passage(longest_copied_passage(content, documents)),
        "copied_by_real": real_copied,
    }


def measure_likelihood(
    model: LanguageModel,
    average: Average,
    training: Corpus,
    held_out: Corpus | None,
    window: int,
) -> Likelihood:
    """Compute bits per byte on windows that depend on the text and their length alone.

    Args:
        model: the network.
        average: its weights.
        training: the text that it was trained on, of which as much is taken as is held out.
        held_out: the text kept back, of which a million tokens are taken if there are more.
        window: tokens that each window predicts.
    """

    def measure(corpus: Corpus, max_tokens: int) -> BitsPerByte:
        windows = document_windows(corpus, window, max_tokens)
        window_bits = make_window_bits(model, windows, is_shared=True)
        found = window_bits(average.params, average.batch_stats)
        return bits_per_byte(found, windows)

    if held_out is None:
        return Likelihood(None, measure(training, MAX_TOKENS))
    of_held_out = measure(held_out, MAX_TOKENS)
    return Likelihood(of_held_out, measure(training, of_held_out.tokens))


def measure_samples(samples: Sequence[str]) -> dict[str, float]:
    """Compute the shares of different and of repeated n-grams of words."""
    values = {f"distinct_{n}": distinct_ngrams(samples, n) for n in DISTINCT}
    return values | {"repetition_4": repetition(samples, 4)}


def cut_pieces(corpus: Corpus, count: int) -> list[bytes]:
    """Cut real text into as many pieces of the samples' length; fewer if there is less of it."""
    pieces = []
    for i in np.random.default_rng(0).permutation(corpus.num_documents).tolist():
        document = corpus.document(i)
        pieces += [
            document[start : start + SAMPLE_LENGTH]
            for start in range(0, len(document), SAMPLE_LENGTH)
        ]
        if len(pieces) >= count:
            break
    return pieces[:count]


def describe_passage(copied: CopiedPassage) -> JsonObject:
    """Return a passage as plain values."""
    return {"length": copied.length, "passage": copied.passage.decode("utf-8", "replace")}


def describe(text: JsonObject, likelihood: Likelihood) -> list[str]:
    """Say in sentences what was measured."""
    lines = []
    if likelihood.held_out is not None:
        gap = likelihood.held_out.mean - likelihood.training.mean
        lines.append(
            f"held-out bits per byte {describe_bits(likelihood.held_out)}; on as much training "
            f"text {describe_bits(likelihood.training)}; the gap is {gap:.3f}"
        )
    else:
        lines.append(f"bits per byte of training text {describe_bits(likelihood.training)}")
    for n in DISTINCT:
        name = f"distinct_{n}"
        found = format_statistics(text["samples"][name])
        lines.append(f"different {n}-grams of words: {found} (real text {text['real'][name]:.4g})")
    found = format_statistics(text["samples"]["repetition_4"])
    real = text["real"]["repetition_4"]
    lines.append(f"repeated 4-grams of words: {found} (real text {real:.4g})")
    line = f"longest passage copied from the training text: {text['copied']['length']} bytes"
    if text["copied_by_real"] is not None:
        line += f" (held-out text shares {text['copied_by_real']['length']} bytes with it)"
    lines.append(f"{line}: {text['copied']['passage']!r}")
    units = text["units"]
    lines.append(
        f"alive: {units['heads_alive']:,} of {units['heads']:,} attention heads, "
        f"{units['units_alive']:,} of {units['units']:,} feed-forward units"
    )
    lines.append(f"generation: {text['bytes_per_second']:,.0f} bytes per second")
    return lines


def describe_bits(found: BitsPerByte) -> str:
    """Format bits per byte with their interval over documents."""
    interval = ""
    if found.interval is not None:
        low, high = found.interval
        interval = f" [{low:.3f}, {high:.3f}]"
    return f"{found.mean:.3f}{interval} ({found.documents:,} documents)"


def describe_protocol(
    real: Corpus, is_held_out: bool, num_samples: int, num_seeds: int
) -> JsonObject:
    """Describe how the numbers were taken.

    Args:
        real: the text that samples are compared with.
        is_held_out: whether training never saw it.
        num_samples: samples for each seed.
        num_seeds: number of seeds.
    """
    kind = "held-out" if is_held_out else "training"
    return {
        "real": f"{real.num_bytes:,} bytes of {kind} text in {real.num_documents:,} documents, "
        f"fingerprint {real.fingerprint[:12]}",
        "generated": f"{num_samples:,} samples of at most {SAMPLE_LENGTH} bytes of the averaged "
        f"model for each of {num_seeds} seeds",
        "latents": "the model's own distribution, at temperature 1",
        "versions": {
            "l1jax": l1jax.__version__,
            "jax": jax.__version__,
            "jaxlib": jaxlib_version,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "device": f"{len(jax.devices())} × {jax.devices()[0].device_kind}",
    }

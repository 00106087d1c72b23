"""Text drawn from the language model of a training run, and written to a file."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from l1jax.cli.flag_errors import rename_flags
from l1jax.config import Config, InputError
from l1jax.data.byte_tokens import BOUNDARY, decode, encode, sample_page, to_text
from l1jax.files import atomic_write
from l1jax.models import LanguageModel, Sampling, generate
from l1jax.models.token_sampling import check_sampling
from l1jax.outputs import check_output_file
from l1jax.training.keys import named_seed_key
from l1jax.training.state import Average

BATCH = 64  # samples generated in one compiled call
MAX_LENGTH = 2**20  # bytes of a sample
SUFFIXES = (".txt", ".jsonl")


class TextSample(NamedTuple):
    """One sample.

    Attributes:
        content: bytes of the prompt and its continuation.
        is_finished: whether the document ended, rather than the length.
    """

    content: bytes
    is_finished: bool

    @property
    def text(self) -> str:
        """The content without half a character at the end."""
        return to_text(self.content)


TextSampler = Callable[[Average, int], list[TextSample]]  # (weights, seed) → samples
# (weights, seed, index of the block) → its samples, `BATCH` or fewer
BlockSampler = Callable[[Average, int, int], list[TextSample]]


def check_text_flags(length: int, sampling: Sampling) -> None:
    """Refuse numbers out of their ranges.

    Raises:
        InputError: naming the flag.
    """
    if not 1 <= length <= MAX_LENGTH:
        raise InputError(f"`--length` (={length}) must be at least 1 and at most {MAX_LENGTH:,}.")
    try:
        check_sampling(sampling)
    except ValueError as error:
        flags = {name: f"--{name.replace('_', '-')}" for name in Sampling._fields}
        raise InputError(rename_flags(str(error), flags)) from error


def check_prompt(prompt: str, experiment: Config) -> bytes:
    """Return a prompt's bytes as they were typed.

    Raises:
        InputError: if the model was trained on UTF-8 and they are not.
    """
    content = prompt.encode("utf-8", "surrogateescape")
    if getattr(experiment.data, "encoding", "utf-8") == "utf-8":
        try:
            content.decode()
        except UnicodeDecodeError as error:
            raise InputError(
                f"`--prompt` (={content!r}) must be UTF-8, as the text that the model was trained "
                f"on is; its byte {error.start} is not: set the terminal to UTF-8."
            ) from error
    return content


def check_text_output(value: str) -> Path:
    """Return the path of a .txt or .jsonl file to write.

    Raises:
        InputError: if it has another suffix or cannot be written.
    """
    output = check_output_file(value)
    if output.suffix.lower() not in SUFFIXES:
        raise InputError(f"`--output` (={value}) must end in .txt or .jsonl for samples of text.")
    return output


def make_text_sampler(
    model: LanguageModel, prompt: bytes, count: int, length: int, sampling: Sampling
) -> TextSampler:
    """Build (weights, seed) → samples, of which the first n are the same for every `count` ≥ n.

    Each begins at the beginning of a document, with the prompt, and ends where the document ends
    or `length` bytes after the prompt.

    Args:
        model: the network.
        prompt: how each sample begins; may be empty, or longer than the context.
        count: how many.
        length: the most bytes after the prompt.
        sampling: temperature and which tokens can be drawn.
    """
    sample_block = make_block_sampler(model, prompt, count, length, sampling)

    def sample(average: Average, seed: int) -> list[TextSample]:
        samples = []
        for block in range(count_blocks(count)):
            samples += sample_block(average, seed, block)
        return samples

    return sample


def count_blocks(count: int) -> int:
    """Return the number of blocks in which samples are generated."""
    return -(-count // BATCH)


def make_block_sampler(
    model: LanguageModel, prompt: bytes, count: int, length: int, sampling: Sampling
) -> BlockSampler:
    """Build (weights, seed, block) → the samples of one block of those of `make_text_sampler`.

    Args:
        model: the network.
        prompt: how each sample begins.
        count: how many samples all blocks have together.
        length: the most bytes after the prompt.
        sampling: temperature and which tokens can be drawn.
    """
    prompts = jnp.tile(jnp.asarray(encode(prompt), jnp.int32), (min(count, BATCH), 1))
    draw = jax.jit(partial(generate, model, length=length, sampling=sampling))

    def sample_block(average: Average, seed: int, block: int) -> list[TextSample]:
        start = block * BATCH
        key = jax.random.fold_in(named_seed_key(seed, "sample"), start)
        tokens = np.asarray(draw(average.params, prompts, key))
        samples = []
        for row in tokens[: count - start]:
            is_finished = bool(np.any(row == BOUNDARY))
            samples.append(TextSample(prompt + decode(row), is_finished))
        return samples

    return sample_block


def write_texts(samples: list[TextSample], output: Path) -> None:
    """Write samples as a page, or as one JSON object a line; whole or not at all."""
    with atomic_write(output) as partial_path:
        if output.suffix.lower() == ".txt":
            content = sample_page(sample.text for sample in samples)
        else:
            rows = [{"text": s.text, "is_finished": s.is_finished} for s in samples]
            content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        partial_path.write_text(content, encoding="utf-8")

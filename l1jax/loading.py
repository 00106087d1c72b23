"""Load a trained model in one line, to draw from it in Python: `l1jax.load`."""

import math
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int, Key, PyTree, Shaped

from l1jax import config
from l1jax.cli.flag_errors import rename_flags
from l1jax.config import Config, InputError
from l1jax.data.byte_tokens import decode, encode, to_text
from l1jax.models import Generator, LanguageModel, Network, Sampling, generate
from l1jax.models.latents import truncate
from l1jax.models.token_generation import OWN_DISTRIBUTION
from l1jax.models.token_sampling import check_sampling
from l1jax.reporting.sound import make_sounds
from l1jax.serialization.folder_files import CONFIG, WEIGHTS
from l1jax.serialization.hub import cached_commit, download
from l1jax.serialization.loaded_generator import open_generator
from l1jax.text_runs.loading import names_text, open_text_model
from l1jax.text_runs.samples import check_prompt
from l1jax.training.origin_request import is_repository
from l1jax.training.sampling import Sampler, draw_latents, make_sampler
from l1jax.training.state import Average

Labels = (
    int
    | Sequence[int]
    | Int[Array | np.ndarray, " count"]
    | Float[Array | np.ndarray, "count classes"]
)
TEXTS = 64  # samples of text that are generated in one compiled call


@dataclass(frozen=True)
class ImageModel:
    """A generator of images, or of points, with its weights; call it to draw.

    Attributes:
        generator: latent size, image shape, range and classes.
        params: its parameters.
        batch_stats: its running batch statistics.
        experiment: that it was trained by.
        step: of the training.
        revision: commit of the Hub that it comes from; None for a folder.
    """

    generator: Generator
    params: PyTree
    batch_stats: PyTree
    experiment: Config
    step: int
    revision: str | None = None

    @property
    def network(self) -> Network:
        """The pure functions: `network.apply(params, batch_stats, latents, False, label)`."""
        return self.generator.network

    def __call__(
        self,
        key: Key[Array, ""],
        count: int,
        label: Labels | None = None,
        truncation: float | None = None,
    ) -> Shaped[np.ndarray, "count height width channels"]:
        """Draw images, of which the first n are the same for every `count` ≥ n.

        Args:
            key: random key of the latents, which are standard normal.
            count: how many, at least 1.
            label: class of all images, or of each; or for each the weights of all classes, which
                sum to 1, for what lies between them. By default a class-conditional generator's
                classes take turns.
            truncation: largest entry of a latent, greater than 0; latents are then drawn from the
                normal distribution truncated there. Below 1 images are truer and more alike.

        Returns:
            uint8 images with channels last, or float32 points, with an image of 1 × 1 each.

        Raises:
            InputError: if `count`, `label` or `truncation` is out of range.
        """
        check_count(count)
        labels = check_labels(label, count, self.generator.classes)
        latents = draw_latents(self.generator, key, count)
        if truncation is not None:
            latents = truncate(latents, check_truncation(truncation))
        return self._sample(Average(self.params, self.batch_stats), latents, labels)

    @cached_property
    def _sample(self) -> Sampler:
        return make_sampler(self.generator)


@dataclass(frozen=True)
class SoundModel(ImageModel):
    """A generator of sounds with its weights; call it to draw clips.

    Its attributes are those of `ImageModel`; the generator draws log-mel spectrograms.
    """

    @property
    def sample_rate(self) -> int:
        """Samples per second of a clip."""
        data = self.experiment.data
        assert isinstance(data, config.Sound)
        return data.sample_rate

    def __call__(
        self,
        key: Key[Array, ""],
        count: int,
        label: Labels | None = None,
        truncation: float | None = None,
    ) -> Float32[np.ndarray, "count samples"]:
        """Draw clips, of which the first n are the same for every `count` ≥ n.

        Args:
            key: random key of the latents, which are standard normal.
            count: how many, at least 1.
            label: class of all clips, or of each; by default the classes take turns.
            truncation: largest entry of a latent, as for an `ImageModel`.

        Returns:
            Values from −1 to 1, `sample_rate` of them a second.

        Raises:
            InputError: if `count`, `label` or `truncation` is out of range.
        """
        data = self.experiment.data
        assert isinstance(data, config.Sound)
        return make_sounds(self.spectrograms(key, count, label, truncation), data).clips

    def spectrograms(
        self,
        key: Key[Array, ""],
        count: int,
        label: Labels | None = None,
        truncation: float | None = None,
    ) -> Shaped[np.ndarray, "count mels frames 1"]:
        """Draw the log-mel spectrograms of the clips, uint8.

        Args:
            key: random key of the latents.
            count: how many, at least 1.
            label: class of all, or of each.
            truncation: largest entry of a latent, as for an `ImageModel`.

        Raises:
            InputError: if `count`, `label` or `truncation` is out of range.
        """
        return ImageModel.__call__(self, key, count, label, truncation)


@dataclass(frozen=True)
class TextModel:
    """A language model of bytes with its weights; call it to draw text.

    Attributes:
        language_model: vocabulary, context and the cached decoding of one token after the other.
        params: its parameters.
        batch_stats: empty; networks of other kinds have running statistics.
        experiment: that it was trained by.
        step: of the training.
        revision: commit of the Hub that it comes from; None for a folder.
    """

    language_model: LanguageModel
    params: PyTree
    batch_stats: PyTree
    experiment: Config
    step: int
    revision: str | None = None

    @property
    def network(self) -> Network:
        """The pure functions: `network.apply(params, batch_stats, tokens, False)` gives logits."""
        return self.language_model.network

    def __call__(
        self,
        key: Key[Array, ""],
        count: int,
        prompt: str = "",
        length: int = 400,
        sampling: Sampling = OWN_DISTRIBUTION,
    ) -> list[str]:
        """Draw texts, of which the first n are the same for every `count` ≥ n.

        Each begins at the beginning of a document, with the prompt, and ends where the document
        does, or after `length` further bytes.

        Args:
            key: random key.
            count: how many, at least 1.
            prompt: how each begins.
            length: the most bytes after the prompt, at least 1.
            sampling: temperature, and which bytes can be drawn.

        Raises:
            InputError: if a number is out of its range, or the prompt is not of the encoding that
                the model was trained on.
        """
        check_count(count)
        if type(length) is not int or length < 1:
            raise InputError(f"`length` (={length!r}) must be a whole number of at least 1.")
        try:
            check_sampling(sampling)
            start = check_prompt(prompt, self.experiment)
        except ValueError as error:
            raise InputError(rename_flags(str(error), {"--prompt": "prompt"})) from error
        rows = min(count, TEXTS)
        prompts = jnp.tile(jnp.asarray(encode(start), jnp.int32), (rows, 1))
        texts: list[str] = []
        for first in range(0, count, rows):
            block_key = jax.random.fold_in(key, first)
            tokens = self._generate(self.params, prompts, block_key, length, sampling)
            texts += [to_text(start + decode(row)) for row in np.asarray(tokens)]
        return texts[:count]

    @cached_property
    def _generate(self):
        model = self.language_model
        return jax.jit(
            lambda params, prompts, key, length, sampling: generate(
                model, params, prompts, key, length, sampling
            ),
            static_argnums=(3, 4),
        )


def load(
    source: str | os.PathLike[str], *, revision: str | None = None, step: int | None = None
) -> ImageModel | SoundModel | TextModel:
    """Load a trained model: `images = l1jax.load("runs/digits")(jax.random.key(0), 64)`.

    From the Hub come `config.json` and `model.safetensors`, into the cache of `huggingface_hub`
    (HF_HOME) or out of it; both are checked against each other by SHA-256. Nothing that is loaded
    is executed or unpickled. A model of your own network needs its package, which is imported.

    Args:
        source: a folder that `l1jax.export` or `l1jax.compact` wrote, the work directory of a run,
            or the name of a model on the Hub, owner/name. A folder of that name comes first.
        revision: branch, tag or commit on the Hub; None for the main branch. Only a commit's hash
            names the same weights for ever.
        step: which checkpoint of a run; None for the newest good one.

    Returns:
        An `ImageModel`, `SoundModel` or `TextModel`. Each has `params`, `network` and `experiment`.

    Raises:
        InputError: if there is no such model, or something in it is missing, damaged or another
            model's.
        MissingExtraError: if a package is missing that the extra `train`, or `hub`, brings.
    """
    path = Path(os.path.expanduser(source))
    commit = None
    if not path.exists():
        path, commit = _from_hub(source, revision)
    elif revision is not None:
        raise InputError(
            f"`revision` (={revision}) is for models on the Hub, and `source` (={source}) is a "
            "folder: leave it out."
        )
    try:
        return _open(path, step, commit)
    except InputError as error:
        renames = {"--model": "source", "--workdir": "source", "--step": "step"}
        sentence = rename_flags(str(error), renames)
        if commit is not None:
            sentence = f"{sentence.rstrip('.')} (from {source} at {commit} on the Hub)."
        raise InputError(sentence) from error


def _from_hub(source: str | os.PathLike[str], revision: str | None) -> tuple[Path, str]:
    """Return the folder of the cache that a model of the Hub is in, and its commit."""
    name = os.fspath(source)
    if not is_repository(name):
        raise InputError(
            f"`source` (={name}) must be a folder that is there, or the name of a model on the "
            "Hub, owner/name."
        )
    before = cached_commit(name, revision, CONFIG)
    try:
        found = download(name, revision, (CONFIG, WEIGHTS))
    except InputError as error:
        raise InputError(f"`source` (={name}) is no folder here, and {error}") from error
    if before not in (None, found.commit):
        warnings.warn(
            f"`revision` (={revision or 'main'}) of {name} moved on the Hub since it was last "
            f"loaded here: from commit {before} to {found.commit}; pass revision={before!r} for "
            "the model of before.",
            stacklevel=4,
        )
    return found.folder, found.commit


def _open(path: Path, step: int | None, commit: str | None) -> ImageModel | SoundModel | TextModel:
    if names_text(None, path):
        text = open_text_model(None, path, step, _say)
        params, batch_stats = text.average
        return TextModel(text.model, params, batch_stats, text.experiment, text.step, commit)
    opened = open_generator(None, path, step, _say, "l1jax.load")
    kind = ImageModel
    if isinstance(opened.experiment.data, config.Sound):
        kind = SoundModel
    params, batch_stats = opened.average
    return kind(opened.generator, params, batch_stats, opened.experiment, opened.step, commit)


def _say(sentence: str) -> None:
    """Warn of a checkpoint that was skipped."""
    warnings.warn(sentence, stacklevel=4)


def check_count(count: int) -> None:
    """Raise unless a number of samples is at least 1.

    Raises:
        InputError: if it is not.
    """
    if type(count) is not int or count < 1:
        raise InputError(f"`count` (={count!r}) must be a whole number of at least 1.")


def check_truncation(truncation: float) -> float:
    """Return the largest entry of a latent.

    Raises:
        InputError: if it is no number greater than 0.
    """
    is_number = isinstance(truncation, int | float) and not isinstance(truncation, bool)
    if not is_number or not 0 < truncation < math.inf:
        raise InputError(
            f"`truncation` (={truncation!r}) must be a number greater than 0, or None for latents "
            "as they are drawn."
        )
    return truncation


def check_labels(
    label: Labels | None, count: int, classes: int
) -> Int[Array, " count"] | Float[Array, "count classes"] | None:
    """Return the class of each sample or the weights of the classes; None for all in turn.

    Args:
        label: class of all samples, or of each, or the weights of all classes for each.
        count: how many there are.
        classes: of the generator; 0 if it has none.

    Raises:
        InputError: if the generator has no such class, or there are not as many as samples.
    """
    if label is None:
        return None
    labels = np.asarray(label)
    if not classes:
        raise InputError(f"`label` (={label}) must be left out: the generator has no classes.")
    if labels.dtype.kind == "f" and labels.shape == (count, classes):
        if not np.allclose(labels.sum(axis=1), 1, atol=1e-3):
            raise InputError(
                f"`label` (of shape {labels.shape}) must be weights of the {classes} classes that "
                f"add up to 1 for each sample, and they add up to {labels.sum(axis=1)}."
            )
        return jnp.asarray(labels, jnp.float32)
    if labels.dtype.kind not in "iu" or labels.shape not in ((), (count,)):
        raise InputError(
            f"`label` (={label}) must be a class, or one for each of {count} samples, as integers, "
            f"or the weights of the {classes} classes for each, as floats."
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise InputError(f"`label` (={label}) must be from 0 to {classes - 1}.")
    return jnp.broadcast_to(jnp.asarray(labels, jnp.int32), (count,))

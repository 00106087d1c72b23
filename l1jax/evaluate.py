"""Measure a trained generator: `python -m l1jax.evaluate --workdir runs/digits`."""

import dataclasses
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Shaped
from rich.console import Console

from l1jax import config
from l1jax.build import build_model
from l1jax.command_line import given_path, parse, run, typed_path
from l1jax.compaction.opened import Opened, open_generator
from l1jax.config import InputError
from l1jax.data.batches import order
from l1jax.data.cache import cache_folder
from l1jax.data.classes import describe_classes
from l1jax.data.examples import open_examples
from l1jax.data.mixtures import MIXTURES
from l1jax.data.source import Source, take
from l1jax.data.sources import open_source
from l1jax.evaluation import class_coverage, mode_coverage, pair_similarity
from l1jax.evaluation.classifier import Classifier, classifier_features, predict, stacked_classes, train_classifier
from l1jax.evaluation.features import Extracted, Features, extract_all, pixel_features, random_features
from l1jax.evaluation.inception import inception_features
from l1jax.evaluation.likelihood import log_likelihood
from l1jax.evaluation.scores import feature_scores
from l1jax.evaluation.zeros import count_zeros
from l1jax.files import write_json
from l1jax.models import Vae
from l1jax.models.summary import layers
from l1jax.objectives.variational import bits_per_dimension
from l1jax.reporting.evaluation import show_evaluation
from l1jax.training.sampling import draw_latents, make_sampler
from l1jax.training.task import stream

Images = Shaped[np.ndarray, "count height width channels"]
MOST = 5_000  # images that are compared unless another number is asked for
BOUNDED, DRAWS = 500, 128  # images whose likelihood is bounded, and draws of latents for each
SIDES = range(8, 129)  # of images that the classifier takes


@dataclass(frozen=True)
class EvaluateOptions:
    """Compare a trained generator's images with real ones, and count its zeros."""

    workdir: str | None = None
    """Work directory of the run."""
    model: str | None = None
    """Folder of an exported model, or a program in it; instead of --workdir."""
    step: int | None = None
    """Which checkpoint; by default the newest good one."""
    samples: int = 0
    """Real images, and generated ones per seed; 0 for all real ones, at most 5,000."""
    seeds: int = 3
    """How many sets of latents are drawn; the deviation is over these."""
    inception: str = ""
    """Weights of Inception-v3, from python -m l1jax.evaluation.convert, for the FID; empty for none."""
    path: str = ""
    """Where the real images lie, if no longer where they were trained on."""
    output: str = ""
    """JSON file of all numbers; empty for evaluation.json in the work directory, or the model's folder."""


class View(NamedTuple):
    """Features, and what they see in the real images."""

    features: Features
    real: Extracted


def main(arguments: Sequence[str]) -> int:
    """Evaluate as the flags say; returns the exit status."""
    options = parse(EvaluateOptions, arguments, "python -m l1jax.evaluate")
    workdir, model = given_path("--workdir", options.workdir), given_path("--model", options.model)
    if options.seeds < 1:
        raise InputError(f"`--seeds` (={options.seeds}) must be at least 1; 3 give a deviation.")
    if options.samples and options.samples < 16:
        raise InputError(f"`--samples` (={options.samples}) must be at least 16, or 0 for all.")
    if options.output and not os.path.isdir(typed_path("--output", options.output).absolute().parent):
        raise InputError(f"`--output` (={options.output}) must be in a folder that exists.")
    console = Console(emoji=False)

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    opened = open_generator(workdir, model, options.step, say, "python -m l1jax.evaluate")
    place = next(path for path in (model, workdir) if path is not None)
    beside = (place.parent if os.path.isfile(place) else place) / "evaluation.json"
    output = typed_path("--output", options.output) if options.output else beside
    with console.status("reading the real images"):
        opened = opened._replace(experiment=moved(opened.experiment, options.path))
        training, held_out = open_examples(opened.experiment.data, opened.experiment.holdout, opened.experiment.cache)
        source, origin = (training, "training images") if held_out is None else (held_out, "held-out images")
        count = min(options.samples or MOST, source.length)
        if count < 16:
            raise InputError(f"`{place}` has {count} real images, and 16 are needed to compare with.")
        chosen = order(0, 0, count, source.length)
        real = take(source, np.sort(chosen))[np.argsort(np.argsort(chosen))]  # at random, but read in order
        labels = None if source.labels is None else source.labels[chosen]
    if training.question and not opened.generator.classes:
        say(f"the images are compared without their classes, which are in doubt: {training.question}")
        training, source = (part._replace(labels=None, classes=()) for part in (training, source))
    elif training.labels is not None:
        say(describe_classes(training))
    sampler = make_sampler(opened.generator)
    samples = [Samples(opened, sampler, seed, count) for seed in range(options.seeds)]
    with console.status("looking at the images"):
        if opened.generator.image_range is None:
            found = judge_points(opened, samples)
        else:
            classifier = make_classifier(opened.experiment, training, say)
            found = judge_images(classifier, source, real, samples, options)
            found |= judge_likelihood(opened, real, labels)
    zeros = count_zeros(opened.average.params, layers(opened.generator.network.init))
    result = {
        "step": opened.step,
        "protocol": {
            "real": f"{count:,} of {source.length:,} {origin}, fingerprint {source.fingerprint[:12]}",
            "generated": f"{count:,} of the averaged generator for each of the seeds 0 to {options.seeds - 1}",
            "latents": "standard normal, classes in turn" if opened.generator.classes else "standard normal",
            "versions": {"jax": jax.__version__, "numpy": np.__version__, "python": platform.python_version()},
            "device": f"{len(jax.devices())} × {jax.devices()[0].device_kind}",
        },
        **found,
        "zeros": {
            "kernels": zeros.sparsity,
            "dead_outputs": zeros.dead_outputs,
            "parameters": zeros.parameters,
            "effective_parameters": zeros.effective_parameters,
            "flops": zeros.flops,
            "effective_flops": zeros.effective_flops,
            "bytes": zeros.bytes,
            "compressed_bytes": zeros.compressed_bytes,
            "layers": [layer._asdict() for layer in zeros.layers],
        },
    }
    show_evaluation(result, console)
    write(result, output)
    say(f"all numbers: {output}")
    return 0


def moved(experiment: config.Config, path: str) -> config.Config:
    """The experiment with its images at another path, if one is given.

    Raises:
        InputError: if its data have no path.
    """
    data = experiment.data
    if not path:
        return experiment
    if not hasattr(data, "path"):
        raise InputError(f"`--path` (={path!r}) must be empty for `data` (={type(data).__name__}), which has none.")
    return dataclasses.replace(experiment, data=dataclasses.replace(data, path=path))  # type: ignore[call-arg]


class Samples(NamedTuple):
    """One seed's generated images."""

    opened: Opened
    sampler: Callable[..., Images]  # compiled once for all seeds
    seed: int
    count: int

    def draw(self) -> Images:
        """Generate them; the same for the same seed."""
        latents = draw_latents(self.opened.generator, stream(self.seed, "evaluation"), self.count)
        return self.sampler(self.opened.average, latents)


def judge_points(opened: Opened, samples: Sequence[Samples]) -> dict[str, Any]:
    """Which modes of the mixture the generated points reach."""
    data = opened.experiment.data
    if not isinstance(data, config.MixtureData):
        raise InputError(f"`data` (={type(data).__name__}) must be a mixture for a generator of points.")
    mixture = MIXTURES[data.shape]()
    means = jnp.asarray(mixture.means)
    points = (jnp.asarray(own.draw().reshape(-1, 2)) for own in samples)
    found = [mode_coverage(own, means, mixture.deviation)._asdict() for own in points]
    return {"modes": {"of": len(mixture.means), **spread(found)}}


def judge_images(
    classifier: Classifier | None,
    source: Source,
    real: Images,
    samples: Sequence[Samples],
    options: EvaluateOptions,
) -> dict[str, Any]:
    """Distances, coverage and diversity of the generated images."""
    views = {"pixels": pixel_features()}
    if classifier and classifier.shape == real.shape[1:]:  # else of single digits, where images are stacked ones
        views["classifier"] = classifier_features(classifier)
    else:
        views["random"] = random_features()
    if options.inception:
        views["inception"] = inception_features(typed_path("--inception", options.inception))
    seen = {name: View(features, extract_all(features, real)) for name, features in views.items()}
    half = len(real) // 2
    by_view: dict[str, list[dict[str, float]]] = {name: [] for name in seen}
    similarities, classes = [], []
    for own in samples:
        generated = own.draw()
        for name, view in seen.items():
            scores = feature_scores(view.real, extract_all(view.features, generated), own.seed)
            by_view[name].append(scores)
        similarities.append({"ms_ssim": pair_similarity(generated, pairs=500, seed=own.seed).mean})
        if classifier and source.labels is not None:
            classes.append(judge_classes(classifier, generated, source))
    result: dict[str, Any] = {
        "features": {
            name: {
                "protocol": view.features.protocol,
                "between_real_halves": feature_scores(_rows(view.real, 0, half), _rows(view.real, half, len(real))),
                **spread(by_view[name]),
            }
            for name, view in seen.items()
        },
        "images": {"ms_ssim_of_real": float(pair_similarity(real, pairs=500).mean), **spread(similarities)},
    }
    if classes and classifier and source.labels is not None:
        result["modes"] = {"of": len(np.unique(source.labels)), "accuracy": classifier.accuracy, **spread(classes)}
    return result


def judge_likelihood(opened: Opened, real: Images, labels: np.ndarray | None) -> dict[str, Any]:
    """The importance-weighted bound of a variational autoencoder on real images; nothing for other models."""
    model = build_model(opened.experiment.model, opened.generator.image_shape)
    if not isinstance(model, Vae) or opened.encoder is None:
        return {}
    count = min(BOUNDED, len(real))
    label = jnp.asarray(labels[:count]) if model.generator.classes and labels is not None else None
    bound, key = jax.jit(log_likelihood(model, DRAWS)), stream(0, "likelihood")
    nats = np.asarray(bound(opened.encoder, opened.average.params, jnp.asarray(real[:count]), key, label), np.float64)
    return {
        "likelihood": {
            "protocol": f"importance-weighted bound, {DRAWS} draws, {model.likelihood}, {count:,} of the real images",
            "nats": float(nats.mean()),
            "standard_error": float(nats.std(ddof=1) / np.sqrt(count)),
            "bits_per_dimension": float(bits_per_dimension(jnp.asarray(-nats.mean()), real.shape[1:])),
        }
    }


def make_classifier(experiment: config.Config, source: Source, say: Callable[[str], None]) -> Classifier | None:
    """A classifier of the labelled training images, kept in the cache; None where that is not to be had."""
    data = experiment.data
    if isinstance(data, config.StackedData):
        source = open_source(config.IdxData(data.path, data.split, data.image_size))
    if source.labels is None or len(np.unique(source.labels)) < 2 or not set(source.image_shape[:2]) <= set(SIDES):
        return None
    images = take(source, np.arange(source.length))
    try:
        return train_classifier(images, source.labels, folder=cache_folder() if experiment.cache else None)
    except ValueError as error:
        say(f"no classifier of these labels ({error}); random convolutions are used instead")
        return None


def judge_classes(classifier: Classifier, generated: Images, source: Source) -> dict[str, float]:
    """Which classes the generated images reach, and how far their shares are from the real ones'."""
    stacked = classifier.shape != generated.shape[1:]
    found = (stacked_classes if stacked else predict)(classifier, generated)
    most = classifier.classes ** (generated.shape[-1] if stacked else 1)
    counts = np.bincount(np.asarray(source.labels), minlength=most)
    return {
        name: float(value)
        for name, value in class_coverage(found, counts)._asdict().items()
        if name != "high_quality"  # which needs a confidence
    }


def spread(values: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Mean and deviation over the seeds, and each of them."""
    found = {}
    for name in values[0]:
        each = [float(value[name]) for value in values]
        deviation = float(np.std(each, ddof=1)) if len(each) > 1 else None
        found[name] = {"mean": float(np.mean(each)), "deviation": deviation, "each": each}
    return found


def write(result: dict[str, Any], output: Path) -> None:
    """Write the numbers.

    Raises:
        InputError: if that cannot be done.
    """
    try:
        write_json(output, result)
    except OSError as error:
        raise InputError(f"`--output` (={output}) must be writable: {error.strerror or error}.") from error


def _rows(seen: Extracted, start: int, stop: int) -> Extracted:
    logits = None if seen.logits is None else np.asarray(seen.logits)[start:stop]
    return Extracted(np.asarray(seen.features)[start:stop], logits)


if __name__ == "__main__":
    run(main)

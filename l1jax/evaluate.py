"""Measure a trained generator: `python -m l1jax.evaluate --workdir runs/digits`."""

import os
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Shaped
from rich.console import Console

from l1jax import config
from l1jax.build import build_model
from l1jax.command_line import given_path, parse, run, typed_path
from l1jax.compaction.opened import Opened, check_drawn, open_generator
from l1jax.config import InputError
from l1jax.data.class_labels import describe_classes
from l1jax.data.mixture_source import MIXTURES
from l1jax.evaluation import mode_coverage
from l1jax.evaluation.classifier import Classifier
from l1jax.evaluation.features import FeatureExtractor
from l1jax.evaluation.inception import inception_features
from l1jax.evaluation.likelihood import log_likelihood
from l1jax.evaluation.comparison import (
    LARGEST,
    Drawn,
    compare,
    count_different,
    make_views,
    misleading_precision,
    sameness,
    spread,
)
from l1jax.evaluation.zeros import count_zeros
from l1jax.files import write_json
from l1jax.evaluation.source_classifier import class_scores, make_classifier
from l1jax.models import Vae
from l1jax.models.summary import layers
from l1jax.objectives.variational import bits_per_dimension
from l1jax.outputs import check_file, not_written
from l1jax.own_flags import own_flags
from l1jax.real_images import (
    MIN_IMAGES,
    RealImages,
    data_errors_in_flags,
    read_real_images,
    with_data_path,
)
from l1jax.reporting.evaluation import show_evaluation
from l1jax.terminal import Say, make_say
from l1jax.training.keys import named_seed_key
from l1jax.training.sampling import draw_latents, make_sampler

Images = Shaped[np.ndarray, "count height width channels"]
BOUNDED, DRAWS = 500, 128  # images whose likelihood is bounded, and draws of latents for each


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
    """Generated images per seed, and as many real ones, or all of these where there are fewer; 0 for
    as many as there are real ones, at most 5,000."""
    seeds: int = 3
    """How many sets of latents are drawn; the deviation is over these."""
    inception: str = ""
    """Weights of Inception-v3, from python -m l1jax.evaluation.convert, for the FID; empty for none."""
    path: str = ""
    """Where the real images lie, if no longer where they were trained on."""
    output: str = ""
    """JSON file of all numbers; empty for evaluation.json in the work directory, or the model's folder."""


@own_flags(EvaluateOptions)
def main(arguments: Sequence[str]) -> int:
    """Evaluate as the flags say; returns the exit status."""
    options = parse(EvaluateOptions, arguments, "python -m l1jax.evaluate")
    workdir = given_path("--workdir", options.workdir)
    model = given_path("--model", options.model)
    check_options(options)
    inception = inception_of(options)  # read before anything else, for a wrong file is soon told
    console = Console(emoji=False)
    say = make_say(console)

    opened = open_generator(workdir, model, options.step, say, "python -m l1jax.evaluate")
    opened = opened._replace(experiment=with_data_path(opened.experiment, options.path))
    check_subject(opened, options)
    place = next(path for path in (model, workdir) if path is not None)
    folder = place.parent if os.path.isfile(place) else place
    output = check_file(options.output or str(folder / "evaluation.json"))
    with console.status("reading the real images"):
        subject = read_real_images(opened, options, place)
    if subject.training.labels is not None:
        say(describe_classes(subject.training))
    generated = options.samples or len(subject.real)
    sampler = make_sampler(opened.generator)
    samples = [Samples(opened, sampler, seed, generated) for seed in range(options.seeds)]
    remarks = list(subject.remarks)
    with console.status("looking at the images"):
        if opened.generator.image_range is None:
            found = judge_points(opened, samples)
        else:
            with data_errors_in_flags(options):
                classifier = make_classifier(opened.experiment, subject.training, remarks.append)
            found = judge_images(classifier, subject, samples, inception, remarks.append)
            found |= judge_likelihood(opened, subject.real, subject.labels)
    zeros = count_zeros(opened.average.params, layers(opened.generator.network.init))
    result = {
        "step": opened.step,
        "protocol": protocol(opened, subject, generated, options.seeds),
        **found,
        "zeros": zeros.to_json(),
        **({"remarks": remarks} if remarks else {}),
    }
    show_evaluation(result, console)
    try:
        write_json(output, result)
    except OSError as error:
        raise not_written(output, error) from error
    say(f"all numbers: {output}")
    return 0


def check_options(options: EvaluateOptions) -> None:
    """Refuse flags that cannot be, before anything is read.

    Raises:
        InputError: naming the flag.
    """
    if options.seeds < 1:
        raise InputError(f"`--seeds` (={options.seeds}) must be at least 1; 3 give a deviation.")
    if options.samples and options.samples < MIN_IMAGES:
        raise InputError(
            f"`--samples` (={options.samples}) must be at least {MIN_IMAGES}, or 0 for as many as "
            "there are real images."
        )
    if options.output:
        check_file(options.output)


def inception_of(options: EvaluateOptions) -> FeatureExtractor | None:
    """The features of Inception-v3, if they are asked for.

    Raises:
        InputError: if its file is not there or not that network's.
    """
    if not options.inception:
        return None
    try:
        return inception_features(typed_path("--inception", options.inception))
    except InputError as error:
        raise InputError(f"`--inception` (={options.inception}) cannot be used: {error}") from error


def check_subject(opened: Opened, options: EvaluateOptions) -> None:
    """Refuse what cannot be measured of this generator, before its images are read.

    Raises:
        InputError: if it draws points of no mixture, or Inception is to see points.
    """
    data = opened.experiment.data
    if opened.generator.image_range is not None:
        return
    if not isinstance(data, config.MixtureData):
        raise InputError(
            f"`data` (={type(data).__name__}) must be a mixture for a generator of points."
        )
    if options.inception:
        raise InputError(
            f"`--inception` (={options.inception}) must be left out for a generator of points, which are no images."
        )


def protocol(opened: Opened, subject: RealImages, generated: int, seeds: int) -> dict[str, Any]:
    """How the numbers were taken."""
    source = subject.source
    real = f"{len(subject.real):,} of {source.length:,} {subject.origin}"
    latents = "standard normal, classes in turn" if opened.generator.classes else "standard normal"
    of_seeds = f"for each of the seeds 0 to {seeds - 1}" if seeds > 1 else "for the seed 0"
    versions = {
        "jax": jax.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
    return {
        "real": f"{real}, fingerprint {source.fingerprint[:12]}",
        "generated": f"{generated:,} of the averaged generator {of_seeds}",
        "latents": latents,
        "versions": versions,
        "device": f"{len(jax.devices())} × {jax.devices()[0].device_kind}",
    }


class Samples(NamedTuple):
    """One seed's generated images."""

    opened: Opened
    sampler: Callable[..., Images]  # compiled once for all seeds
    seed: int
    count: int

    def draw(self) -> Images:
        """Generate them; the same for the same seed.

        Raises:
            InputError: if they are NaN or infinite.
        """
        latents = draw_latents(
            self.opened.generator, named_seed_key(self.seed, "evaluation"), self.count
        )
        images = self.sampler(self.opened.average, latents)
        check_drawn(self.opened, images)
        return images


def judge_points(opened: Opened, samples: Sequence[Samples]) -> dict[str, Any]:
    """Which modes of the mixture the generated points reach."""
    data = opened.experiment.data
    assert isinstance(data, config.MixtureData)
    mixture = MIXTURES[data.shape]()
    means = jnp.asarray(mixture.means)
    points = (jnp.asarray(own.draw().reshape(-1, 2)) for own in samples)
    found = [mode_coverage(own, means, mixture.deviation)._asdict() for own in points]
    return {"modes": {"of": len(mixture.means), **spread(found)}}


def judge_images(
    classifier: Classifier | None,
    subject: RealImages,
    samples: Sequence[Samples],
    inception: FeatureExtractor | None,
    remark: Say,
) -> dict[str, Any]:
    """Distances, coverage and diversity of the generated images.

    Args:
        classifier: of the training images.
        subject: the real images.
        samples: the generated ones, drawn one seed after the other.
        inception: features of Inception-v3.
        remark: told what the numbers cannot say.
    """
    source = subject.source
    real = subject.real
    views = make_views(real.shape[1:], classifier, inception)
    if "random" not in views:
        remark(
            f"images of more than {LARGEST:,} pixels a side are not seen through random convolutions."
        )
    classes = []

    def drawn() -> Iterator[Drawn]:
        for own in samples:
            images = own.draw()
            if classifier is not None and source.labels is not None:
                classes.append(class_scores(classifier, images, source))
            yield Drawn(own.seed, images)

    result = compare(views, real, drawn())
    different = result["images"]["different"]["each"]
    repeated = sameness(different, samples[0].count, count_different(real))
    for sentence in (*repeated, *misleading_precision(result["features"])):
        remark(sentence)
    if classes and classifier is not None:
        modes = {"of": len(np.unique(np.asarray(source.labels))), "accuracy": classifier.accuracy}
        result["modes"] = {**modes, **spread(classes)}
    return result


def judge_likelihood(opened: Opened, real: Images, labels: np.ndarray | None) -> dict[str, Any]:
    """The importance-weighted bound of a variational autoencoder on real images; nothing for other models."""
    model = build_model(opened.experiment.model, opened.generator.image_shape)
    if not isinstance(model, Vae) or opened.encoder is None:
        return {}
    count = min(BOUNDED, len(real))
    label = jnp.asarray(labels[:count]) if model.generator.classes and labels is not None else None
    bound, key = jax.jit(log_likelihood(model, DRAWS)), named_seed_key(0, "likelihood")
    nats = np.asarray(
        bound(opened.encoder, opened.average.params, jnp.asarray(real[:count]), key, label),
        np.float64,
    )
    return {
        "likelihood": {
            "protocol": f"importance-weighted bound, {DRAWS} draws, {model.likelihood}, {count:,} of the real images",
            "nats": float(nats.mean()),
            "standard_error": float(nats.std(ddof=1) / np.sqrt(count)),
            "bits_per_dimension": float(
                bits_per_dimension(jnp.asarray(-nats.mean()), real.shape[1:])
            ),
        }
    }


if __name__ == "__main__":
    run(main)

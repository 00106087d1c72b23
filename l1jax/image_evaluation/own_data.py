"""Evaluate a generator with the data that it was trained on, or that were held out."""

from functools import partial

import numpy as np
from jaxtyping import Int

from l1jax import config
from l1jax.build import build_image_model
from l1jax.cli.options import EvaluateOptions
from l1jax.config import InputError
from l1jax.data.batches import shuffled_indices
from l1jax.data.mixture_source import MIXTURES
from l1jax.data.source import take
from l1jax.evaluation.comparison import JsonObject, Training
from l1jax.evaluation.evaluate_samples import (
    ImageReference,
    evaluate_images,
    evaluate_points,
)
from l1jax.evaluation.model_likelihood import evaluate_likelihood
from l1jax.evaluation.pictures import as_image_set
from l1jax.evaluation.source_classifier import make_classifier
from l1jax.evaluation.zeros import count_zeros
from l1jax.image_evaluation.drawing import draw_for_seeds
from l1jax.image_evaluation.networks import Networks
from l1jax.image_evaluation.paths import add_path_length
from l1jax.image_evaluation.protocol import describe_drawing, environment
from l1jax.image_evaluation.real_images import RealImages, data_errors_in_flags
from l1jax.image_evaluation.saving import saving_images
from l1jax.image_evaluation.sound import evaluate_sound
from l1jax.models import Flow, Vae
from l1jax.models.summary import layers
from l1jax.reporting.sound import spectrograms_through_sound
from l1jax.serialization.loaded_generator import LoadedGenerator
from l1jax.terminal import Say
from l1jax.training.keys import named_seed_key

MAX_TRAINING = 20_000  # training images that copies are looked for among


def check_generator(loaded: LoadedGenerator, networks: Networks, options: EvaluateOptions) -> None:
    """Raise if this generator cannot be evaluated as asked, before the real images are read.

    Args:
        loaded: the generator.
        networks: name → features of networks.
        options: the command's flags.

    Raises:
        InputError: if it draws points of no mixture, or a network is to be applied to points.
    """
    model_with_likelihood(loaded, options)
    data = loaded.experiment.data
    if loaded.generator.image_range is not None:
        return
    if not isinstance(data, config.MixtureData):
        raise InputError(
            f"`data` (={type(data).__name__}) must be a mixture for a generator of points."
        )
    flags = [name for name, _ in networks]
    flags += ["accuracy-score"] * options.accuracy_score + ["path-length"] * options.path_length
    for name in flags:
        raise InputError(
            f"`--{name}` must be left out for a generator of points: they are no images."
        )


def evaluate(
    loaded: LoadedGenerator,
    real_images: RealImages,
    options: EvaluateOptions,
    networks: Networks,
) -> JsonObject:
    """Draw from the generator and measure what it draws.

    Args:
        loaded: the generator.
        real_images: what its images are compared with.
        options: the command's flags.
        networks: name → features of networks.

    Returns:
        All numbers, as `evaluation.json` holds them.
    """
    data = loaded.experiment.data
    num_generated = options.samples or len(real_images.real)
    generated = saving_images(options.save_images)(
        draw_for_seeds(loaded, options.seeds, num_generated)
    )
    remarks = list(real_images.remarks)
    if loaded.generator.image_range is None:
        assert isinstance(data, config.MixtureData)
        points = (np.asarray(of_seed.images).reshape(-1, 2) for of_seed in generated)
        scores = evaluate_points(points, MIXTURES[data.shape]())
    else:
        with data_errors_in_flags(options):
            classifier = make_classifier(loaded.experiment, real_images.training, remarks.append)
        through_sound = None
        if isinstance(data, config.Sound):
            through_sound = partial(spectrograms_through_sound, data=data)
        reference = ImageReference(
            real_images.real,
            real_images.source,
            classifier,
            dict(networks),
            through_sound,
            held_out_labels(real_images),
            training_images(real_images, remarks.append),
            real_images.labels,
            options.accuracy_score,
        )
        scores = evaluate_images(generated, num_generated, reference, remarks.append)
        if options.path_length:
            add_path_length(scores, loaded, remarks.append)
    model = model_with_likelihood(loaded, options)
    if model is not None:
        scores |= evaluate_likelihood(
            model,
            loaded.encoder,
            loaded.average,
            real_images.real,
            real_images.labels,
            named_seed_key(0, "likelihood"),
        )
    if isinstance(data, config.Sound):
        held_out = None
        if real_images.source is not real_images.training:
            held_out = real_images.real
        scores["sound"] = evaluate_sound(
            loaded, data, real_images.training, held_out, remarks.append
        )
    zeros = count_zeros(loaded.average.params, layers(loaded.generator.network.init))
    result = {
        "step": loaded.step,
        "protocol": describe_protocol(loaded, real_images, num_generated, options.seeds),
        **scores,
        "zeros": zeros.to_json(),
    }
    if remarks:
        result["remarks"] = remarks
    return result


def model_with_likelihood(loaded: LoadedGenerator, options: EvaluateOptions) -> Vae | Flow | None:
    """Return the networks if their likelihood is to be computed, as a VAE's always is.

    Args:
        loaded: the generator.
        options: the command's flags.

    Raises:
        InputError: if a likelihood is asked for that the model does not have.
    """
    if loaded.encoder is None and not options.likelihood:
        return None
    model = build_image_model(loaded.experiment.model, loaded.generator.image_shape)
    if isinstance(model, Flow) and options.likelihood:
        return model
    if isinstance(model, Vae) and loaded.encoder is not None:
        return model
    if options.likelihood:
        raise InputError(
            "`--likelihood` must be left out here: only flows have one, and variational "
            "autoencoders whose --workdir is given, because exported ones have no encoder."
        )
    return None


def training_images(real_images: RealImages, say: Say) -> Training | None:
    """Return the images that copies are looked for among; None if these are the real ones.

    Args:
        real_images: what the generated images are compared with.
        say: takes a sentence if not all training images are looked at.
    """
    training = real_images.training
    if real_images.source is training and len(real_images.real) == training.length:
        return None
    count = min(training.length, MAX_TRAINING)
    if count < training.length:
        say(
            f"copies are looked for among {count:,} of {training.length:,} training images; a "
            "generator that copies others is not found."
        )
    index = np.sort(shuffled_indices(0, 0, count, training.length))
    images = as_image_set(take(training, index))
    return Training(images, real_images.source is training)


def held_out_labels(real_images: RealImages) -> Int[np.ndarray, " count"] | None:
    """Return the classes of the real images if these are held out; None otherwise."""
    if real_images.source is real_images.training:
        return None
    return real_images.labels


def describe_protocol(
    loaded: LoadedGenerator, real_images: RealImages, num_generated: int, num_seeds: int
) -> JsonObject:
    """Describe how the numbers were taken.

    Args:
        loaded: the generator.
        real_images: what its images were compared with.
        num_generated: images per seed.
        num_seeds: number of seeds.
    """
    source = real_images.source
    num_real = len(real_images.real)
    return {
        "real": f"{num_real:,} of {source.length:,} {real_images.origin}, fingerprint "
        f"{source.fingerprint[:12]}",
        **describe_drawing(loaded.generator, num_generated, num_seeds),
        **environment(),
    }

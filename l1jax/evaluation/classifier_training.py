"""Train a classifier of labelled images, and keep it in a folder."""

import hashlib
import json
import logging
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import unflatten_dict
from jaxtyping import Array, Bool, Float, Int, Integer, Key, PyTree

from l1jax.config import InputError
from l1jax.data.augmentation import translation
from l1jax.evaluation.classifier import (
    SIDES,
    Classifier,
    Images,
    Network,
    flatten_parameters,
    predict,
)
from l1jax.evaluation.features import Extracted, scaled
from l1jax.evaluation.tensors import load_tensors, save_tensors

MIN_TRANSLATED_SIDE = 16  # pixels, of images that may lose their rim
MAX_PASSES = 40  # over the images
RECIPE = 1
"""Raised whenever the network or its training changes, so that no older classifier is reused."""


@dataclass(frozen=True)
class ClassifierSettings:
    """Settings of the training: AdamW with a one-cycle learning rate.

    Images are moved by up to an eighth of their side, unless they are tiny.

    steps: updates; fewer if they were more than 40 passes over the images.
    batch_size: images per update.
    learning_rate: the highest learning rate.
    hidden: number of features, the width of the last layer but one.
    dropout: share of the features that are dropped.
    held_out: share of the images that are not trained on.
    seed: of the weights, the order of the images and their moves.
    """

    steps: int = 1_500
    batch_size: int = 128
    learning_rate: float = 3e-3
    hidden: int = 128
    dropout: float = 0.3
    held_out: float = 0.1
    seed: int = 0


def train_classifier(
    images: Images,
    labels: Integer[np.ndarray, " n"],
    settings: ClassifierSettings | None = None,
    folder: Path | str | None = None,
) -> Classifier:
    """Train a classifier of labelled images; the same arguments give the same classifier.

    A hash of its pixels decides whether an image is held out. So an image that is there twice is
    never both trained on and tested with, and stays on its side when others come or go.

    Args:
        images: images of one shape, with sides from 8 to 128 pixels.
        labels: classes, from 0 to the number of classes − 1.
        settings: of the training; None for `ClassifierSettings()`.
        folder: keeps classifiers, each under what it was trained on. A classifier that is there is
            not trained again, unless its file is damaged. None to keep nothing.

    Raises:
        ValueError: if images and labels do not fit, a class has no image to train on, no image is
            held out, or a setting is out of range.
        InputError: if the folder cannot be made. If only the file cannot be written, as on a full
            disk, a warning says so.
    """
    settings = settings or ClassifierSettings()
    is_held_out = check_examples(images, labels, settings)
    classes = int(labels.max()) + 1
    num_held_out = int(is_held_out.sum())
    most_frequent = np.bincount(labels[is_held_out].astype(np.int64)).max()
    chance = max(1 / classes, float(most_frequent) / num_held_out)
    fingerprint = _fingerprint(images, labels, settings)
    path = None
    if folder is not None:
        path = Path(folder).expanduser() / f"classifier-{fingerprint[:16]}.safetensors"
        stored = _load(path, fingerprint)
        if stored is not None:
            return stored._replace(held_out=num_held_out, chance=chance)
        _make_folder(path.parent)
    parameters = _train(images[~is_held_out], labels[~is_held_out].astype(np.int32), settings)
    trained = Classifier(
        parameters=parameters,
        classes=classes,
        shape=images.shape[1:],
        accuracy=0.0,
        trained_on=fingerprint,
        held_out=num_held_out,
        chance=chance,
    )
    is_right = predict(trained, images[is_held_out]) == labels[is_held_out]
    trained = trained._replace(accuracy=float(np.mean(is_right)))
    if path is not None:
        _save(path, trained)
    return trained


def check_examples(
    images: Images, labels: Integer[np.ndarray, " n"], settings: ClassifierSettings
) -> Bool[np.ndarray, " n"]:
    """Check images, labels and settings, and choose the images that are held out.

    Args:
        images: see `train_classifier`.
        labels: see `train_classifier`.
        settings: see `train_classifier`.

    Returns:
        Whether each image is held out.

    Raises:
        ValueError: as `train_classifier` does.
    """
    low, high = SIDES
    if not all(low <= side <= high for side in images.shape[1:3]):
        raise ValueError(
            f"`images` (of shape {images.shape}) must have sides from {low} to {high} pixels."
        )
    if not (0 < settings.held_out < 1 and 0 <= settings.dropout < 1 and settings.learning_rate > 0):
        raise ValueError(
            f"`settings` (={settings}) must have shares between 0 and 1 and a positive learning "
            "rate."
        )
    smallest = min(settings.steps, settings.batch_size, settings.hidden)
    if smallest < 1 or not 0 <= settings.seed < 2**32:
        raise ValueError(
            f"`settings` (={settings}) must have positive numbers, and a seed below 2**32."
        )
    hashes = [hashlib.blake2b(image.tobytes(), digest_size=6).digest() for image in images]
    threshold = settings.held_out * 2**48
    is_held_out = np.array([int.from_bytes(h, "big") < threshold for h in hashes], bool)
    if not is_held_out.any():
        raise ValueError(f"`images` (={len(images)}) must be more: none is held out to test with.")
    classes = set(range(max(int(labels.max()) + 1, 2)))
    missing = classes - set(labels[~is_held_out].tolist())
    if missing or labels.min() < 0:
        example = ""
        if missing:
            example = f"; class {min(missing)} has none"
        raise ValueError(
            f"`labels` (from {labels.min()} to {labels.max()}) must be classes from 0 on, at least "
            f"two, each with an image to train on{example}."
        )
    return is_held_out


def _train(images: Images, labels: Int[np.ndarray, " n"], settings: ClassifierSettings) -> PyTree:
    """Minimise the cross entropy; return the parameters."""
    steps = min(settings.steps, math.ceil(MAX_PASSES * len(images) / settings.batch_size))
    network = Network(int(labels.max()) + 1, settings.hidden, settings.dropout)
    schedule = optax.cosine_onecycle_schedule(steps, settings.learning_rate, pct_start=0.2)
    tx = optax.adamw(schedule, weight_decay=1e-2)

    def loss_fn(
        params: PyTree, x: Array, y: Int[Array, " batch"], key: Key[Array, ""]
    ) -> Float[Array, ""]:
        outputs = network.apply({"params": params}, x, True, rngs={"dropout": key})
        logits = cast(Array, cast(Extracted, outputs).logits)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, y))

    @jax.jit
    def run(images: Array, labels: Array, key: Key[Array, ""]) -> PyTree:
        init_key, steps_key = jax.random.split(key)
        params = network.init(init_key, scaled(images[:1]), False)["params"]

        def step(carry: PyTree, key: Key[Array, ""]) -> tuple[PyTree, None]:
            params, opt_state = carry
            index_key, move_key, dropout_key = jax.random.split(key, 3)
            index = jax.random.randint(index_key, (settings.batch_size,), 0, len(images))
            moves = jax.random.uniform(move_key, (settings.batch_size, 2))
            x = images[index].astype(jnp.float32)
            if min(x.shape[1:3]) >= MIN_TRANSLATED_SIDE:
                x = translation(x, moves)
            grads = jax.grad(loss_fn)(params, scaled(x), labels[index], dropout_key)
            updates, opt_state = tx.update(grads, opt_state, params)
            return (optax.apply_updates(params, updates), opt_state), None

        carry = (params, tx.init(params))
        (params, _), _ = jax.lax.scan(step, carry, jax.random.split(steps_key, steps))
        return params

    return jax.tree.map(np.asarray, run(images, labels, jax.random.key(settings.seed)))


def _fingerprint(
    images: Images, labels: Integer[np.ndarray, " n"], settings: ClassifierSettings
) -> str:
    """Hash everything that determines the classifier."""
    description = json.dumps([RECIPE, images.shape, asdict(settings)])
    content = (
        description.encode(),
        np.ascontiguousarray(images).data,
        labels.astype("<i8").tobytes(),
    )
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in content)).hexdigest()


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"`folder` (={folder}) must be a folder: {error.strerror or error}."
        ) from error


def _save(path: Path, trained: Classifier) -> None:
    description = trained._asdict()
    del description["parameters"]
    metadata = {"classifier": json.dumps(description)}
    try:
        save_tensors(path, flatten_parameters(trained.parameters), metadata)
    except OSError as error:
        reason = error.strerror or error
        logging.getLogger(__name__).warning(
            "The classifier cannot be kept in %s (%s). It is used all the same.", path, reason
        )


def _load(path: Path, fingerprint: str) -> Classifier | None:
    """Load a classifier; None if the file is missing, damaged or holds another classifier."""
    if not path.exists():
        return None
    try:
        tensors, metadata = load_tensors(path)
        description = json.loads(metadata["classifier"])
        if description["trained_on"] == fingerprint:
            description["shape"] = tuple(description["shape"])
            # Older files have neither of these two.
            description = {"held_out": 0, "chance": 0.0, **description}
            return Classifier(unflatten_dict(tensors, sep="/"), **description)
    except (InputError, KeyError, TypeError, ValueError) as error:
        logging.getLogger(__name__).warning(
            "%s is damaged (%s): the classifier is trained again.", path, error
        )
    return None

"""A small classifier of a labelled data set: features and classes of its images, without any download."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Bool, Float, Int, Integer, Key, PyTree, UInt8

from l1jax.config import InputError
from l1jax.data.augmentation import translation
from l1jax.evaluation.features import Extracted, FeatureExtractor, extract_all, scaled
from l1jax.evaluation.tensors import Tensors, hash_tensors, load_tensors, save_tensors
from l1jax.models.linear import Conv, Dense

WIDTHS = (32, 64, 128)  # of the stages, each of which halves the image
SMALLEST, LARGEST = (
    7,
    48,
)  # pixels at which they stop, and above which images are made smaller first
SIDES = (8, 128)  # pixels, the smallest and the largest
MOVED = 16  # pixels, the smallest side whose rim can be lost
PASSES = 40  # over the images at most
RECIPE = 1  # raised whenever the network or its training changes, so that no older classifier is taken for it

Images = UInt8[np.ndarray, "n height width channels"]
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class ClassifierSettings:
    """How a classifier is trained: AdamW with a one-cycle learning rate, all but tiny images moved by up to an eighth.

    steps: updates; fewer where they were more than 40 passes over the images.
    batch_size: images per update.
    learning_rate: the highest.
    hidden: features, the width of the last layer but one.
    dropout: of the features.
    held_out: share of the images that are kept from training.
    seed: of the weights, the order of the images and their moves.
    """

    steps: int = 1_500
    batch_size: int = 128
    learning_rate: float = 3e-3
    hidden: int = 128
    dropout: float = 0.3
    held_out: float = 0.1
    seed: int = 0


class Classifier(NamedTuple):
    """A trained classifier.

    parameters: the network's.
    classes: how many.
    shape: of its images, height × width × channels.
    accuracy: share of the held-out images that it classifies as they are labelled.
    trained_on: sha256 of images, labels and settings.
    held_out: how many images that accuracy is of.
    chance: the accuracy of guessing: the share of the most frequent class among the held-out images, or one over the
        number of classes where that is more.
    """

    parameters: PyTree
    classes: int
    shape: Shape
    accuracy: float
    trained_on: str
    held_out: int
    chance: float


class Network(nn.Module):
    """Stages of a convolution of stride 2 and one of stride 1 until the image is small, then two dense layers."""

    classes: int
    hidden: int
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], train: bool
    ) -> Extracted:
        """Features, and the logits of what dropout leaves of them in training."""
        x = images
        while max(x.shape[1:3]) > LARGEST:
            x = nn.avg_pool(x, (2, 2), (2, 2))
        for stage, width in enumerate(WIDTHS):
            if stage and max(x.shape[1:3]) <= SMALLEST:
                break
            x = nn.relu(Conv(width, 4, 2, name=f"down_{stage}")(x))
            x = nn.relu(Conv(width, 3, name=f"conv_{stage}")(x))
        features = nn.relu(Dense(self.hidden, name="hidden")(x.reshape(x.shape[0], -1)))
        kept = nn.Dropout(self.dropout, deterministic=not train)(features)
        return Extracted(features, Dense(self.classes, name="logits")(kept))


def train_classifier(
    images: Images,
    labels: Integer[np.ndarray, " n"],
    settings: ClassifierSettings | None = None,
    folder: Path | str | None = None,
) -> Classifier:
    """Train a classifier of labelled images; the same arguments give the same one.

    Which images are held out is a hash of their pixels: an image that is there twice is never both trained on and
    tested with, and stays on its side when others come or go.

    Args:
        images: all of one shape, sides from 8 to 128 pixels.
        labels: classes, 0 to one less than there are.
        settings: how to train; None for `ClassifierSettings()`.
        folder: keeps classifiers, each under what it was trained on. One that is there is not trained again, unless it
            is damaged.

    Raises:
        ValueError: if images and labels do not fit, a class has no image to train on, none is held out, or a setting is
            out of range.
        InputError: if there can be no such folder. Where only the file cannot be written, as on a full disk, a warning
            says so.
    """
    settings = settings or ClassifierSettings()
    held_out = check_examples(images, labels, settings)
    classes = int(labels.max()) + 1
    tests = int(held_out.sum())
    chance = max(1 / classes, float(np.bincount(labels[held_out].astype(np.int64)).max()) / tests)
    key = _fingerprint(images, labels, settings)
    path = (
        None if folder is None else Path(folder).expanduser() / f"classifier-{key[:16]}.safetensors"
    )
    kept = None if path is None else _load(path, key)
    if kept is not None:
        return kept._replace(held_out=tests, chance=chance)
    if path is not None:
        _make_folder(path.parent)
    parameters = _train(images[~held_out], labels[~held_out].astype(np.int32), settings)
    trained = Classifier(parameters, classes, images.shape[1:], 0.0, key, tests, chance)
    accuracy = float(np.mean(predict(trained, images[held_out]) == labels[held_out]))
    trained = trained._replace(accuracy=accuracy)
    if path is not None:
        _save(path, trained)
    return trained


def classifier_features(trained: Classifier) -> FeatureExtractor:
    """See images by a classifier of their own kind: its last layer but one, and its logits."""
    protocol = (
        f"classifier of {trained.classes} classes of {'×'.join(map(str, trained.shape))} images, last layer but one, "
        f"held-out accuracy {trained.accuracy:.4f}, weights {hash_tensors(_flat(trained.parameters))[:8]}"
    )
    details = {
        "accuracy": trained.accuracy,
        "held_out": trained.held_out,
        "chance": trained.chance,
    }
    return FeatureExtractor(protocol, _extractor(trained.shape), trained.parameters, details)


def predict(
    trained: Classifier, images: Images | Iterable[Images], batch: int = 512
) -> Int[np.ndarray, " n"]:
    """Find the most likely class of each image."""
    return np.argmax(
        cast(Any, extract_all(classifier_features(trained), images, batch).logits), axis=-1
    )


def stacked_classes(
    trained: Classifier, images: Images | Iterable[Images]
) -> Int[np.ndarray, " n"]:
    """Find the class of images whose every channel is a grey image with a class of its own.

    The class is the number whose digits, to the base `trained.classes`, are the channels' classes, the first channel
    leading: one of 1,000 on stacked MNIST, the modes that its papers count.

    Args:
        trained: a classifier of grey images of that height and width.
        images: uint8, of any number of channels, or arrays of them in turn.

    Source: Srivastava et al., "VEEGAN", NeurIPS 2017, section 4.2; Lin et al., "PacGAN", NeurIPS 2018, section 4.2.
    """
    channels = 0

    def grey() -> Iterable[Images]:
        nonlocal channels
        for part in [images] if isinstance(images, np.ndarray | jax.Array) else images:
            channels = part.shape[3]
            yield np.moveaxis(np.asarray(part), 3, 1).reshape(-1, *part.shape[1:3], 1)

    digits = predict(trained, grey()).reshape(-1, channels)
    return digits @ trained.classes ** np.arange(channels)[::-1]


def check_examples(
    images: Images, labels: Integer[np.ndarray, " n"], settings: ClassifierSettings
) -> Bool[np.ndarray, " n"]:
    """Which images are held out.

    Raises:
        ValueError: as `train_classifier`.
    """
    low, high = SIDES
    if not all(low <= side <= high for side in images.shape[1:3]):
        raise ValueError(
            f"`images` (of shape {images.shape}) must have sides from {low} to {high} pixels."
        )
    if not (0 < settings.held_out < 1 and 0 <= settings.dropout < 1 and settings.learning_rate > 0):
        raise ValueError(
            f"`settings` (={settings}) must have shares between 0 and 1 and a positive learning rate."
        )
    if (
        min(settings.steps, settings.batch_size, settings.hidden) < 1
        or not 0 <= settings.seed < 2**32
    ):
        raise ValueError(
            f"`settings` (={settings}) must have positive numbers, and a seed below 2**32."
        )
    hashes = [hashlib.blake2b(image.tobytes(), digest_size=6).digest() for image in images]
    held_out = np.array(
        [int.from_bytes(h, "big") < settings.held_out * 2**48 for h in hashes], bool
    )
    if not held_out.any():
        raise ValueError(f"`images` (={len(images)}) must be more: none is held out to test with.")
    missing = set(range(max(int(labels.max()) + 1, 2))) - set(labels[~held_out].tolist())
    if missing or labels.min() < 0:
        raise ValueError(
            f"`labels` (from {labels.min()} to {labels.max()}) must be classes from 0 on, at least two, each with an "
            f"image to train on{f'; class {min(missing)} has none' if missing else ''}."
        )
    return held_out


def _train(images: Images, labels: Int[np.ndarray, " n"], settings: ClassifierSettings) -> PyTree:
    """Minimise the cross entropy."""
    steps = min(settings.steps, -(-PASSES * len(images) // settings.batch_size))
    network = Network(int(labels.max()) + 1, settings.hidden, settings.dropout)
    schedule = optax.cosine_onecycle_schedule(steps, settings.learning_rate, pct_start=0.2)
    tx = optax.adamw(schedule, weight_decay=1e-2)

    def loss_fn(
        params: PyTree, x: Array, y: Int[Array, " batch"], key: Key[Array, ""]
    ) -> Float[Array, ""]:
        seen = cast(Extracted, network.apply({"params": params}, x, True, rngs={"dropout": key}))
        return jnp.mean(
            optax.softmax_cross_entropy_with_integer_labels(cast(Array, seen.logits), y)
        )

    @jax.jit
    def run(images: Array, labels: Array, key: Key[Array, ""]) -> PyTree:
        start, order = jax.random.split(key)
        params = network.init(start, scaled(images[:1]), False)["params"]

        def step(carry: PyTree, key: Key[Array, ""]) -> tuple[PyTree, None]:
            params, opt_state = carry
            which, where, drop = jax.random.split(key, 3)
            index = jax.random.randint(which, (settings.batch_size,), 0, len(images))
            moves = jax.random.uniform(where, (settings.batch_size, 2))
            x = images[index].astype(jnp.float32)
            x = scaled(translation(x, moves) if min(x.shape[1:3]) >= MOVED else x)
            updates, opt_state = tx.update(
                jax.grad(loss_fn)(params, x, labels[index], drop), opt_state, params
            )
            return (optax.apply_updates(params, updates), opt_state), None

        return jax.lax.scan(step, (params, tx.init(params)), jax.random.split(order, steps))[0][0]

    return jax.tree.map(np.asarray, run(images, labels, jax.random.key(settings.seed)))


@cache
def _extractor(shape: Shape) -> Callable[..., Extracted]:
    def extract(
        parameters: PyTree, images: UInt8[Array, "batch _height _width _channels"]
    ) -> Extracted:
        if images.shape[1:] != shape:
            raise ValueError(
                f"`images` (of shape {images.shape}) must be of {shape}, as the classifier's own."
            )
        hidden, classes = parameters["logits"]["kernel"].shape
        return cast(
            Extracted, Network(classes, hidden).apply({"params": parameters}, scaled(images), False)
        )

    return extract


def _fingerprint(
    images: Images, labels: Integer[np.ndarray, " n"], settings: ClassifierSettings
) -> str:
    described = json.dumps([RECIPE, images.shape, asdict(settings)])
    content = (
        described.encode(),
        np.ascontiguousarray(images).data,
        labels.astype("<i8").tobytes(),
    )
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in content)).hexdigest()


def _flat(parameters: PyTree) -> Tensors:
    return cast(Tensors, flatten_dict(parameters, sep="/"))


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"`folder` (={folder}) must be a folder: {error.strerror or error}."
        ) from error


def _save(path: Path, trained: Classifier) -> None:
    described = {name: value for name, value in trained._asdict().items() if name != "parameters"}
    try:
        save_tensors(path, _flat(trained.parameters), {"classifier": json.dumps(described)})
    except OSError as error:
        why = error.strerror or error
        logging.getLogger(__name__).warning(
            "The classifier cannot be kept in %s (%s): it is used all the same.", path, why
        )


def _load(path: Path, key: str) -> Classifier | None:
    """The classifier in a file, if it is whole and the one that is wanted."""
    if not path.exists():
        return None
    try:
        tensors, metadata = load_tensors(path)
        described = json.loads(metadata["classifier"])
        if described["trained_on"] == key:
            described["shape"] = tuple(described["shape"])
            described = {"held_out": 0, "chance": 0.0, **described}  # which older files do not have
            return Classifier(unflatten_dict(tensors, sep="/"), **described)
    except (InputError, KeyError, TypeError, ValueError) as error:
        logging.getLogger(__name__).warning(
            "%s is damaged (%s): the classifier is trained again.", path, error
        )
    return None

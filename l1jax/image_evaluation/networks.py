"""The networks whose features are compared, by the flags that name their weights."""

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from l1jax.cli.flags import parse_path
from l1jax.cli.options import EvaluateOptions
from l1jax.config import InputError
from l1jax.evaluation.features import FeatureExtractor
from l1jax.evaluation.inception import inception_features
from l1jax.evaluation.vision_features import clip_features, dinov2_features

Networks: TypeAlias = tuple[tuple[str, FeatureExtractor], ...]


def load_networks(options: EvaluateOptions) -> Networks:
    """Load the networks that are asked for.

    Returns:
        Pairs of a name and its features.

    Raises:
        InputError: if a file is missing or does not hold that network's weights.
    """
    of_inception = partial(inception_features, resizing=options.resizing)
    asked: tuple[tuple[str, str, Callable[..., FeatureExtractor]], ...] = (
        ("inception", options.inception, of_inception),
        ("dinov2", options.dinov2, dinov2_features),
        ("clip", options.clip, clip_features),
    )
    networks = []
    for name, value, load in asked:
        if not value:
            continue
        try:
            networks.append((name, load(parse_path(f"--{name}", value))))
        except InputError as error:
            raise InputError(f"`--{name}` (={value}) cannot be used: {error}") from error
    return tuple(networks)

"""How many generated images are copies of training images, or nearly so."""

from typing import NamedTuple

import numpy as np

from l1jax.evaluation.manifold import Neighbourhood, nearest_neighbours, neighbourhood
from l1jax.evaluation.pairwise import Features

SHARE = 0.01  # of real images that are nearer to a training image than the threshold


class Memorisation(NamedTuple):
    """What the distances of generated images to training images say."""

    near_copies: float
    """Share of the generated images that are nearer to a training image than `threshold`."""
    authenticity: float
    """Share of them that are farther from their nearest training image than that one is from its
    own nearest: about a half for new images, 0 for copies."""
    threshold: float
    """Distance that the share 0.01 of real images are nearer to a training image than."""


def memorisation(
    generated: Features, training: Features, held_out: Features | None = None
) -> Memorisation:
    """Look for copies of training images among generated ones.

    Args:
        generated: features of the generated images, a row each.
        training: features of the training images; at least two rows.
        held_out: features of real images that were not trained on, of which 0.01 are within the
            threshold; None to take each training image and the others.

    Raises:
        InputError: if there are too few rows, or features are not finite.

    Source: Alaa et al., "How faithful is your synthetic data?", ICML 2022, section 3.3
    (authenticity).
    """
    return memorisation_of(generated, neighbourhood(training, 1, "training"), held_out)


def memorisation_of(
    generated: Features, training: Neighbourhood, held_out: Features | None = None
) -> Memorisation:
    """Compute `memorisation` with the distances between training images, which are kept.

    Args:
        generated: features of the generated images, a row each.
        training: the training images.
        held_out: as there.

    Raises:
        InputError: as there.
    """
    calibrating = training.to_other
    if held_out is not None:
        calibrating = nearest_neighbours(held_out, training.points).distances[:, 0]
    threshold = float(np.quantile(calibrating, SHARE))
    distances, indices = nearest_neighbours(generated, training.points)
    nearest = distances[:, 0]
    is_near = (nearest < threshold) | (nearest == 0)
    is_authentic = nearest > training.to_other[indices[:, 0]]
    return Memorisation(float(is_near.mean()), float(is_authentic.mean()), threshold)

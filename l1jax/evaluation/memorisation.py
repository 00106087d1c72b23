"""How many generated images are copies of training images, or nearly so."""

from typing import NamedTuple

import numpy as np

from l1jax.evaluation.manifold import nearest_neighbours
from l1jax.evaluation.pairwise import Features, feature_matrix

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
    rows = feature_matrix(training, "training", least=2)
    among_training = nearest_neighbours(rows, rows, k=2).distances[:, 1]
    calibrating = among_training
    if held_out is not None:
        calibrating = nearest_neighbours(held_out, rows).distances[:, 0]
    threshold = float(np.quantile(calibrating, SHARE))
    distances, indices = nearest_neighbours(generated, rows)
    nearest = distances[:, 0]
    is_near = (nearest < threshold) | (nearest == 0)
    is_authentic = nearest > among_training[indices[:, 0]]
    return Memorisation(float(is_near.mean()), float(is_authentic.mean()), threshold)

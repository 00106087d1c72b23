"""Inception score: how certain the classes of images are, and how many classes there are in all."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from l1jax.arrays import TableLike, as_matrix
from l1jax.config import InputError
from l1jax.evaluation.pairwise import Rows, check_integer


class InceptionScore(NamedTuple):
    """Between 1 and the number of classes, over splits of the images."""

    mean: float
    deviation: float
    """Standard deviation over the splits, divided by their number and not by one less."""


def inception_score(logits: TableLike, splits: int = 10) -> InceptionScore:
    """Score how certain the classes of single images are, and how varied the classes of all are.

    exp of the mean KL(p(y|x) ‖ p(y)), where p(y) is the mean over the images of a split, in float64
    on the host. Any number may be added to an image's logits, so the logarithms of its
    probabilities are logits too, −∞ among them. Splits are consecutive, so shuffle images that are
    sorted by class.

    Args:
        logits: a classifier's, or `np.log` of its probabilities; a row for each image.
        splits: parts of nearly equal size.

    Raises:
        InputError: if the logits are no matrix of numbers, there are fewer images than splits, or a
            row of logits has no softmax.

    Source: Salimans et al., NeurIPS 2016, section 4.
    """
    rows = as_matrix(logits, "logits")
    if not 1 <= check_integer(splits, "splits", least=0) <= len(rows):
        raise InputError(
            f"`splits` (={splits}) must be between 1 and the number of images (={len(rows)})."
        )
    edges = [i * len(rows) // splits for i in range(splits + 1)]
    scores = [np.exp(_information(rows[start:end])) for start, end in pairwise(edges)]
    return InceptionScore(float(np.mean(scores)), float(np.std(scores)))


def _information(logits: Rows) -> float:
    """Compute the mean KL divergence of the images' classes from their mixture, in nats."""
    logits = logits.astype(np.float64)
    largest = np.max(logits, axis=1, keepdims=True)
    if not np.isfinite(largest).all():
        raise InputError(
            f"`logits` ({np.sum(~np.isfinite(largest))} images with NaN, +∞ or nothing but −∞) "
            "must be finite or −∞."
        )
    logits -= largest
    log_p = logits - np.log(np.sum(np.exp(logits), axis=1, keepdims=True))
    p = np.exp(log_p)
    marginal = np.mean(p, axis=0)
    log_ratio = np.where(p > 0, log_p, 0) - np.log(np.where(marginal > 0, marginal, 1))
    return float(np.sum(p * log_ratio) / len(p))

"""The losses of linear models in NumPy, with their derivatives in the linear predictor η."""

from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from jaxtyping import Float64
from scipy.special import expit, gammaln, logsumexp, softmax

from l1jax.config import InputError

FamilyName: TypeAlias = Literal["squared", "logistic", "multinomial", "poisson", "huber"]
FAMILY_NAMES: tuple[FamilyName, ...] = get_args(FamilyName)
CLASSIFIERS = ("logistic", "multinomial")  # whose target is a class
Predictor: TypeAlias = Float64[np.ndarray, "... examples outputs"]
PerExample: TypeAlias = Float64[np.ndarray, "... examples"]
# Huber's loss has no curvature in its tails; a Newton step needs some to know how far to go.
FLAT = 1e-3


class Loss(NamedTuple):
    """A convex loss ℓ(η, y) of one example; η and y have one column, or one for each class.

    Attributes:
        value: ℓ.
        slope: the gradient of ℓ in η.
        curvature: the second derivative in η. The multinomial loss has the probabilities p here,
            and its second derivative is diag(p) − ppᵀ.
    """

    value: Callable[[Predictor, Predictor], PerExample]
    slope: Callable[[Predictor, Predictor], Predictor]
    curvature: Callable[[Predictor, Predictor], Predictor]


def _squared_value(eta: Predictor, y: Predictor) -> PerExample:
    return np.square(eta - y)[..., 0] / 2


def _logistic_value(eta: Predictor, y: Predictor) -> PerExample:
    return (np.logaddexp(0, eta) - y * eta)[..., 0]


def _multinomial_value(eta: Predictor, y: Predictor) -> PerExample:
    return logsumexp(eta, axis=-1) - np.sum(y * eta, axis=-1)


def _exp(eta: Predictor) -> Predictor:
    with np.errstate(over="ignore"):  # a step that is too long is taken back
        return np.exp(eta)


def _poisson_value(eta: Predictor, y: Predictor) -> PerExample:
    return (_exp(eta) - y * eta)[..., 0]


LOSSES: dict[str, Loss] = {
    "squared": Loss(_squared_value, lambda eta, y: eta - y, lambda eta, y: np.ones_like(eta)),
    "logistic": Loss(
        _logistic_value,
        lambda eta, y: expit(eta) - y,
        lambda eta, y: expit(eta) * expit(-eta),
    ),
    "multinomial": Loss(
        _multinomial_value,
        lambda eta, y: softmax(eta, axis=-1) - y,
        lambda eta, y: softmax(eta, axis=-1),
    ),
    "poisson": Loss(_poisson_value, lambda eta, y: _exp(eta) - y, lambda eta, y: _exp(eta)),
}


def huber(delta: float) -> Loss:
    """Return Huber's loss: r²/2 of residuals up to δ, and δ|r| − δ²/2 beyond.

    Args:
        delta: δ > 0, in units of the target.

    Source: Huber, Ann. Math. Stat. 35 (1964), section 4.
    """

    def value(eta: Predictor, y: Predictor) -> PerExample:
        size = np.abs(eta - y)[..., 0]
        inside = np.minimum(size, delta)
        return inside * (size - inside / 2)

    def curvature(eta: Predictor, y: Predictor) -> Predictor:
        return np.where(np.abs(eta - y) <= delta, 1.0, FLAT)

    return Loss(value, lambda eta, y: np.clip(eta - y, -delta, delta), curvature)


def loss_of(family: str, delta: float | None = None) -> Loss:
    """Return the loss of a family.

    Args:
        family: "squared", "logistic", "multinomial", "poisson" or "huber".
        delta: of Huber's loss; None in the other families.

    Raises:
        InputError: if the family is unknown, or `delta` is missing or not that of the family.
    """
    if family not in FAMILY_NAMES:
        raise InputError(f"`family` (={family!r}) must be one of {', '.join(FAMILY_NAMES)}.")
    if family != "huber":
        if delta is not None:
            raise InputError(
                f"`delta` (={delta!r}) must be left out in the {family} family: it is for "
                '`family="huber"`.'
            )
        return LOSSES[family]
    if delta is None or isinstance(delta, bool | str) or not 0 < delta < np.inf:
        raise InputError(
            f"`delta` (={delta!r}) must be greater than 0 and finite in the huber family: the "
            "residual, in units of `target`, beyond which the loss is linear, such as 1.345 times "
            "the standard deviation of the noise."
        )
    return huber(float(delta))


def log_likelihood(family: str, eta: Predictor, y: Predictor) -> PerExample:
    """Return the logarithm of each example's probability, in nats.

    Args:
        family: "logistic", "multinomial" or "poisson"; the others have a variance to know.
        eta: η.
        y: the target; of classes, 1 for the right one.
    """
    losses = LOSSES[family].value(eta, y)
    if family == "poisson":
        losses = losses + gammaln(y[..., 0] + 1)
    return -losses

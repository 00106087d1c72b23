"""Make grids of strengths, from weak to strong."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64
from numpy.typing import ArrayLike
from scipy.optimize import brentq

from l1jax.arrays import TableLike, as_numbers
from l1jax.config import InputError
from l1jax.penalties import Penalty, by_path, first_strength, l1, largest_strength
from l1jax.selection.examples import LinearExamples, read_examples, read_one_row
from l1jax.selection.linear_fit import column_variances, outputs_of
from l1jax.selection.losses import FamilyName, Loss, loss_of

# The strongest strength is this share above what the gradient says, so that all solvers agree.
ROUNDING = 1e-12
FORM = "write `low:high:count`, such as 1e-6:1e-3:8, or a list, such as 1e-5,1e-4,1e-3"


def check_strengths(strengths: ArrayLike) -> Float64[np.ndarray, " strengths"]:
    """Return the strengths as an array, if they are those of a path.

    Raises:
        InputError: if they are fewer than two, not finite, negative, or do not increase.
    """
    grid = as_numbers(strengths, "strengths").astype(np.float64)
    if grid.ndim != 1 or grid.size < 2:
        raise InputError(
            f"`strengths` (={_shown(grid)}) must be at least two to choose from; {FORM}."
        )
    if not np.all(np.isfinite(grid) & (grid >= 0)):
        raise InputError(
            f"`strengths` (={_shown(grid)}) must all be finite and at least 0; {FORM}."
        )
    if np.any(np.diff(grid) <= 0):
        remedy = ",".join(f"{strength:g}" for strength in np.unique(grid)[:20])
        raise InputError(
            f"`strengths` (={_shown(grid)}) must increase, each stronger than the last: {remedy}."
        )
    return grid


def strength_grid(low: float, high: float, count: int) -> Float64[np.ndarray, " count"]:
    """Return strengths from `low` to `high` at equal ratios, both included.

    Args:
        low: the weakest, greater than 0.
        high: the strongest.
        count: how many, at least two.

    Raises:
        InputError: if not 0 < low < high, or `count` is less than two.

    >>> strength_grid(1e-4, 1.0, 3).tolist()
    [0.0001, 0.01, 1.0]
    """
    if not (np.isfinite(low) and low > 0 and np.isfinite(high) and high > 0):
        raise InputError(
            f"`strengths` (from {low:g} to {high:g}) must be finite and greater than 0; {FORM}."
        )
    if count < 2 or count != int(count):
        raise InputError(
            f"`strengths` (={low:g}:{high:g}:{count}) must be at least two to choose from; {FORM}."
        )
    if not low < high:
        raise InputError(
            f"`strengths` (={low:g}:{high:g}:{count}) must go from low to high: "
            f"{high:g}:{low:g}:{count}."
        )
    return check_strengths(np.geomspace(low, high, count))


def parse_strengths(text: str) -> Float64[np.ndarray, " strengths"]:
    """Read `low:high:count`, a logarithmic grid, or a comma-separated list in increasing order.

    Raises:
        InputError: if it is neither, or the strengths are not those of a path.

    >>> parse_strengths("1e-4:1:3").tolist(), parse_strengths("0, 1e-4, 0.5").tolist()
    ([0.0001, 0.01, 1.0], [0.0, 0.0001, 0.5])
    """
    parts = text.split(":")
    if len(parts) not in (1, 3):
        raise InputError(f"`strengths` (={text!r}) must have three parts between colons; {FORM}.")
    not_numbers = InputError(f"`strengths` (={text!r}) must be numbers; {FORM}.")
    if len(parts) == 1:
        try:
            listed = [float(part) for part in text.split(",")]
        except ValueError:
            raise not_numbers from None
        return check_strengths(listed)
    try:
        low = float(parts[0])
        high = float(parts[1])
        count = int(parts[2])
    except ValueError:
        raise not_numbers from None
    return strength_grid(low, high, count)


def linear_strengths(
    features: TableLike,
    target: TableLike,
    penalty: Penalty | None = None,
    *,
    count: int = 100,
    eps: float = 1e-3,
    family: FamilyName = "squared",
    weights: TableLike | None = None,
    intercept: bool = True,
    standardize: bool = False,
    delta: float | None = None,
) -> Float64[np.ndarray, " count"]:
    """Return strengths at equal ratios, up to the one that leaves a linear model no coefficient.

    The strongest is the smallest strength at which all coefficients are zero, to 12 digits.

    Args:
        features: x, as for `fit_path`.
        target: y, as for `fit_path`.
        penalty: what the strengths multiply; by default `l1(1.0)`, so that they are λ.
        count: how many strengths.
        eps: the weakest as a share of the strongest.
        family: the loss, as for `fit_path`, a mean over the examples.
        weights: of the examples, one for each; by default all equal.
        intercept: whether the model has an intercept, which is not penalised.
        standardize: as for `fit_path`.
        delta: as for `fit_path`.

    Raises:
        InputError: if the data cannot be used, the features explain nothing of the target, so that
            no strength is needed, `count` is less than two, or `eps` is not between 0 and 1.
        ValueError: if the penalty has no such strength; see `l1jax.largest_strength`.

    Source: Friedman, Hastie, Tibshirani, J. Stat. Softw. 33 (2010), section 2.5.
    """
    if not 0 < eps < 1:
        raise InputError(
            f"`eps` (={eps}) must be between 0 and 1: the weakest strength as a share of the "
            "strongest."
        )
    family_loss = loss_of(family, delta)
    examples = read_examples(features, target, family)
    rows = read_one_row(weights, examples)
    rows = rows / rows.sum()
    gradient = gradient_at_zero(examples, rows, family, family_loss, intercept)
    if standardize:
        variances, _ = column_variances(examples.features, rows[None], intercept)
        gradient = gradient / np.sqrt(variances[0]).reshape(-1, *(1,) * (gradient.ndim - 1))
    if penalty is None:
        penalty = l1(1.0)
    _, exponent = np.frexp(np.abs(gradient).max())
    unit = np.ldexp(gradient, -exponent)  # near 1, where no strength over- or underflows
    with jax.enable_x64(True):
        linear = jnp.asarray(unit)

        # Any loss with this gradient gives the same strength.
        def loss(params: dict[str, Array]) -> Float[Array, ""]:
            return jnp.sum(linear * params["slopes"])

        strongest = largest_strength(
            loss, {"slopes": jnp.zeros_like(linear)}, by_path({"^slopes$": penalty})
        )
    strongest = float(np.ldexp(strongest / first_strength(penalty), exponent)) * (1 + ROUNDING)
    return strength_grid(strongest * eps, strongest, count)


def gradient_at_zero(
    examples: LinearExamples,
    weights: Float64[np.ndarray, " examples"],
    family: FamilyName,
    loss: Loss,
    intercept: bool,
) -> Float64[np.ndarray, "features *classes"]:
    """Return the gradient of the loss at β = 0 and the best intercept.

    Args:
        examples: x and y.
        weights: of sum 1.
        family: of the loss.
        loss: ℓ.
        intercept: whether the model has one.

    Raises:
        InputError: if the gradient is zero up to rounding.
    """
    x = examples.features
    y = outputs_of(examples, family)
    used = weights > 0
    if np.ptp(examples.target[used]) == 0 and intercept:
        raise InputError(
            f"`target` (all {examples.target[used][0]:g}) must vary for features to explain it: no "
            "coefficient is left at any strength."
        )
    if not intercept:
        residual = loss.slope(np.zeros_like(y), y)
        centred = x
    elif family == "huber":
        residual = loss.slope(np.full_like(y, _middle(y[:, 0], weights, loss)), y)
        centred = x - weights @ x
    else:  # at the best intercept the prediction is the mean of y, whatever the link
        residual = weights @ y - y
        centred = x - weights @ x
    gradient = centred.T @ (weights[:, None] * residual)
    centred_size = np.abs(centred).max(axis=0)
    size = np.abs(x).max(axis=0)
    rounding = np.finfo(np.float64).eps * (
        size * np.abs(residual).max() + centred_size * np.abs(y).max()
    )
    if not np.any(np.abs(gradient) > 8 * rounding[:, None]):
        raise InputError(
            f"`features` (of shape {x.shape}, uncorrelated with `target`) must explain some of it, "
            "and constant columns cannot: no coefficient is left at any strength."
        )
    return gradient if family == "multinomial" else gradient[:, 0]


def _middle(
    y: Float64[np.ndarray, " examples"], weights: Float64[np.ndarray, " examples"], loss: Loss
) -> float:
    """Return the number of the least loss, where the slope changes its sign."""

    def slope(middle: float) -> float:
        return float(weights @ loss.slope(np.full((len(y), 1), middle), y[:, None])[:, 0])

    root: Any = brentq(slope, y.min(), y.max(), xtol=1e-15 * float(np.ptp(y)))
    return float(root)


def _shown(grid: np.ndarray) -> str:
    return np.array2string(grid, threshold=10, separator=", ")

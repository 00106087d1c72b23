"""Make grids of strengths, from weak to strong."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64
from numpy.typing import ArrayLike

from l1jax.arrays import TableLike, as_numbers
from l1jax.config import InputError
from l1jax.penalties import Penalty, by_path, first_strength, l1, largest_strength
from l1jax.selection.examples import LinearExamples, read_examples
from l1jax.selection.solver import FamilyName

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
    intercept: bool = True,
) -> Float64[np.ndarray, " count"]:
    """Return strengths at equal ratios, up to the one that leaves a linear model no coefficient.

    The strongest is the smallest strength at which all coefficients are zero, to 12 digits.

    Args:
        features: x, as for `fit_path`.
        target: y; the logistic family needs two classes.
        penalty: what the strengths multiply; by default `l1(1.0)`, so that they are λ.
        count: how many strengths.
        eps: the weakest as a share of the strongest.
        family: the loss, (η − y)²/2 or log(1 + exp η) − yη, a mean over the examples.
        intercept: whether the model has an intercept, which is not penalised.

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
    examples = read_examples(features, target, family)
    gradient = _gradient_at_zero(examples, intercept)
    if penalty is None:
        penalty = l1(1.0)
    _, exponent = np.frexp(np.abs(gradient).max())
    unit = np.ldexp(gradient, -exponent)  # near 1, where no strength over- or underflows
    with jax.enable_x64(True):
        linear = jnp.asarray(unit)

        # Any loss with this gradient gives the same strength.
        def loss(params: dict[str, Array]) -> Float[Array, ""]:
            return linear @ params["slopes"]

        strongest = largest_strength(
            loss, {"slopes": jnp.zeros_like(linear)}, by_path({"^slopes$": penalty})
        )
    strongest = float(np.ldexp(strongest / first_strength(penalty), exponent)) * (1 + ROUNDING)
    return strength_grid(strongest * eps, strongest, count)


def _gradient_at_zero(
    examples: LinearExamples, intercept: bool
) -> Float64[np.ndarray, " features"]:
    """Return the gradient of the mean loss at β = 0 and the best intercept.

    There the residual is ȳ − y in both families.

    Raises:
        InputError: if the gradient is zero up to rounding.
    """
    x, y, classes = examples
    if intercept:
        residual = y.mean() - y
        centred = x - x.mean(axis=0)
    else:
        prediction = 0.0 if classes is None else 0.5
        residual = prediction - y
        centred = x
    gradient = centred.T @ residual / len(y)
    if np.ptp(y) == 0 and intercept:
        raise InputError(
            f"`target` (all {y[0]:g}) must vary for features to explain it: no coefficient is left "
            "at any strength."
        )
    centred_size = np.abs(centred).max(axis=0)
    size = np.abs(x).max(axis=0)
    rounding = np.finfo(np.float64).eps * (
        size * np.abs(residual).max() + centred_size * np.abs(y).max()
    )
    if not np.any(np.abs(gradient) > 8 * rounding):
        raise InputError(
            f"`features` (of shape {x.shape}, uncorrelated with `target`) must explain some of it, "
            "and constant columns cannot: no coefficient is left at any strength."
        )
    return gradient


def _shown(grid: np.ndarray) -> str:
    return np.array2string(grid, threshold=10, separator=", ")

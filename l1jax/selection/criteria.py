"""Compute information criteria: a model's misfit plus a price for its degrees of freedom."""

from typing import TypeAlias

import jax
import numpy as np
from jaxtyping import Array, Float, Float64
from numpy.typing import ArrayLike
from scipy.special import gammaln

from l1jax.arrays import TableLike
from l1jax.config import InputError
from l1jax.penalties import Penalty
from l1jax.selection.examples import read_examples, read_one_row

NOISELESS = (
    "`target` must have noise that the models do not fit, but one of them fits every example "
    "exactly, because `target` is constant or a combination of `features`, so that its likelihood "
    "is infinite: give the noise's `variance`, stronger strengths, or take cross-validation."
)
Numbers: TypeAlias = Float64[np.ndarray, "*models"] | np.float64


def gaussian_log_likelihood(
    squares: ArrayLike, examples: float, variance: ArrayLike | None = None
) -> Numbers:
    """Compute −n/2·log 2πσ² − RSS/2σ², in nats, summed over the examples.

    Args:
        squares: RSS, the sum of squared residuals, or an array of such sums.
        examples: n.
        variance: σ² of the noise, the same for all models that are compared; by default RSS/n of
            each model.

    Raises:
        InputError: if a variance is not greater than 0, because a model without noise has an
            infinite likelihood.
    """
    rss = np.asarray(squares, np.float64)
    if np.any(rss < 0):
        raise InputError(
            f"`squares` (down to {np.nanmin(rss):g}) must be at least 0: sums of squares."
        )
    if variance is None:
        sigma2 = rss / examples
        if np.any(sigma2 == 0):
            raise InputError(NOISELESS)
    else:
        sigma2 = np.asarray(variance, np.float64)
        if not np.all((sigma2 > 0) & np.isfinite(sigma2)):
            raise InputError(f"`variance` (={variance}) must be greater than 0 and finite.")
    return -examples / 2 * np.log(2 * np.pi * sigma2) - rss / (2 * sigma2)


def noise_variance(
    features: TableLike,
    target: TableLike,
    intercept: bool = True,
    weights: TableLike | None = None,
) -> float:
    """Estimate the variance σ² of the noise by least squares, without bias.

    The estimate is RSS/(n − p − 1), or RSS/(n − p) without an intercept.

    Args:
        features: x, a row for each of the n examples.
        target: y.
        intercept: whether the model has one.
        weights: how often each example counts, by default once; n is their sum.

    Raises:
        InputError: if no degree of freedom is left for the noise, or the noise is zero up to
            rounding.
    """
    examples = read_examples(features, target, "squared")
    x, target, _ = examples
    counts = read_one_row(weights, examples)
    total = float(counts.sum())
    freedom = total - x.shape[1] - intercept
    if freedom < 1:
        rows = "" if total == len(x) else f", with weights of the sum {total:g},"
        raise InputError(
            f"`features` (of shape {x.shape}){rows} must have more rows than parameters to "
            "estimate the noise from: give its variance, let each model have its own, or take "
            "cross-validation."
        )
    columns = np.column_stack([x, np.ones(len(x))]) if intercept else x
    roots = np.sqrt(counts)
    fitted = np.linalg.lstsq(columns * roots[:, None], target * roots, rcond=None)[0]
    residuals = roots * (target - columns @ fitted)
    squares = float(residuals @ residuals)
    refuse_noiseless(squares, target)
    return squares / freedom


def refuse_noiseless(squares: ArrayLike, target: Float[np.ndarray, " examples"]) -> None:
    """Refuse sums of squared residuals that are zero up to rounding.

    Raises:
        InputError: if any of them is.
    """
    rounding = len(target) * np.finfo(np.float64).eps * np.abs(target).max(initial=0)
    if np.any(np.asarray(squares) <= len(target) * rounding**2):
        raise InputError(NOISELESS)


def read_variance(
    features: Float[np.ndarray, "examples features"],
    target: Float[np.ndarray, " examples"],
    intercept: bool,
    variance: float | str,
    counts: Float[np.ndarray, " examples"] | None = None,
) -> float:
    """Return the variance of the noise: the given number, or the estimate of "least squares".

    Args:
        features: x.
        target: y.
        intercept: whether the model has one.
        variance: a number greater than 0, or "least squares".
        counts: how often each example counts, by default once.

    Raises:
        InputError: if `variance` is neither, or cannot be estimated.
    """
    if isinstance(variance, str):
        if variance != "least squares":
            raise InputError(
                f"`variance` (={variance!r}) must be a number, 'least squares' or 'own'."
            )
        return noise_variance(features, target, intercept, counts)
    if not 0 < variance < np.inf:
        raise InputError(f"`variance` (={variance}) must be greater than 0 and finite.")
    return float(variance)


def aic(log_likelihood: ArrayLike, degrees_of_freedom: ArrayLike) -> Numbers:
    """Compute −2 log L + 2 df, Akaike's criterion, which estimates the loss on new examples.

    Source: Akaike, IEEE Trans. Autom. Control 19 (1974); for the df of the lasso, Zou,
    Hastie, Tibshirani, Ann. Stat. 35 (2007), theorem 1.
    """
    return -2 * np.asarray(log_likelihood, np.float64) + 2 * np.asarray(
        degrees_of_freedom, np.float64
    )


def aicc(log_likelihood: ArrayLike, degrees_of_freedom: ArrayLike, examples: float) -> Numbers:
    """Compute AIC + 2 df (df + 1)/(n − df − 1), for few examples; it is ∞ where df ≥ n − 1.

    Args:
        log_likelihood: log L, in nats, summed over the examples.
        degrees_of_freedom: df.
        examples: n.

    Source: Hurvich and Tsai, Biometrika 76 (1989).
    """
    df = np.asarray(degrees_of_freedom, np.float64)
    left = examples - df - 1
    correction = 2 * df * (df + 1) / np.where(left > 0, left, 1)
    return aic(log_likelihood, df) + np.where(left > 0, correction, np.inf)


def bic(log_likelihood: ArrayLike, degrees_of_freedom: ArrayLike, examples: float) -> Numbers:
    """Compute −2 log L + log(n) df, Schwarz's criterion, which finds the true model as n grows.

    Args:
        log_likelihood: log L, in nats, summed over the examples.
        degrees_of_freedom: df.
        examples: n.

    Source: Schwarz, Ann. Stat. 6 (1978).
    """
    return -2 * np.asarray(log_likelihood, np.float64) + np.log(examples) * np.asarray(
        degrees_of_freedom, np.float64
    )


def ebic(
    log_likelihood: ArrayLike,
    degrees_of_freedom: ArrayLike,
    examples: float,
    parameters: int,
    gamma: float = 1.0,
) -> Numbers:
    """Compute BIC + 2γ log (p choose df), for more parameters than examples.

    The last term is the price of choosing among the many models of one size.

    Args:
        log_likelihood: log L, in nats, summed over the examples.
        degrees_of_freedom: df; the gamma function extends the binomial coefficient to fractions.
        examples: n.
        parameters: p, out of which the model chose.
        gamma: γ in [0, 1]; 0 is BIC.

    Raises:
        InputError: if `gamma` is not in [0, 1].

    Source: Chen and Chen, Biometrika 95 (2008), section 2.
    """
    check_gamma(gamma)
    df = np.asarray(degrees_of_freedom, np.float64)
    models = gammaln(parameters + 1) - gammaln(df + 1) - gammaln(parameters - df + 1)
    return bic(log_likelihood, df, examples) + 2 * gamma * models


def check_gamma(gamma: float) -> None:
    """Refuse a γ of `ebic` outside [0, 1].

    Raises:
        InputError: if it is outside.
    """
    if not 0 <= gamma <= 1:
        raise InputError(
            f"`gamma` (={gamma}) must be in [0, 1]; 0 is BIC, 1 is for many more parameters than "
            "examples."
        )


def degrees_of_freedom(coefficients: ArrayLike, negligible: float = 1e-8) -> Numbers:
    """Count the coefficients that are not zero: the lasso's degrees of freedom.

    For networks the count is an upper bound of the degrees of freedom.

    Args:
        coefficients: along the last axis.
        negligible: a coefficient of at most this share of the largest of all models counts as zero.

    Source: Zou, Hastie, Tibshirani, Ann. Stat. 35 (2007), theorem 1.
    """
    size = np.abs(np.asarray(coefficients, np.float64))
    return np.sum(size > negligible * np.max(size, initial=0), axis=-1, dtype=np.float64)


def exact_degrees_of_freedom(
    features: Float[np.ndarray, "examples features"],
    coefficients: Float[np.ndarray, " features"],
    penalty: Penalty,
    negligible: float = 0.0,
) -> float:
    """Compute the degrees of freedom Σ cov(ŷᵢ, yᵢ)/σ² of a penalised least-squares fit.

    They are tr X_A(X_AᵀX_A/n + ∇²R(β)_A)⁻¹X_Aᵀ/n over the support A. Those of the lasso are the
    number of non-zeros; those of the elastic net and the group lasso are fewer, because these
    penalties shrink what they leave. For the group lasso ∇²R = λ√n_g (I − ûûᵀ)/‖β_g‖ in each
    group. The intercept is not counted.

    Args:
        features: X, its columns centred if the model has an intercept. In the logistic family its
            rows are multiplied by the square roots of the loss's curvatures.
        coefficients: β, the minimum of ‖Xβ − y‖²/2n + R(β).
        penalty: R, the strength included.
        negligible: entries of at most this size count as zero.

    Source: Vaiter, Deledalle, Peyré, Fadili, Dossal, ICML workshop on sparsity (2012), theorem 1.
    """
    beta = np.asarray(coefficients, np.float64)
    support = np.flatnonzero(np.abs(beta) > negligible)
    with jax.enable_x64(True):
        hessian = np.asarray(_hessian(penalty, beta))[np.ix_(support, support)]
    gram = features[:, support].T @ features[:, support] / len(features)
    return float(np.trace(np.linalg.pinv(gram + hessian, hermitian=True) @ gram))


@jax.jit
def _hessian(penalty: Penalty, beta: Array) -> Array:
    """Return ∇²R where R is smooth: the derivative of its subgradient."""
    return jax.jacfwd(penalty.subgradient)(beta)

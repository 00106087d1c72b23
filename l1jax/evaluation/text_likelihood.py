"""Bits per byte that a language model needs for documents, with an interval over documents."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64, Int64, Integer, PyTree
from scipy.special import stdtrit

from l1jax.data.corpus import Windows
from l1jax.models import LanguageModel
from l1jax.objectives.next_token import bits, next_token_loss
from l1jax.processes.agreement import divide_rows

BATCH_TOKENS = 2**14  # in one compiled call

WindowBits = Callable[[PyTree, PyTree], Float64[np.ndarray, " windows"]]


class BitsPerByte(NamedTuple):
    """Bits per byte of some documents.

    Attributes:
        mean: bits of all tokens divided by their number; the end of a document counts as a byte.
        interval: 95 % confidence interval of the mean over such documents; None for one document.
        documents: number of documents.
        tokens: number of bytes and ends of documents.
    """

    mean: float
    interval: tuple[float, float] | None
    documents: int
    tokens: int


def make_window_bits(
    model: LanguageModel, windows: Windows, *, is_shared: bool = False
) -> WindowBits:
    """Build (params, batch_stats) → bits of each window, in batches of one size on the device.

    Args:
        model: the network.
        windows: that are predicted; each sees nothing of the others.
        is_shared: whether several processes share the work; all of them must then call what is
            returned.
    """
    length = windows.tokens.shape[1] - 1
    count = len(windows.tokens)
    size = max(1, min(count, BATCH_TOKENS // length))
    padding = ((0, -count % size), (0, 0))
    tokens = np.pad(windows.tokens, padding)
    mask = np.pad(windows.mask(), padding)

    @jax.jit
    def batch_bits(
        params: PyTree,
        batch_stats: PyTree,
        tokens: Integer[Array, "batch tokens"],
        mask: Array,
    ) -> Float[Array, " batch"]:
        tokens = tokens.astype(jnp.int32)
        logits, _ = model.network.apply(params, batch_stats, tokens[:, :-1], False)
        losses = next_token_loss(logits, tokens[:, 1:])
        return bits(jnp.sum(jnp.where(mask, losses, 0), axis=1))

    def window_bits(params: PyTree, batch_stats: PyTree) -> Float64[np.ndarray, " windows"]:
        def compute(start: int, stop: int) -> list[np.ndarray]:
            found = [
                np.asarray(
                    batch_bits(params, batch_stats, tokens[s : s + size], mask[s : s + size])
                )
                for s in range(start, stop, size)
            ]
            return [np.concatenate(found)]

        if is_shared:
            (found,) = divide_rows(len(tokens), size, compute)
        else:
            (found,) = compute(0, len(tokens))
        return found[:count].astype(np.float64)

    return window_bits


def bits_per_byte(
    found: Float64[np.ndarray, " windows"], windows: Windows, level: float = 0.95
) -> BitsPerByte:
    """Sum windows up to documents, and compute the mean and its interval.

    The mean is a ratio of two sums over documents, r = ΣB/ΣN. Its standard error is that of the
    linearised ratio, √(n/(n−1)·Σ(B − rN)²)/ΣN, and the interval is Student's with n − 1 degrees of
    freedom.

    Args:
        found: bits of each window.
        windows: their tokens and documents.
        level: confidence level.

    Source: Cochran, Sampling Techniques, 1977, section 6.4.
    """
    documents, owner = np.unique(windows.document, return_inverse=True)
    bits_of = np.bincount(owner, found)
    tokens_of: Int64[np.ndarray, " documents"] = np.bincount(owner, windows.counts)
    total = tokens_of.sum()
    mean = float(bits_of.sum() / total)
    count = len(documents)
    interval = None
    if count > 1:
        residuals = bits_of - mean * tokens_of
        error = np.sqrt(count / (count - 1) * np.sum(residuals**2)) / total
        reach = float(stdtrit(count - 1, 0.5 + level / 2) * error)
        interval = (mean - reach, mean + reach)
    return BitsPerByte(mean, interval, count, int(total))

"""The deviation of scores that one set of generated images has, from random parts of it."""

import numpy as np

from l1jax.evaluation.features import Extracted
from l1jax.evaluation.scores import NEIGHBOURS, Reference, feature_scores

REPLICATES = 10
MAX_ROWS = 1_000  # of a part
MAX_KERNEL_ROWS = 2_000  # real ones, whose pairs with a part's rows the kernel distance is of


def resampled_deviations(
    real: Reference, generated: Extracted, *, is_clip: bool = False
) -> dict[str, float]:
    """Estimate the standard deviation of every score over sets of generated images of this size.

    Scores are taken of random parts of b of the n images, without replacement, because copies
    would change distances to neighbours. Their deviation is that of n images times √((n − b) / b).
    Coverage deviates less than that where nearly all is covered: its estimate is then up to twice
    too large.

    Args:
        real: features of the real images.
        generated: features of the generated images.
        is_clip: as of `feature_scores`.

    Returns:
        Score → deviation; nothing for fewer than four times as many images as neighbours.

    Source: Shao and Wu, "A general theory for jackknife variance estimation", 1989.
    """
    features = np.asarray(generated.features)
    logits = None if generated.logits is None else np.asarray(generated.logits)
    count = len(features)
    size = min(count // 2, MAX_ROWS)
    if size < 2 * NEIGHBOURS:
        return {}
    rng = np.random.default_rng(0)
    scores = []
    for _ in range(REPLICATES):
        chosen = rng.choice(count, size, replace=False)
        part = Extracted(features[chosen], None if logits is None else logits[chosen])
        of_part = feature_scores(real, part, is_clip=is_clip, max_real_rows=MAX_KERNEL_ROWS)
        scores.append(of_part)
    scale = np.sqrt(size / (count - size))
    return {
        name: float(scale * np.std([of_part[name] for of_part in scores], ddof=1))
        for name in scores[0]
    }

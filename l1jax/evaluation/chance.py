"""Whether a classifier does better than guessing, by what it makes of images that it was not trained on."""

from scipy.special import bdtrc

from l1jax.evaluation.classifier import Classifier

NEAR_CHANCE = 0.001  # the largest probability that guessing is as good as a classifier that is used


def guessing_probability(right: int, held_out: int, chance: float) -> float:
    """How probable it is that guessing names at least so many images rightly.

    The upper tail of the binomial distribution: Σ over k ≥ right of C(n, k) pᵏ (1 − p)ⁿ⁻ᵏ.

    Args:
        right: images that a classifier names rightly.
        held_out: n, images in all.
        chance: p, the probability with which a guess is right.
    """
    if right <= 0 or chance >= 1:
        return 1.0
    return float(bdtrc(right - 1, held_out, chance))


def doubt(trained: Classifier) -> str:
    """Say why a classifier is not to be used, since guessing could be as good; empty where it can be used.

    It is near chance where guessing the most frequent class would name as many held-out images rightly with a
    probability above `NEAR_CHANCE`. So few held-out images, or very unequal classes, can leave any in doubt.
    """
    right = round(trained.accuracy * trained.held_out)
    probability = guessing_probability(right, trained.held_out, trained.chance)
    if probability <= NEAR_CHANCE:
        return ""
    return (
        f"the classifier of these labels is not used: it names {right:,} of {trained.held_out:,} held-out images "
        f"rightly, and guessing, which is right with probability {trained.chance:.3g}, would name as many with "
        f"probability {probability:.2g}, where at most {NEAR_CHANCE} is allowed."
    )

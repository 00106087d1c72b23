"""Test whether a classifier is better than guessing, on images that it was not trained on."""

from scipy.special import bdtrc

from l1jax.evaluation.classifier import Classifier

NEAR_CHANCE = 0.001
"""The largest probability that guessing is as good, for a classifier that is used."""


def guessing_probability(num_correct: int, held_out: int, chance: float) -> float:
    """Compute the probability that guessing classifies at least that many images correctly.

    It is the upper tail of the binomial distribution: Σ over k ≥ m of C(n, k) pᵏ (1 − p)ⁿ⁻ᵏ.

    Args:
        num_correct: m, the number of images that a classifier classifies correctly.
        held_out: n, the number of images.
        chance: p, the probability that a guess is correct.
    """
    if num_correct <= 0 or chance >= 1:
        return 1.0
    return float(bdtrc(num_correct - 1, held_out, chance))


def near_chance_warning(trained: Classifier) -> str:
    """Say why a classifier must not be used because guessing could be as good.

    That is so if guessing the most frequent class would classify as many held-out images correctly
    with a probability above `NEAR_CHANCE`. With few held-out images, or very unequal classes, any
    classifier can be near chance.

    Returns:
        A sentence for the user. It is empty if the classifier can be used.
    """
    num_correct = round(trained.accuracy * trained.held_out)
    probability = guessing_probability(num_correct, trained.held_out, trained.chance)
    if probability <= NEAR_CHANCE:
        return ""
    return (
        f"the classifier of these labels is not used: it classifies {num_correct:,} of "
        f"{trained.held_out:,} held-out images correctly, and guessing, which is correct with "
        f"probability {trained.chance:.3g}, would classify as many with probability "
        f"{probability:.2g}, where at most {NEAR_CHANCE} is allowed."
    )

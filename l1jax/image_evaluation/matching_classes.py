"""The classes of generated images in the numbers of the real images' classes."""

import numpy as np
from jaxtyping import Int

from l1jax.data.source import Source
from l1jax.image_evaluation.sides import Side
from l1jax.terminal import Say

Labels = Int[np.ndarray, " count"]


def classes_of_set(real: Source, generated: Source, say: Say) -> Labels | None:
    """Return the class of each generated image, by the real images' numbers.

    Classes that have names are matched by these; others by their numbers.

    Args:
        real: the real images.
        generated: the generated ones.
        say: takes a sentence if both have labels that do not match.

    Returns:
        None if one side has no labels, or they do not match.
    """
    if real.labels is None or generated.labels is None:
        return None
    if real.classes and generated.classes:
        unknown = [name for name in generated.classes if name not in real.classes]
        if unknown:
            say(
                "the classes of both sides are not compared: the real images have none of the name "
                f"{unknown[0]!r}."
            )
            return None
        numbers = np.array([real.classes.index(name) for name in generated.classes])
        return numbers[generated.labels]
    if not np.isin(generated.labels, real.labels).all():
        say("the classes of both sides are not compared: their numbers are not the same.")
        return None
    return generated.labels.astype(np.int64)


def draws_classes_of(real: Side, generated: Side) -> bool:
    """Return whether a generator has as many classes as the real images have."""
    if generated.loaded is None or real.opened is None:
        return False
    labels = real.opened.source.labels
    return labels is not None and generated.loaded.generator.classes == int(labels.max()) + 1

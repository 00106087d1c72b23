"""How generated images spread over the classes, and whether they are of the class asked for."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Int

from l1jax.data.class_labels import class_counts
from l1jax.data.source import Source

MAX_CLASSES = 100  # that are counted one by one

Classes = Int[np.ndarray, " count"]
JsonObject: TypeAlias = dict[str, Any]  # values that JSON can hold


def class_balance(
    read: Sequence[Classes], asked: Sequence[Classes | None], source: Source
) -> JsonObject:
    """Compare the shares of the classes among generated images with those among real ones.

    Args:
        read: the classes that a classifier reads, of each seed's images.
        asked: the classes that these images were asked to be of; None without any.
        source: the real images, with their labels.

    Returns:
        `missing`: names of the classes of real images that no seed's images are read as. If there
        are at most 100 classes also `classes`: of each its label and name, its share of the real
        images and of each seed's `generated` ones. If classes were asked for also the `asked`
        number of images of all seeds, how many of them are `read_as` each class, in the order of
        the classes, and the share of them that is `right`; None if none was asked for.
    """
    counts = class_counts(source)
    labels = [own.label for own in counts]
    num_real = sum(own.count for own in counts)
    reached = np.unique(np.concatenate(read))
    missing = [own.name for own in counts if own.count and own.label not in reached]
    if len(counts) > MAX_CLASSES:
        return {"missing": missing}
    classes = []
    for own in counts:
        row: JsonObject = {
            "label": own.label,
            "name": own.name,
            "real": own.count / num_real,
            "generated": [float(np.mean(of_seed == own.label)) for of_seed in read],
        }
        if all(of_seed is not None for of_seed in asked):
            pairs = zip(read, asked, strict=True)
            of_class = np.concatenate([own_read[wanted == own.label] for own_read, wanted in pairs])
            row["asked"] = len(of_class)
            row["read_as"] = [int(np.count_nonzero(of_class == label)) for label in labels]
            row["right"] = float(np.mean(of_class == own.label)) if len(of_class) else None
        classes.append(row)
    return {"missing": missing, "classes": classes}

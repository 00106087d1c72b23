"""Classes of generated images, counted by hand."""

import numpy as np

from l1jax.data.source import Source
from l1jax.evaluation.class_balance import class_balance


def source(labels, names=()):
    shape = (1, 1, 1)
    return Source(
        len(labels),
        shape,
        lambda _: np.zeros(shape, np.uint8),
        "0",
        np.asarray(labels, np.int32),
        classes=names,
    )


def test_shares_stand_beside_those_of_real_images_and_missing_classes_are_named():
    real = source([0, 0, 0, 1, 2, 2, 2, 2], ("cat", "dog", "owl", "yak"))
    found = class_balance([np.array([0, 0, 0, 0]), np.array([0, 2, 2, 2])], [None, None], real)
    assert found["missing"] == ["dog"]  # no real image is a yak
    assert [own["name"] for own in found["classes"]] == ["cat", "dog", "owl", "yak"]
    assert [own["real"] for own in found["classes"]] == [3 / 8, 1 / 8, 1 / 2, 0]
    generated = [own["generated"] for own in found["classes"]]
    assert generated == [[1.0, 0.25], [0.0, 0.0], [0.0, 0.75], [0.0, 0.0]]
    assert not any("asked" in own for own in found["classes"])


def test_what_was_asked_for_stands_beside_what_is_read():
    read = [np.array([5, 5, 7, 9]), np.array([5, 7, 7, 9])]
    asked = [np.array([5, 7, 7, 5]), np.array([5, 7, 7, 5])]
    found = class_balance(read, asked, source([5, 7, 9]))
    assert [own["asked"] for own in found["classes"]] == [4, 4, 0]
    assert [own["read_as"] for own in found["classes"]] == [[2, 0, 2], [1, 3, 0], [0, 0, 0]]
    assert [own["right"] for own in found["classes"]] == [0.5, 0.75, None]
    assert found["missing"] == []


def test_more_than_a_hundred_classes_are_not_listed():
    found = class_balance([np.arange(99)], [None], source(np.arange(101)))
    assert found == {"missing": ["99", "100"]}

"""Folds are balanced, and equal examples share one."""

import jax
import numpy as np
import pytest

from l1jax.config import InputError
from l1jax.selection import make_folds, row_hashes, stratified_folds

RNG = np.random.default_rng(0)
LABELS = RNG.choice(4, size=403, p=[0.5, 0.3, 0.15, 0.05])
HASHES = RNG.random(403)


@pytest.mark.parametrize("folds", [2, 5, 7])
def test_sizes_differ_by_at_most_one_in_every_class_and_in_all(folds):
    fold = stratified_folds(LABELS, HASHES, folds)
    table = np.zeros((4, folds), int)
    np.add.at(table, (LABELS, fold), 1)
    assert np.ptp(table, axis=1).max() <= 1
    assert np.ptp(table.sum(axis=0)) <= 1
    assert np.ptp(np.bincount(stratified_folds(None, HASHES, folds), minlength=folds)) <= 1


def test_order_makes_no_difference_and_hashes_do():
    order = RNG.permutation(403)
    fold = stratified_folds(LABELS, HASHES, 5)
    np.testing.assert_array_equal(stratified_folds(LABELS[order], HASHES[order], 5), fold[order])
    assert 0.1 < np.mean(stratified_folds(LABELS, 1 - HASHES, 5) == fold) < 0.4


def test_equal_examples_share_a_fold_whatever_their_labels():
    rows = RNG.integers(0, 3, size=(300, 3)).astype(np.uint8)  # 27 different ones
    hashes = row_hashes(rows)
    assert len(np.unique(hashes)) == len(np.unique(rows, axis=0)) == 27
    assert not np.intersect1d(hashes, row_hashes(rows, seed=1)).size
    for labels in (None, RNG.integers(0, 2, size=300)):
        fold = stratified_folds(labels, hashes, 3)
        assert all(len(np.unique(fold[hashes == one])) == 1 for one in np.unique(hashes))
        assert np.bincount(fold, minlength=3).min() > 70
        order = RNG.permutation(300)
        np.testing.assert_array_equal(
            stratified_folds(labels if labels is None else labels[order], hashes[order], 3),
            fold[order],
        )


def test_an_example_that_is_there_often_weighs_as_often():
    hashes = np.append(np.full(50, 0.1), np.linspace(0.2, 0.9, 50))
    np.testing.assert_array_equal(np.bincount(stratified_folds(None, hashes, 2)), [50, 50])


def test_hashes_are_uniform():
    counts = np.histogram(row_hashes(np.arange(5000)), 10, (0, 1))[0]
    assert ((counts - 500) ** 2 / 500).sum() < 27.9  # χ² with 9 degrees of freedom, p = 0.001


@pytest.mark.parametrize(
    ("labels", "hashes", "folds", "says"),
    [
        (None, HASHES, 1, "at least 2"),
        (None, HASHES[:3], 4, r"different examples \(=3\)"),
        (None, np.repeat(HASHES[:3], 2), 4, r"different examples \(=3\)"),
        (np.array([0, 0, 0, 7, 7]), HASHES[:5], 3, r"\(=2\) of the rarest class \(=7\)"),
    ],
)
def test_more_folds_than_examples_are_refused(labels, hashes, folds, says):
    with pytest.raises(InputError, match=rf"`folds` \(={folds}\).*{says}"):
        stratified_folds(labels, hashes, folds)


def test_a_fold_trains_on_what_it_is_not_judged_by():
    folds = make_folds(np.array([0, 1, 2, 0, 1]), jax.random.key(0))
    np.testing.assert_array_equal(
        folds.held_out, np.array([[1, 0, 0, 1, 0], [0, 1, 0, 0, 1], [0, 0, 1, 0, 0]]) == 1
    )
    np.testing.assert_array_equal(folds.training, ~np.asarray(folds.held_out))
    assert len(np.unique(jax.random.key_data(folds.key), axis=0)) == 3

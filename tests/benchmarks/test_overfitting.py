"""Settings are chosen by the validation part, and the table says what the test part has."""

import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from scipy import stats

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
import overfitting
import overfitting_report as report

from l1jax.training.keys import named_seed_key
from l1jax.training.task import make_task

# Two seeds, two settings, three times.
FOUND = {
    "settings": [[0.1, 0.0], [0.2, 0.0]],
    "train": [[[0.0, 0.0, 9.0], [0.0, 0.0, 8.0]], [[0.0, 0.0, 7.0], [0.0, 0.0, 6.0]]],
    "validation": [[[1.0, 5.0, 2.0], [1.0, 4.0, 3.0]], [[1.0, 2.0, 4.0], [6.0, 2.0, 3.0]]],
    "test": [[[10.0, 11.0, 12.0], [13.0, 14.0, 15.0]], [[20.0, 21.0, 22.0], [23.0, 24.0, 25.0]]],
    "zeros": [[0.1, 0.2], [0.3, 0.4]],
}


def test_validation_chooses_setting_and_time():
    found = report.outcome(FOUND)
    np.testing.assert_array_equal(found.end, [15.0, 22.0])
    np.testing.assert_array_equal(found.stopped, [11.0, 23.0])
    np.testing.assert_array_equal(found.gap, [8.0 - 15.0, 7.0 - 22.0])
    np.testing.assert_array_equal(found.zeros, [0.2, 0.3])
    assert found.settings == [[0.2, 0.0], [0.1, 0.0]]


def test_holm_multiplies_the_smallest_by_the_number_of_tests():
    corrected = report.holm(np.array([0.01, 0.04, 0.03, 0.5]))
    np.testing.assert_allclose(corrected, [0.04, 0.09, 0.09, 0.5])
    np.testing.assert_array_equal(report.holm(np.array([0.9, 0.8])), [1.0, 1.0])


def test_an_interval_is_students():
    values = np.array([1.0, 2.0, 4.0])
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert report.interval(values) == f"{7 / 3:.1f} ± {(high - low) / 2:.1f}"


def test_the_table_compares_with_a_plain_training_that_is_stopped_early():
    plain = {**FOUND, "test": (np.asarray(FOUND["test"]) - 1).tolist()}
    lines = report.table({"none": plain, "L2": FOUND}).splitlines()
    assert lines[2].startswith("| none | 17.5 ±")
    assert lines[2].endswith("| 25% |  |  |")
    difference = report.interval(np.array([15.0, 22.0]) - np.array([10.0, 22.0]))
    p = stats.ttest_rel([15.0, 22.0], [10.0, 22.0]).pvalue
    assert lines[3].endswith(f"| {difference} | {p:.3f} |")


def test_parts_of_the_data_are_apart_and_every_way_is_an_experiment():
    subject = overfitting.read_subject("digits", "")
    parts = (subject.validation, subject.test, subject.pool)
    assert sorted(np.concatenate(parts)) == list(range(len(subject.images)))
    sets = overfitting.training_sets(subject, 100, 2)
    assert not np.array_equal(*sets)
    assert all(np.isin(own, subject.pool).all() for own in sets)
    for method in overfitting.METHODS.values():
        for rate in method.rates:
            make_task(method.change(subject.experiment, rate), subject.images.shape[1:])


@pytest.mark.slow
def test_every_seed_begins_where_training_begins():
    subject = overfitting.read_subject("digits", "")
    task = make_task(subject.experiment, subject.images.shape[1:])
    states = overfitting.first_states(task, strengths=2, seeds=2)
    for seed in range(2):
        alone = task.init(named_seed_key(seed, "parameters"))
        for strength in range(2):
            replica = overfitting.select_replica(states, seed, strength)
            jax.tree.map(np.testing.assert_array_equal, replica, alone)

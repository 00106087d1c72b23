import jax.numpy as jnp
import numpy as np
import optax
import pytest

import l1jax
from l1jax.training.state import Average, GeneratorState, NetworkState, Task
from l1jax.training.weight_histograms import NUM_BINS, nonzero_histogram, weight_histograms


def state_of(params, opt_state=()):
    network = NetworkState(params, {}, opt_state)
    return GeneratorState(jnp.zeros([], jnp.int32), network, Average(params, {}))


def task_with(pattern):
    return Task(None, None, None, 1, {"generator": pattern})


@pytest.mark.parametrize("dtype", [np.float32, np.float64, jnp.bfloat16])
def test_bins_cover_all_entries_but_zeros(dtype):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(40, 50)).astype(dtype)
    values[rng.random(values.shape) < 0.75] = 0
    found = nonzero_histogram(values)
    nonzero = np.asarray(values[values != 0], np.float64)
    assert 300 < len(nonzero) < 700
    assert found.counts.sum() == len(nonzero)
    assert (found.edges[0], found.edges[-1]) == (nonzero.min(), nonzero.max())
    np.testing.assert_allclose(np.diff(found.edges), np.ptp(nonzero) / NUM_BINS, rtol=1e-3)
    # The number of entries below an edge, up to entries that are rounded across it.
    below = (nonzero[:, None] < found.edges[1:]).sum(0)
    assert np.abs(np.cumsum(found.counts) - below)[:-1].max() <= 2
    assert found.total == pytest.approx(nonzero.sum())
    assert found.total_squares == pytest.approx(np.square(nonzero).sum())


def test_entries_that_are_all_equal_are_in_one_bin():
    found = nonzero_histogram(np.array([2.0, 2.0, 0.0]))
    assert sorted(found.counts)[-2:] == [0, 2]
    assert found.edges[0] < 2 < found.edges[-1]


@pytest.mark.parametrize("values", [np.zeros((3, 4)), np.zeros((0,)), np.array([0.0, np.nan])])
def test_without_an_entry_there_is_no_histogram(values):
    assert nonzero_histogram(values) is None


def test_only_penalised_parameters_are_counted():
    params = {"a": {"kernel": jnp.array([0.0, 1.0, 2.0]), "bias": jnp.ones(3)}, "b": jnp.ones(2)}
    found = weight_histograms(state_of(params), task_with(r"(^|/)kernel$"))
    assert list(found) == ["generator/nonzero/a/kernel"]
    assert found["generator/nonzero/a/kernel"].counts.sum() == 2


def test_of_dual_averaging_the_sparse_iterate_is_counted():
    params = {"kernel": jnp.ones(2)}
    tx = l1jax.rmda(1.0, l1jax.l1(0.5), momentum=0.5)
    grads = {"kernel": jnp.array([0.25, 0.75])}
    updates, opt_state = tx.update(grads, tx.init(params), params)
    # By hand: the iterate is (1 − gradient − ½)₊ = (0.25, 0), and the parameters are halfway there.
    state = state_of(optax.apply_updates(params, updates), opt_state)
    found = weight_histograms(state, task_with("kernel"))["generator/nonzero/kernel"]
    assert (found.counts.sum(), found.total) == (1, 0.25)

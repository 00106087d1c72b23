"""Which strengths train together, and how replicas are mapped and given their strengths."""

import jax.numpy as jnp
import numpy as np
import pytest

from l1jax.config import InputError
from l1jax.selection.replicas import (
    repeat_for_strengths,
    set_strengths,
    strength_groups,
    vectorize,
)


@pytest.mark.parametrize(
    ("how", "order", "groups"),
    [
        ("together", "dense-to-sparse", [[0, 1, 2]]),
        ("independent", "dense-to-sparse", [[0], [1], [2]]),
        ("warm", "dense-to-sparse", [[0], [1], [2]]),
        ("warm", "sparse-to-dense", [[2], [1], [0]]),
    ],
)
def test_strengths_train_in_groups(how, order, groups):
    assert strength_groups(3, how, order) == groups


def test_unknown_words_are_refused():
    with pytest.raises(InputError, match=r"`how` \(='vmap'\) must be one of together, indep"):
        strength_groups(3, "vmap", "dense-to-sparse")
    with pytest.raises(InputError, match="`order`"):
        strength_groups(3, "warm", "random")


def test_every_replica_has_the_inputs_of_its_fold_and_its_own_strength():
    """Two folds and three strengths; the count of steps is the same in all replicas."""
    axes = {"count": None, "value": 0, "strength": 0}
    states = {"value": jnp.array([1.0, 10.0]), "strength": jnp.zeros(2)}
    states = {"count": jnp.asarray(5), **repeat_for_strengths(states, 3)}

    def set_strength(state, strength):
        return {**state, "strength": strength}

    states = set_strengths(states, jnp.array([0.0, 1.0, 2.0]), set_strength, axes)

    def run(state, fold, shared):
        value = state["value"] + state["strength"] * fold + shared
        return {**state, "count": state["count"] + 1, "value": value}, -value

    states, outputs = vectorize(run, state_axes=axes)(states, jnp.array([1.0, 2.0]), 0.5)
    expected = np.array([[1.5, 2.5, 3.5], [10.5, 12.5, 14.5]])
    np.testing.assert_array_equal(states["value"], expected)
    np.testing.assert_array_equal(outputs, -expected)
    assert int(states["count"]) == 6

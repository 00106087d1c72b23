import numpy as np
import pytest
from jaxtyping import Float, TypeCheckError, jaxtyped
from typechecker import check

from l1jax.data.batches import shuffled_indices


def make(annotation, default=None):
    @jaxtyped(typechecker=check)
    def inner(x: annotation, y=default):
        return x

    return inner


def test_nested_functions_of_one_name_are_checked_each_by_its_own_signature():
    numbers, words = make(float), make(str)
    for function, good, bad in ((numbers, 1, "a"), (words, "a", 1), (make(float), 2.5, "a")):
        assert function(good) == good
        with pytest.raises(TypeCheckError):
            function(bad)


def test_a_default_without_a_hash_is_no_obstacle():
    inner = make(Float[np.ndarray, " n"], default=np.zeros(3))
    assert inner(np.ones(2)).shape == (2,)
    with pytest.raises(TypeCheckError):
        inner(np.ones((2, 2)))


def test_the_library_is_checked():
    with pytest.raises(TypeCheckError):
        shuffled_indices(0, 0, "five", 10)

import jaxtyping
import numpy as np
import pytest
from jaxtyping import Float, TypeCheckError
from typechecker import check

from l1jax.data.batches import shuffled_indices


def make(annotation, default=None):
    @jaxtyping.jaxtyped(typechecker=check)
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


def counter(start):
    @jaxtyping.jaxtyped(typechecker=check)
    def count(by: int, *, times: int = 1) -> int:
        return start + times * by if by else "nothing"

    return count


def test_a_nested_functions_checks_are_prepared_once_and_its_variables_are_its_own(monkeypatch):
    first = counter(1)
    made = []
    monkeypatch.setattr(jaxtyping._decorator, "_apply_typechecker", lambda *_: made.append(_))
    second = counter(10)
    assert not made
    assert (first(2), second(2), second(2, times=3)) == (3, 12, 16)
    assert (second.__name__, second.__wrapped__.__closure__[0].cell_contents) == ("count", 10)
    for function in (first, second):
        with pytest.raises(TypeCheckError, match="parameters"):
            function("two")
        with pytest.raises(TypeCheckError, match="return value"):
            function(0)

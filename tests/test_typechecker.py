import jaxtyping
import numpy as np
import pytest
from jaxtyping import Float, TypeCheckError
from typechecker import check, check_when_on, checking

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


def doubler():
    def doubled(number: int) -> int:
        return 2 * number

    return doubled


@pytest.fixture
def decorate(monkeypatch):
    monkeypatch.setattr(jaxtyping, "jaxtyped", jaxtyping.jaxtyped)
    monkeypatch.setattr(checking, "on", True)
    check_when_on()
    return jaxtyping.jaxtyped(typechecker=check)


def test_a_function_is_checked_while_checks_are_on(decorate):
    doubled = decorate(doubler())
    assert (doubled(2), doubled.__name__) == (4, "doubled")
    with pytest.raises(TypeCheckError):
        doubled("two")
    checking.on = False
    assert doubled("two") == "twotwo"
    checking.on = True
    with pytest.raises(TypeCheckError):
        doubled("two")


def test_a_nested_function_is_left_alone_while_checks_are_off(decorate):
    checking.on = False
    plain = doubler()
    assert decorate(plain) is plain


cases = []


@pytest.mark.parametrize("case", range(2))
def test_the_first_case_of_a_test_is_checked(case):
    cases.append(case)
    assert checking.on == (len(cases) == 1)

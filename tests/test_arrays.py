"""What users give as numbers is converted, or leads to an error of one sentence that names it."""

import fractions

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from frames import DataFrame, Series
from jax.experimental.sparse import BCOO

from l1jax.arrays import as_float64, as_matrix, as_numbers, as_vector, check_squares
from l1jax.config import InputError

ROWS = [[1.0, 2.0], [3.0, 4.5]]


class Table:
    """A table that is recognized only by its protocol, as those of polars and torch are."""

    def __init__(self, content, columns=None):
        self.content = content
        self.columns = columns

    def __array__(self, dtype=None, copy=None):
        if isinstance(self.content, Exception):
            raise self.content
        return self.content


@pytest.mark.parametrize(
    "values",
    [
        ROWS,
        [tuple(row) for row in ROWS],
        [np.array(row) for row in ROWS],
        np.array(ROWS, np.float16),
        np.array(ROWS, object),
        [[1, fractions.Fraction(2)], [3, 4.5]],
        jnp.array(ROWS, jnp.bfloat16),
        DataFrame(ROWS, columns=["a", "b"]),
        DataFrame({"a": [1, 3], "b": [2.0, 4.5]}),
        Table(np.array([[1, 2.0], [3, 4.5]], object)),  # as a data frame of several types
        np.ma.masked_greater(ROWS, 9),
    ],
    ids=lambda values: type(values).__name__,
)
def test_numbers_of_all_kinds_become_a_float64_matrix(values):
    matrix = as_float64(as_matrix(values, "features"), "features")
    assert matrix.dtype == np.float64
    np.testing.assert_array_equal(matrix, ROWS)


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint64, np.float32])
def test_numbers_keep_their_type_until_they_are_computed_with(dtype):
    assert as_numbers(np.ones((2, 2), dtype), "x").dtype == dtype
    np.testing.assert_array_equal(as_float64(np.ones((2, 2), dtype), "x"), np.ones((2, 2)))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            scipy.sparse.csr_array(np.eye(1000)),
            r"a sparse csr_array of shape \(1000, 1000\).*toarray\(\)`.* 7\.6 MiB",
        ),
        (
            BCOO.fromdense(jnp.eye(8)),
            r"a sparse BCOO of shape \(8, 8\)\) must be dense: give `x.todense\(\)`",
        ),
        ([[1.0], [1.0, 2.0]], "of type list.*lists of one length"),
        ([["1.5", "2"]], r"of dtype <U3\) must hold real numbers.*astype\(float\)"),
        (np.array([["a", 1]], object), r"with 'a', a str, at 0, 0"),
        (
            DataFrame({"x": [1.0, 2.0], "colour": ["red", "blue"]}),
            "'red', a str, at row 0 of column 'colour'",
        ),
        (
            Table(np.array([[1, 2], [None, 2]], object), ("x", "y")),
            "None, a NoneType, at row 1 of column 'x'",
        ),
        (np.array([[1 + 1j]]), "dtype complex128"),
        (np.array([["2020-01-01"]], "M8[D]"), "dtype datetime64"),
        (np.array([[None, 1.0]]), "with None"),
        (np.ma.masked_greater(ROWS, 3), "with 1 masked entries"),
        ({1.0, 2.0}, "a set of dtype object"),
        ((x for x in ROWS), "a generator of dtype object"),
        (Table(RuntimeError("it requires grad")), r"of type Table.*\(it requires grad\)"),
        (
            [1.0, 2.0],
            r"of shape \(2,\)\) must be a matrix.*`x.reshape\(-1, 1\)` is one number for each row",
        ),
        (
            np.ones((5, 3, 1, 1)),
            r"of shape \(5, 3, 1, 1\)\) must be a matrix.*`x.reshape\(5, -1\)` makes a row",
        ),
        (np.ones((5, 0)), r"of shape \(5, 0\).*nothing in it"),
        (3.0, r"of shape \(\)\) must be a matrix"),
    ],
)
def test_other_values_are_an_error_that_names_them(values, words):
    with pytest.raises(InputError, match=rf"^`x` \(.*{words}"):
        as_matrix(values, "x")


def test_a_traced_array_is_an_error():
    with pytest.raises(
        InputError, match=r"`x` \(of shape \(2, 2\), traced by JAX\).*outside of `jit`"
    ):
        jax.jit(lambda x: as_matrix(x, "x"))(jnp.ones((2, 2)))


def test_errors_count_the_rows_that_are_not_finite_and_show_the_largest_number():
    with pytest.raises(
        InputError,
        match=r"`x` \(of 3 rows, 2 of them with NaN or infinity\) must be finite: fill in",
    ):
        as_float64([[1.0, np.nan], [2.0, 3.0], [np.inf, np.nan]], "x", "fill in")
    with pytest.raises(InputError, match=r"`x` \(with entries up to 3.0e\+200\)"):
        check_squares(np.array([[1.0, -3e200]]), "x")
    check_squares(np.zeros((0, 3)), "x")


def test_a_column_is_a_vector_and_a_row_is_not():
    np.testing.assert_array_equal(as_vector([[1], [2]], "y"), [1, 2])
    np.testing.assert_array_equal(as_vector(Series(["b", "a"]), "y"), ["b", "a"])
    for shape in ((1, 2), (2, 2), (), (2, 1, 1)):
        with pytest.raises(InputError, match=r"`y` .*must be a vector"):
            as_vector(np.zeros(shape), "y")

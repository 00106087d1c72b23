"""Examples, weights and folds as users give them: converted or refused by name."""

import jax
import numpy as np
import pytest
import scipy.sparse
from frames import DataFrame, Series
from sklearn.linear_model import Lasso, LassoCV, LogisticRegression
from sklearn.model_selection import GroupKFold, KFold, RepeatedKFold, ShuffleSplit, StratifiedKFold

import l1jax
from l1jax.config import InputError
from l1jax.selection import (
    cross_validate,
    fit_path,
    information_criterion,
    linear_strengths,
    make_folds,
    noise_variance,
    predict,
    row_hashes,
    solve_path,
    stratified_folds,
)
from l1jax.selection.criteria import read_variance
from l1jax.selection.examples import read_classes, read_examples, read_splits, read_weights

RNG = np.random.default_rng(5)
X = RNG.normal(size=(30, 3)).astype(np.float32).astype(float)
Y = X @ [1.0, -2.0, 0.0] + 0.3 * RNG.normal(size=30)
HALF = (np.median(Y) < Y).astype(int)
GRID = [0.05, 0.3]
FOLD = np.arange(30) % 3


@pytest.mark.parametrize(
    ("features", "target"),
    [
        (X.tolist(), Y.tolist()),
        (DataFrame(X, columns=list("abc"), index=range(7, 37)), Series(Y, index=range(7, 37))),
        (X.astype(object), Y[:, None]),
        (X.astype(np.float32), DataFrame({"y": Y})),
    ],
)
def test_lists_frames_and_columns_are_the_arrays_that_they_hold(features, target):
    found = read_examples(features, target, "squared")
    np.testing.assert_array_equal(found.features, X)
    np.testing.assert_array_equal(found.target, Y)
    assert found.classes is None


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (2 * HALF - 1, [-1, 1]),
        (HALF + 1, [1, 2]),
        (HALF == 1, [False, True]),
        (HALF.astype(np.float16), [0.0, 1.0]),
        (np.where(HALF, "yes", "no"), ["no", "yes"]),
        (Series(np.where(HALF, "yes", "no")), ["no", "yes"]),
        (Series(np.where(HALF, "yes", "no"), dtype="category"), ["no", "yes"]),
        (np.where(HALF, "yes", "no").astype(object)[:, None], ["no", "yes"]),
        ((2 * HALF - 1).tolist(), [-1, 1]),
        ((2 * HALF - 1).astype(object), [-1, 1]),
    ],
)
def test_of_two_classes_the_later_in_order_is_one(labels, classes):
    found = read_examples(X, labels, "logistic")
    np.testing.assert_array_equal(found.target, HALF)
    assert found.classes.tolist() == classes


def test_a_logistic_model_of_words_is_scikit_learns_and_knows_its_words():
    words = np.where(HALF, "bad", "good")  # the other way round than the numbers
    path = fit_path(X, words, GRID, family="logistic")
    own = LogisticRegression(
        C=1 / (30 * GRID[0]), l1_ratio=1.0, solver="saga", tol=1e-10, max_iter=100_000
    )
    own.fit(X, words)
    assert path.classes.tolist() == own.classes_.tolist() == ["bad", "good"]
    np.testing.assert_allclose(path.coefficients[0], own.coef_[0], atol=1e-5)
    np.testing.assert_allclose(predict(path, X.tolist())[0], own.decision_function(X), atol=1e-4)
    assert cross_validate(X, words, GRID, FOLD, family="logistic").path.classes.tolist() == [
        "bad",
        "good",
    ]


@pytest.mark.parametrize(
    ("features", "target", "family", "says"),
    [
        (X[:, 0], Y, "squared", r"`features` \(of shape \(30,\)\).*reshape\(-1, 1\)"),
        (X[:0], Y[:0], "squared", r"`features` \(of shape \(0, 3\)\) must have at least one row"),
        (X, Y[:-1], "squared", r"`target` \(of 29 values\) must have one for each of the 30 rows"),
        (
            X,
            np.stack([Y, Y], axis=1),
            "squared",
            r"`target` \(of shape \(30, 2\)\) must be a vector",
        ),
        (X, np.where(HALF, np.nan, Y), "squared", r"`target` .*NaN or infinity"),
        (
            np.where(X > 2, np.inf, X),
            Y,
            "squared",
            r"`features` .*NaN or infinity.*fill in what is missing",
        ),
        (scipy.sparse.csr_matrix(X), Y, "squared", r"`features` \(a sparse csr_matrix"),
        (X + 0j, Y, "squared", r"`features` .*complex128"),
        (X * 1e200, Y, "squared", r"`features` \(with entries up to .*e\+200\)"),
        (X, Y * 1e-200, "squared", r"`target` \(with entries up to .*e-200\) must not be so small"),
        (X, np.where(HALF, "a", "b"), "squared", r"`target` \(with '.'\).*family=\"logistic\""),
        (X, Y, "gamma", r"`family` \(='gamma'\)"),
        (X, HALF * 0, "logistic", r"`target` \(of 1 classes: 0\) must have two classes"),
        (X, FOLD, "logistic", r"`target` \(of 3 classes: 0, 1, 2\).*one against the rest"),
        (X, Y, "logistic", r"`target` \(with .*must be classes, and it has fractions"),
        (X, np.where(HALF, 1.0, np.nan), "logistic", r"`target` .*NaN or infinity"),
        (X, np.where(HALF, "a", None), "logistic", r"`target` \(with"),
        (X, np.where(HALF, b"a", b"b"), "logistic", r"`target` .*must be text, not bytes"),
    ],
)
def test_what_no_model_can_be_fitted_to_is_refused_by_name(features, target, family, says):
    with pytest.raises(InputError, match=says):
        read_examples(features, target, family)
    if family != "gamma":
        with pytest.raises(InputError, match=says):
            linear_strengths(features, target, family=family)


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        (np.ones(29), r"of shape \(29,\)\) must be 30 numbers"),
        (np.ones((2, 3, 30)), r"of shape \(2, 3, 30\)"),
        (1.0, r"of shape \(\)"),
        (np.full(30, np.nan), "NaN or infinity"),
        (-np.ones(30), "at least 0"),
        (np.zeros(30), "not all 0"),
        (["one"] * 30, "must hold real numbers"),
        (HALF, r"both classes \(0, 1\) to train on"),
    ],
)
def test_weights_that_are_none_are_refused(weights, says):
    with pytest.raises(InputError, match=rf"`weights` .*{says}"):
        read_weights(weights, read_examples(X, HALF, "logistic"))


def test_weights_are_shares_whatever_their_size():
    examples = read_examples(X, Y, "squared")
    np.testing.assert_array_equal(read_weights(np.full(30, 1e308), examples), np.ones(30))
    np.testing.assert_array_equal(read_weights((FOLD * 4).tolist(), examples), FOLD / 2)
    np.testing.assert_array_equal(read_weights(Series(FOLD), examples), FOLD / 2)


@pytest.mark.parametrize(
    "splitter",
    [
        KFold(3),
        ShuffleSplit(4, random_state=0),
        RepeatedKFold(n_splits=2, n_repeats=2, random_state=0),
        StratifiedKFold(3),
        list(KFold(2).split(X)),
        KFold(2).split(X),
    ],
    ids=["k", "shuffled", "repeated", "stratified", "pairs", "generator"],
)
def test_a_splitters_folds_are_its_own(splitter):
    examples = read_examples(X, HALF, "logistic")
    pairs = list(splitter.split(X, HALF)) if hasattr(splitter, "split") else list(KFold(2).split(X))
    found = read_splits(splitter, examples)
    assert len(found.training) == len(pairs)
    for (train, test), training, held_out in zip(pairs, *found, strict=True):
        np.testing.assert_array_equal(np.flatnonzero(training), np.sort(train))
        np.testing.assert_array_equal(np.flatnonzero(held_out), np.sort(test))


def test_cross_validation_with_a_splitter_is_scikit_learns():
    splitter = ShuffleSplit(3, test_size=0.3, random_state=1)  # rows that no fold holds out
    lasso = LassoCV(alphas=GRID, cv=splitter, tol=1e-12).fit(X, Y)
    own = cross_validate(X.tolist(), Y.tolist(), GRID, splitter)
    np.testing.assert_allclose(own.scores[::-1], lasso.mse_path_, rtol=1e-6)
    assert own.choice.strength == lasso.alpha_


@pytest.mark.parametrize(
    ("fold", "says"),
    [
        (5, r"\(=5\) must be the fold of each example.*stratified_folds\(None"),
        ("kfold", r"\(='kfold'\) must be the fold"),
        (FOLD[:-1], r"of 29 numbers\) must give each of the 30"),
        (FOLD - 1, "whole numbers from 0 on"),
        (FOLD / 2, "whole numbers from 0 on"),
        (np.where(FOLD, np.nan, 0), "NaN or infinity"),
        (FOLD * 2, "every fold an example"),
        (FOLD * 0, "at least two folds"),
        ([(np.arange(10), np.arange(10, 30))], r"of 1 pairs.*at least two folds"),
        ([(np.arange(10), np.arange(10, 31))] * 2, "from 0 to 29"),
        ([(np.arange(10), [])] * 2, "every fold an example to train on"),
        (GroupKFold(2), "could not split the examples.*groups"),
        (KFold, "could not split the examples"),
    ],
)
def test_folds_that_are_none_are_refused(fold, says):
    with pytest.raises(InputError, match=f"`folds` .*{says}"):
        read_splits(fold, read_examples(X, Y, "squared"))


def test_a_fold_without_one_of_the_classes_is_refused():
    examples = read_examples(X, np.where(HALF, "a", "b"), "logistic")
    with pytest.raises(InputError, match=r"`folds` must leave both classes \(a, b\) to train on"):
        read_splits(HALF, examples)


def test_constant_columns_have_no_coefficient_and_leave_the_others_alone():
    constant = np.broadcast_to([0.0, 0.1, 1e6 + 0.3, -7.0], (30, 4))
    path = fit_path(np.column_stack([constant, X]), Y, GRID)
    for i, strength in enumerate(GRID):
        lasso = Lasso(strength, tol=1e-12).fit(X, Y)
        np.testing.assert_array_equal(path.coefficients[i, :4], 0)
        np.testing.assert_allclose(path.coefficients[i, 4:], lasso.coef_, atol=1e-8)
        np.testing.assert_allclose(path.intercepts[i], lasso.intercept_, rtol=1e-7)
    nothing = fit_path(constant, Y, [0.0, 0.3])
    np.testing.assert_array_equal(nothing.coefficients, 0)
    np.testing.assert_allclose(nothing.intercepts, Y.mean())
    with pytest.raises(InputError, match=r"`features` .*constant columns cannot"):
        linear_strengths(constant, Y)
    few = Y > 3  # of whom no example has the last column, as in a fold without a rare category
    rare = np.column_stack([X, few])
    weighted = fit_path(rare, Y, GRID, weights=np.where(few, 0, 1))
    np.testing.assert_array_equal(weighted.coefficients[:, 3], 0)


@pytest.mark.slow
def test_the_strongest_strength_leaves_no_coefficient():
    for seed in range(12):
        rng = np.random.default_rng(seed)
        x, y = (
            rng.normal(size=(30, 3)) * 10.0 ** rng.integers(-4, 5),
            rng.normal(size=30) + rng.normal(),
        )
        strongest = linear_strengths(x, y, count=2)[-1]
        path = fit_path(x, y, [(1 - 1e-6) * strongest, strongest])
        np.testing.assert_array_equal(path.coefficients[1], 0)
        assert np.any(path.coefficients[0])


def test_a_constant_target_is_its_intercept():
    path = fit_path(X, np.full(30, 0.1), GRID)
    np.testing.assert_array_equal(path.coefficients, 0)
    np.testing.assert_allclose(path.intercepts, 0.1)
    chosen = cross_validate(X, np.full(30, 0.1), GRID, FOLD)
    np.testing.assert_allclose(chosen.scores, 0, atol=1e-30)
    with pytest.raises(InputError, match=r"`target` \(all 0\.1\) must vary"):
        linear_strengths(X, np.full(30, 0.1))
    for variance in ("least squares", "own"):
        with pytest.raises(InputError, match=r"`target` must have noise.*constant"):
            information_criterion(X, np.full(30, 0.1), GRID, variance=variance)
    with pytest.raises(InputError, match="`target` must have noise"):
        noise_variance(X.tolist(), X @ np.ones(3))


def test_one_example_is_its_intercept():
    path = fit_path(X[:1], Y[:1], GRID)
    np.testing.assert_array_equal(path.coefficients, 0)
    np.testing.assert_allclose(path.intercepts, Y[0])


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: information_criterion(X, Y, GRID, "ebic", gamma=2.0), "`gamma`"),
        (
            lambda: information_criterion(X, Y, GRID, variance=-1.0),
            r"`variance` \(=-1.0\) must be greater than 0",
        ),
        (lambda: read_variance(X, Y, True, "known"), r"`variance` \(='known'\)"),
        (lambda: fit_path(X, Y, GRID, tolerance=-1.0), r"`tolerance` \(=-1.0\)"),
        (lambda: fit_path(X, Y, ["weak", "strong"]), "`strengths` .*must hold real numbers"),
    ],
)
def test_an_option_is_refused_before_the_fit(call, says, monkeypatch):
    monkeypatch.setattr("l1jax.selection.linear_path.fit_in_numpy", None)
    with pytest.raises(InputError, match=says):
        call()


def test_predictions_are_of_the_features_that_the_models_know():
    path = fit_path(X, Y, GRID)
    with pytest.raises(
        InputError, match=r"`features` \(of shape \(30, 2\)\) must have the 3 columns"
    ):
        predict(path, X[:, :2])
    with pytest.raises(InputError, match=r"`features` .*NaN"):
        predict(path, X * np.nan)
    assert predict(path, X[:0]).shape == (2, 0)


@pytest.mark.slow
def test_the_solver_computes_whole_numbers_as_floats():
    x, y = np.array([[1, 0], [0, 1], [1, 1], [2, 0]]), np.array([3, 1, 4, 5])
    fit = solve_path(x, y, np.ones(4, int), np.array([1, 0]), l1jax.l1(1.0), tolerance=1e-5)
    lasso = Lasso(1.0, tol=1e-12).fit(x, y)
    np.testing.assert_allclose(fit.coefficients.slopes[0], lasso.coef_, atol=1e-4)
    with pytest.raises(
        InputError, match=r"`features`, `target` and `weights` \(of shapes \(4, 2\), \(3,\), \(4,\)"
    ):
        solve_path(x, y[:3], np.ones(4), np.ones(1), l1jax.l1(1.0))


def test_classes_of_several_types_have_no_order():
    with pytest.raises(InputError, match=r"`labels` \(with"):
        read_classes(np.array([1, "a"], object), "labels")


def test_hashes_are_of_values_and_not_of_addresses_or_padding():
    frame = DataFrame({"a": [1.5, 2.5], "b": ["x", "yy"]})
    again = [
        [float("1.5"), "".join(["x"])],
        [float("2.5"), "".join(["y", "y"])],
    ]  # equal, elsewhere in memory
    np.testing.assert_array_equal(row_hashes(frame), row_hashes(np.array(again, object)))
    np.testing.assert_array_equal(
        row_hashes(np.array(["a", "bb"])), row_hashes(np.array(["a", "bbb", "bb"]))[[0, 2]]
    )
    np.testing.assert_array_equal(row_hashes(X.tolist()), row_hashes(X))
    np.testing.assert_array_equal(row_hashes(DataFrame(X)), row_hashes(X))
    assert len(set(row_hashes([[0.0], [-0.0]]))) == 1
    others = {
        "sparse": scipy.sparse.csr_array(X),
        "a float": 3.0,
        "numbers and text": np.array([[object()]]),
    }
    for says, rows in others.items():
        with pytest.raises(InputError, match=f"`rows` .*{says}"):
            row_hashes(rows)


def test_folds_of_words_are_those_of_their_numbers():
    hashes = row_hashes(X)
    words = np.array(["c", "a", "b"])[FOLD]
    numbers = np.array([2, 0, 1])[FOLD]
    expected = stratified_folds(numbers, hashes, 3)
    for labels in (words, words.tolist(), Series(words), numbers[:, None]):
        np.testing.assert_array_equal(stratified_folds(labels, hashes.tolist(), 3), expected)
    with pytest.raises(InputError, match=r"of the rarest class \(=rare\)"):
        stratified_folds(["often"] * 28 + ["rare"] * 2, hashes, 3)
    with pytest.raises(InputError, match=r"`labels` \(of 29 examples\)"):
        stratified_folds(FOLD[:-1], hashes, 3)
    with pytest.raises(InputError, match=r"`labels` .*fractions"):
        stratified_folds(Y, hashes, 3)
    with pytest.raises(InputError, match=r"`hashes` .*NaN"):
        stratified_folds(None, hashes * np.nan, 3)


def test_make_folds_takes_lists_and_refuses_gaps():
    folds = make_folds([0, 1, 1], jax.random.key(0))
    np.testing.assert_array_equal(folds.held_out, [[True, False, False], [False, True, True]])
    with pytest.raises(InputError, match="every fold an example"):
        make_folds([0, 2, 2], jax.random.key(0))

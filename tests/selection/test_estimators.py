"""The estimators keep scikit-learn's contract and agree with its own."""

import doctest
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from frames import DataFrame
from jax.experimental.sparse import BCOO
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import Lasso, LassoCV, LogisticRegression, PoissonRegressor
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import l1jax
from l1jax.config import InputError
from l1jax.selection import one_standard_error, regressors
from l1jax.selection.estimators import L1Classifier, L1ClassifierCV, L1Regressor, L1RegressorCV

X, Y = load_diabetes(return_X_y=True)
X = X / X.std(axis=0)
FLOWERS, SPECIES = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])[SPECIES]


CHECKS = """
from sklearn.utils.estimator_checks import check_estimator
from l1jax.selection.estimators import L1Classifier, L1ClassifierCV, L1Regressor, L1RegressorCV

for estimator in (
    L1Regressor(), L1Classifier(), L1RegressorCV(count=5, cv=3), L1ClassifierCV(count=5, cv=3)
):
    results = check_estimator(estimator, on_fail=None)
    for result in results:
        if result["status"] == "failed":
            print("FAILED", result["check_name"], repr(result["exception"])[:500])
    print(type(estimator).__name__, sum(result["status"] == "passed" for result in results))
"""


@pytest.mark.slow
def test_scikit_learns_checks_pass():
    # In a process of its own, because some checks give arguments of wrong types to the
    # constructors, and the types are enforced in this one.
    run = subprocess.run([sys.executable, "-c", CHECKS], capture_output=True, text=True)
    assert "FAILED" not in run.stdout, run.stdout
    passed = dict(line.split() for line in run.stdout.splitlines())
    assert len(passed) == 4, run.stderr
    assert all(int(count) > 40 for count in passed.values())


def test_a_regressor_is_scikit_learns_lasso_in_a_pipeline_and_a_search():
    own = L1Regressor(2.0).fit(X, Y)
    peer = Lasso(2.0, tol=1e-12).fit(X, Y)
    np.testing.assert_allclose(own.coef_, peer.coef_, atol=1e-8)
    np.testing.assert_allclose(own.predict(X), peer.predict(X), rtol=1e-9)
    np.testing.assert_array_equal(own.coef_ == 0, peer.coef_ == 0)
    search = {"strength": [0.5, 2.0, 8.0]}
    chosen = GridSearchCV(L1Regressor(), search, cv=KFold(3)).fit(X, Y)
    other = GridSearchCV(Lasso(tol=1e-12), {"alpha": search["strength"]}, cv=KFold(3)).fit(X, Y)
    np.testing.assert_allclose(
        chosen.cv_results_["mean_test_score"], other.cv_results_["mean_test_score"], rtol=1e-9
    )
    scaled = make_pipeline(StandardScaler(), L1Regressor(2.0)).fit(20 * X, Y)
    inside = L1Regressor(2.0, standardize=True).fit(20 * X, Y)
    np.testing.assert_allclose(scaled.predict(20 * X), inside.predict(20 * X), rtol=1e-9)
    assert clone(inside).get_params()["standardize"]


@pytest.mark.slow
def test_the_chosen_strength_is_scikit_learns():
    own = L1RegressorCV(cv=KFold(4), count=30).fit(X, Y)
    peer = LassoCV(alphas=30, cv=KFold(4), tol=1e-10, max_iter=100_000).fit(X, Y)
    np.testing.assert_allclose(own.strength_, peer.alpha_)
    np.testing.assert_allclose(own.coef_, peer.coef_, atol=1e-3)
    np.testing.assert_allclose(own.selection_.scores[::-1], peer.mse_path_, rtol=1e-6)
    simpler = L1RegressorCV(cv=KFold(4), count=30, rule=one_standard_error).fit(X, Y)
    assert simpler.strength_ > own.strength_
    given = L1RegressorCV([0.5, 2.0], cv=KFold(4)).fit(X, Y)
    assert given.strength_ in (0.5, 2.0)


def test_classes_of_text_are_classified_as_by_scikit_learn():
    own = L1Classifier(0.02, penalty=l1jax.l2(1.0)).fit(FLOWERS, NAMES)
    peer = LogisticRegression(C=1 / (0.02 * 150), tol=1e-10, max_iter=10_000).fit(FLOWERS, NAMES)
    np.testing.assert_allclose(own.predict_proba(FLOWERS), peer.predict_proba(FLOWERS), atol=1e-5)
    np.testing.assert_array_equal(own.predict(FLOWERS), peer.predict(FLOWERS))
    assert own.coef_.shape == peer.coef_.shape == (3, 4)
    two = NAMES != "setosa"
    pair = L1Classifier(0.02).fit(FLOWERS[two], NAMES[two])
    assert pair.classes_.tolist() == ["versicolor", "virginica"]
    assert pair.coef_.shape == (1, 4)
    odds = pair.decision_function(FLOWERS)
    np.testing.assert_allclose(pair.predict_proba(FLOWERS)[:, 1], 1 / (1 + np.exp(-odds)))
    np.testing.assert_allclose(pair.predict_log_proba(FLOWERS), np.log(pair.predict_proba(FLOWERS)))
    assert pair.score(FLOWERS[two], NAMES[two]) > 0.9


def test_a_classifier_chooses_its_strength_in_stratified_folds():
    own = L1ClassifierCV(count=4, cv=2).fit(FLOWERS, NAMES)
    assert own.strength_ in own.selection_.strengths
    assert own.score(FLOWERS, NAMES) > 0.95
    sparse = L1Classifier(0.1, penalty=l1jax.group_l1(0.5, axis=1))
    assert cross_val_score(sparse, FLOWERS, NAMES, cv=2).min() > 0.85
    assert np.any(np.all(sparse.fit(FLOWERS, NAMES).coef_ == 0, axis=0))


def test_a_poisson_regressor_predicts_means():
    counts = np.random.default_rng(0).poisson(np.exp(1 + X[:, 0] / 3))
    own = L1Regressor(0.1, family="poisson", penalty=l1jax.l2(1.0)).fit(X, counts)
    peer = PoissonRegressor(alpha=0.1, tol=1e-10, solver="newton-cholesky").fit(X, counts)
    np.testing.assert_allclose(own.predict(X), peer.predict(X), rtol=1e-7)


def test_a_robust_regressor_minds_outliers_less():
    clean = X @ np.arange(10.0)
    dirty = np.where(np.arange(len(X)) % 10, clean, 500.0)
    robust = L1Regressor(0.01, family="huber", delta=1.0).fit(X, dirty)
    squares = L1Regressor(0.01).fit(X, dirty)
    wrong = [np.abs(model.predict(X) - clean).mean() for model in (robust, squares)]
    assert wrong[0] < wrong[1] / 10


@pytest.mark.parametrize(
    ("estimator", "target", "says"),
    [
        (L1Regressor(-1.0), Y, r"`strength` \(=-1.0\) must be a finite number of at least 0"),
        (L1Regressor().set_params(strength="weak"), Y, r"`strength` \(='weak'\)"),
        (L1Regressor(family="logistic"), Y, r"`family` \(='logistic'\).*take `L1Classifier`"),
        (L1Regressor(family="huber"), Y, r"`delta` \(=None\)"),
        (L1Regressor(family="poisson"), -Y, "`target` .*must be counts or rates"),
        (L1Regressor(penalty=l1jax.mcp(1.0, 3.0)), Y, "must be convex"),
        (L1RegressorCV([2.0, 1.0]), Y, "`strengths` .*must increase"),
        (L1RegressorCV().set_params(rule="best"), Y, r"`rule` \(='best'\) must be a function"),
        (
            L1Classifier(),
            np.zeros(len(X)),
            r"^`y` \(of 1 class: 0.0\) must have at least two classes",
        ),
    ],
)
def test_a_parameter_or_target_that_cannot_be_used_is_refused(estimator, target, says):
    with pytest.raises(InputError, match=says):
        estimator.fit(X, target)


def test_sparse_features_are_refused():
    with pytest.raises(TypeError, match="dense data is required"):
        L1Regressor().fit(csr_array(X), Y)
    sparse = BCOO.fromdense(jnp.asarray(X))
    for call in (
        lambda: L1Regressor().fit(sparse, Y),
        lambda: L1ClassifierCV().fit(sparse, Y > 0),
        lambda: L1Regressor().fit(X, Y).predict(sparse),
    ):
        with pytest.raises(InputError, match=r"`X` \(a sparse BCOO .*give `X.todense\(\)`"):
            call()


def test_names_of_columns_are_kept():
    frame = DataFrame(X[:, :3], columns=["a", "b", "c"])
    assert L1Regressor().fit(frame, Y).feature_names_in_.tolist() == ["a", "b", "c"]


def test_the_examples_run():
    found = doctest.testmod(regressors)
    assert found.attempted > 0
    assert found.failed == 0


@pytest.mark.slow
def test_selection_does_not_import_scikit_learn():
    code = "import sys, l1jax.selection; sys.exit('l1jax.selection.estimators' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

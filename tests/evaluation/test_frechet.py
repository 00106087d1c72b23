import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.stats import linregress

from l1jax.evaluation import (
    FrechetInfinity,
    Moments,
    frechet_distance,
    frechet_infinity,
    merge,
    moments,
    pairwise,
)
from l1jax.evaluation.frechet import _intercept

RNG = np.random.default_rng(0)


def sample(n, features, seed=0):
    """Correlated features that are not centred, as those of a network."""
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(features, features)) / np.sqrt(features)
    return rng.normal(seed + 1, 1, features) + rng.normal(size=(n, features)) @ mix


def reference(a, b):
    """Heusel et al., equation 6, with the matrix square root itself."""
    covariances = [np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b)]
    root = sqrtm(covariances[0] @ covariances[1])
    return np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(
        covariances[0] + covariances[1] - 2 * root.real
    )


@pytest.mark.parametrize(
    ("n", "m", "features"),
    [(2, 3, 1), (60, 50, 5), (300, 200, 64), (20, 30, 64), (20, 300, 64), (300, 20, 64)],
)
def test_it_is_the_formula_with_a_matrix_square_root(n, m, features):
    a, b = sample(n, features, 0), sample(m, features, 1)
    expected = reference(a, b)
    np.testing.assert_allclose(frechet_distance(a, b), expected, rtol=1e-6)
    np.testing.assert_allclose(frechet_distance(moments(a), moments(b)), expected, rtol=1e-6)
    np.testing.assert_allclose(frechet_distance(a, moments(b)), expected, rtol=1e-6)


@pytest.mark.parametrize("features", [4, 300])
def test_it_is_known_of_diagonal_covariances(features):
    means, deviations = RNG.normal(size=(2, features)), RNG.uniform(0.1, 3, size=(2, features))
    a, b = (
        Moments(1001, mean, 1000 * np.diag(d**2)) for mean, d in zip(means, deviations, strict=True)
    )
    expected = np.sum((means[0] - means[1]) ** 2 + (deviations[0] - deviations[1]) ** 2)
    np.testing.assert_allclose(frechet_distance(a, b), expected, rtol=1e-12)


def test_features_that_never_change_count_by_their_mean_and_the_others_variance():
    a, b = sample(100, 3, 0), sample(100, 3, 1)
    dead, alive = np.full((100, 2), 2.0), RNG.normal(size=(100, 2))
    found = frechet_distance(
        np.concatenate([a, dead], axis=1), np.concatenate([b, dead + 1], axis=1)
    )
    np.testing.assert_allclose(found, reference(a, b) + 2, rtol=1e-7)
    only = frechet_distance(dead, alive)
    np.testing.assert_allclose(
        only, np.sum((2 - alive.mean(0)) ** 2 + alive.var(0, ddof=1)), rtol=1e-7
    )


def test_moments_of_fewer_samples_than_features_lose_no_digits():
    a, b = RNG.normal(size=(2, 10, 300))
    centred = [x - x.mean(0) for x in (a, b)]
    traces = [np.sum(x**2) / 9 for x in centred]
    nuclear = np.linalg.svd(centred[0] @ centred[1].T, compute_uv=False).sum() / 9
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + sum(traces) - 2 * nuclear
    np.testing.assert_allclose(frechet_distance(moments(a), moments(b)), expected, rtol=1e-11)


def test_a_small_distance_far_from_the_origin_keeps_its_digits():
    a, b = (1e4 + sample(200, 6, seed).astype(np.float32) / 100 for seed in (0, 1))
    np.testing.assert_allclose(
        frechet_distance(a, b), reference(a.astype(float), b.astype(float)), rtol=1e-6
    )


@pytest.mark.parametrize("n", [5, 50])
def test_it_is_zero_of_a_sample_from_itself_and_symmetric(n):
    a, b = sample(n, 8, 0), sample(n + 3, 8, 1)
    assert 0 <= frechet_distance(a, a) < 1e-7
    np.testing.assert_allclose(frechet_distance(a, b), frechet_distance(b, a), rtol=1e-10)


def test_moments_are_those_of_numpy_in_float64_for_any_precision(monkeypatch):
    monkeypatch.setattr(pairwise, "ELEMENTS", 0)  # row_slices of 256 rows
    for dtype, convert in (
        (np.float64, np.asarray),
        (np.float32, np.asarray),
        (jnp.bfloat16, jnp.asarray),
    ):
        a = convert(sample(600, 4).astype(dtype))
        found, exact = moments(a), np.asarray(a).astype(np.float64)
        assert found.count == 600
        assert found.mean.dtype == found.scatter.dtype == np.float64
        np.testing.assert_allclose(found.mean, exact.mean(0), rtol=1e-12)
        np.testing.assert_allclose(found.scatter, 599 * np.cov(exact, rowvar=False), rtol=1e-10)


def test_merging_is_seeing_all_at_once_in_any_order_and_grouping():
    a = sample(97, 5) * [1, 1e3, 1e-3, 1, 1]
    whole = moments(a)
    a0, a1, a2, a3 = (moments(a[start:end]) for start, end in ((0, 1), (1, 30), (30, 30), (30, 97)))
    for found in (
        merge(merge(merge(a0, a1), a2), a3),
        merge(merge(a3, a0), merge(a2, a1)),
        merge(a2, merge(a1, merge(a3, a0))),
    ):
        assert found.count == 97
        np.testing.assert_allclose(found.mean, whole.mean, rtol=1e-12)
        np.testing.assert_allclose(found.scatter, whole.scatter, rtol=1e-9, atol=1e-12)


def test_the_limit_of_infinitely_many_samples_is_without_the_bias_of_few():
    features = 16
    exact = Moments(10**9, np.zeros(features), (10**9 - 1) * np.eye(features))
    generated = np.random.default_rng(3).normal(size=(2_000, features))
    sizes = [int(size) for size in np.geomspace(100, 2_000, 30)]
    found = frechet_infinity(exact, generated, sizes)
    biased = frechet_distance(exact, generated)
    assert found.standard_error < biased / 4
    assert abs(found.value) < biased / 2  # the sample's own deviation remains
    assert found == frechet_infinity(exact, generated, sizes)
    assert found != frechet_infinity(exact, generated, sizes, seed=1)


def test_the_line_is_scipys():
    x, y = RNG.normal(size=(2, 9))
    line = linregress(x, y)
    np.testing.assert_allclose(
        _intercept(x, y), (line.intercept, line.intercept_stderr), rtol=1e-10
    )


def test_default_sizes_reach_from_a_tenth_to_all(monkeypatch):
    a, b = sample(40, 3, 0), sample(200, 3, 1)
    expected = frechet_infinity(a, b, [int(size) for size in np.linspace(20, 200, 15)])
    assert frechet_infinity(a, b) == expected
    assert isinstance(expected, FrechetInfinity)


def test_bad_samples_are_refused_by_name():
    good = sample(9, 3)
    with pytest.raises(ValueError, match=r"`a` \(of 1 rows"):
        frechet_distance(good[:1], good)
    with pytest.raises(ValueError, match=r"`b` \(the moments of 1 rows"):
        frechet_distance(good, moments(good[:1]))
    with pytest.raises(ValueError, match="of 3 and 2 features"):
        frechet_distance(good, good[:, :2])
    with pytest.raises(ValueError, match=r"`b` \(of 9 rows, 2 of them with NaN"):
        frechet_distance(good, np.where(np.arange(9)[:, None] < 2, np.nan, good))
    with pytest.raises(ValueError, match="of 3 and 2 features"):
        merge(moments(good), moments(good[:, :2]))


def drawn(draw, ratio, features=16, shift=0.0):
    """A standard normal sample, `ratio` rows for each feature, shifted by so much in each."""
    return shift + np.random.default_rng(1000 + draw).normal(size=(ratio * features, features))


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_with_ten_rows_for_each_feature_it_is_the_distance_of_the_distributions(shift):
    """N(shift, I) is 16·shift² from N(0, I), and the mean over draws is far nearer to it."""
    exact = Moments(10**9, np.zeros(16), (10**9 - 1) * np.eye(16))
    samples = [drawn(draw, 10, shift=shift) for draw in range(60)]
    found = np.array([frechet_infinity(exact, sample).value for sample in samples])
    plain = np.array([frechet_distance(exact, sample) for sample in samples])
    truth, error = 16 * shift**2, found.std() / np.sqrt(60)
    bias = np.mean(plain) - truth
    assert bias > 4 * plain.std() / np.sqrt(60)
    assert abs(found.mean() - truth) < bias / 8 + 4 * error


@pytest.mark.parametrize(("rows", "features"), [(19, 1), (159, 16), (80, 16)])
def test_fewer_rows_than_ten_for_each_feature_are_refused(rows, features):
    sample = RNG.normal(size=(rows, features))
    least = max(20, 10 * features)
    with pytest.raises(
        ValueError,
        match=rf"`generated` \(of {rows} rows with {features} features\).*at least {least}",
    ):
        frechet_infinity(sample, sample)


def test_small_subsets_that_are_asked_for_are_warned_of():
    with pytest.warns(
        UserWarning, match=r"`sizes` \(from 79 on\) should be at least 80, 5 rows for each feature"
    ):
        frechet_infinity(drawn(0, 10), drawn(1, 10), [79, 120, 160])


@pytest.mark.parametrize("sizes", [[3, 9], [3, 3, 9], [1, 5, 9], [3, 5, 10]])
def test_sizes_without_a_line_are_refused(sizes):
    with pytest.raises(ValueError, match="`sizes`"):
        frechet_infinity(sample(9, 3), sample(9, 3), sizes)

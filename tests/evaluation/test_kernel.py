import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics.pairwise import polynomial_kernel, rbf_kernel

from l1jax.config import InputError
from l1jax.evaluation import clip_distance, kernel_distance, pairwise

RNG = np.random.default_rng(0)


def reference(a, b):
    """Bińkowski et al., equation 4, pair by pair."""
    xx, yy, xy = (
        polynomial_kernel(x, y, degree=3, gamma=1 / x.shape[1], coef0=1)
        for x, y in ((a, a), (b, b), (a, b))
    )
    n, m = len(a), len(b)
    within = xx[~np.eye(n, dtype=bool)].sum() / (n * (n - 1)) + yy[~np.eye(m, dtype=bool)].sum() / (
        m * (m - 1)
    )
    return within - 2 * xy.mean()


@pytest.mark.parametrize(("n", "m", "features"), [(2, 2, 1), (5, 9, 3), (40, 30, 64)])
def test_it_is_the_unbiased_estimate(n, m, features, x64):
    a, b = RNG.normal(size=(n, features)), RNG.normal(0.5, 2, size=(m, features))
    np.testing.assert_allclose(
        kernel_distance(jnp.asarray(a), jnp.asarray(b)), reference(a, b), rtol=1e-9
    )


def test_it_is_symmetric(x64):
    a, b = jnp.asarray(RNG.normal(size=(6, 3))), jnp.asarray(RNG.normal(size=(8, 3)))
    np.testing.assert_allclose(kernel_distance(a, b), kernel_distance(b, a), rtol=1e-12)


def test_it_is_zero_on_average_for_one_distribution_at_any_size(x64):
    for size in (3, 10):
        found = jax.jit(jax.vmap(kernel_distance))(*jnp.asarray(RNG.normal(size=(2, 400, size, 4))))
        standard_error = np.std(found) / np.sqrt(len(found))
        assert abs(np.mean(found)) < 4 * standard_error
        assert min(found) < 0  # so it is not the biased estimate


def test_it_grows_with_the_distance():
    a = RNG.normal(size=(200, 8)).astype(np.float32)
    found = [
        float(kernel_distance(jnp.asarray(a), jnp.asarray(a + shift))) for shift in (0.5, 1, 2)
    ]
    assert 0 < found[0] < found[1] < found[2]


@pytest.mark.parametrize(("n", "m"), [(1, 5), (5, 1), (0, 5)])
def test_a_single_row_has_no_pairs(n, m):
    with pytest.raises(ValueError, match=f"of {min(n, m)} rows. must have at least 2"):
        kernel_distance(jnp.zeros((n, 3)), jnp.zeros((m, 3)))


@pytest.mark.parametrize(("n", "m"), [(600, 256), (257, 513)])
def test_tiles_add_up_and_float32_features_lose_no_digits(n, m, monkeypatch):
    monkeypatch.setattr(pairwise, "ELEMENTS", 0)  # row_slices of 256 rows
    a, b = ((5 + RNG.normal(size=(rows, 3)) / 10).astype(np.float32) for rows in (n, m))
    expected = reference(a.astype(np.float64), b.astype(np.float64))
    np.testing.assert_allclose(kernel_distance(a, b), expected, rtol=1e-6)
    np.testing.assert_allclose(kernel_distance(jnp.asarray(a), b), expected, rtol=1e-6)


def test_what_jax_traces_has_the_same_value_and_a_gradient(x64):
    a, b = jnp.asarray(RNG.normal(size=(6, 3))), jnp.asarray(RNG.normal(size=(8, 3)))
    np.testing.assert_allclose(jax.jit(kernel_distance)(a, b), reference(a, b), rtol=1e-9)
    step = 1e-6 * RNG.normal(size=(6, 3))
    slope = (reference(a + step, b) - reference(a - step, b)) / 2
    np.testing.assert_allclose(
        jnp.sum(jax.jit(jax.grad(kernel_distance))(a, b) * step), slope, rtol=1e-6
    )


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_has_no_finite_distance_under_jit(value):
    assert not np.isfinite(jax.jit(kernel_distance)(np.full((5, 3), value), np.zeros((5, 3))))


def test_subsets_of_all_rows_are_the_estimate_over_all_pairs():
    a, b = RNG.normal(size=(20, 3)), RNG.normal(size=(20, 3))
    found = kernel_distance(a, b, subsets=3, subset_size=20)
    np.testing.assert_allclose(found.mean, reference(a, b), rtol=1e-9)
    assert found.standard_error < 1e-12


def test_the_standard_error_is_the_deviation_of_the_mean():
    a, b = RNG.normal(size=(100, 3)), RNG.normal(0.5, 1, size=(80, 3))
    found = [kernel_distance(a, b, subsets=10, subset_size=10, seed=seed) for seed in range(40)]
    means = np.asarray([result.mean for result in found])
    expected = np.mean([result.standard_error for result in found])
    np.testing.assert_allclose(
        np.std(means), expected, rtol=0.3
    )  # of 40 values: within 12 % as a rule
    assert abs(np.mean(means) - reference(a, b)) < 4 * expected / np.sqrt(40)
    assert found[0] == kernel_distance(a, b, subsets=10, subset_size=10)


@pytest.mark.parametrize(
    ("subsets", "size", "named"), [(1, 5, "subsets"), (5, 1, "subset_size"), (5, 9, "subset_size")]
)
def test_subsets_that_cannot_be_drawn_are_refused(subsets, size, named):
    with pytest.raises(ValueError, match=f"`{named}`"):
        kernel_distance(np.zeros((8, 3)), np.zeros((20, 3)), subsets, size)


def test_features_of_two_functions_are_refused():
    with pytest.raises(ValueError, match="of 3 and 2 features"):
        kernel_distance(np.zeros((8, 3)), np.zeros((8, 2)))


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.parametrize(("n", "m"), [(1, 2), (50, 50), (9, 70)])
def test_the_cmmd_is_that_of_its_definition(n, m, monkeypatch):
    monkeypatch.setattr(pairwise, "row_slices", lambda rows, _: [slice(0, 3), slice(3, rows)])
    a = unit(RNG.normal(size=(n, 16)))
    b = unit(RNG.normal(1, 1, size=(m, 16)))
    gamma = 1 / (2 * 10**2)
    means = [rbf_kernel(x, y, gamma=gamma).mean() for x, y in ((a, a), (b, b), (a, b))]
    expected = 1_000 * (means[0] + means[1] - 2 * means[2])
    assert expected > 0.1
    assert clip_distance(a, b) == pytest.approx(expected, rel=1e-9)


def test_the_cmmd_of_a_sample_with_itself_is_zero():
    a = unit(RNG.normal(size=(40, 8)))
    assert clip_distance(a, a) == pytest.approx(0, abs=1e-12)
    with pytest.raises(InputError, match="same function"):
        clip_distance(a, a[:, :5])

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics.pairwise import polynomial_kernel

from l1jax.evaluation import kernel_distance

RNG = np.random.default_rng(0)


def reference(a, b):
    """Bińkowski et al., equation 4, pair by pair."""
    xx, yy, xy = (polynomial_kernel(x, y, degree=3, gamma=1 / x.shape[1], coef0=1) for x, y in ((a, a), (b, b), (a, b)))
    n, m = len(a), len(b)
    within = xx[~np.eye(n, dtype=bool)].sum() / (n * (n - 1)) + yy[~np.eye(m, dtype=bool)].sum() / (m * (m - 1))
    return within - 2 * xy.mean()


@pytest.mark.parametrize(("n", "m", "features"), [(2, 2, 1), (5, 9, 3), (40, 30, 64)])
def test_it_is_the_unbiased_estimate(n, m, features, x64):
    a, b = RNG.normal(size=(n, features)), RNG.normal(0.5, 2, size=(m, features))
    np.testing.assert_allclose(kernel_distance(jnp.asarray(a), jnp.asarray(b)), reference(a, b), rtol=1e-9)


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
    found = [float(kernel_distance(jnp.asarray(a), jnp.asarray(a + shift))) for shift in (0.5, 1, 2)]
    assert 0 < found[0] < found[1] < found[2]


@pytest.mark.parametrize(("n", "m"), [(1, 5), (5, 1), (0, 5)])
def test_a_single_row_has_no_pairs(n, m):
    with pytest.raises(ValueError, match=f"of {n} and {m} rows"):
        kernel_distance(jnp.zeros((n, 3)), jnp.zeros((m, 3)))

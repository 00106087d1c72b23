import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import entropy

from l1jax.evaluation import mode_coverage

MEANS = jnp.asarray([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])


def test_counts_by_hand():
    points = jnp.asarray([[0.29, 0.0], [0.0, -0.31], [9.9, 0.1], [10.0, 0.0], [6.0, 0.0], [0.0, 9.0]])
    found = mode_coverage(points, MEANS, 0.1)
    assert found.modes == 2  # the third is met, but from too far
    np.testing.assert_allclose(found.high_quality, 3 / 6)
    np.testing.assert_allclose(found.reverse_kl, entropy([2, 3, 1], [1, 1, 1]), rtol=1e-6)


def test_the_mixture_itself_covers_it():
    rng = np.random.default_rng(0)
    modes = rng.choice(3, size=20_000, p=[0.5, 0.3, 0.2])
    points = np.asarray(MEANS)[modes] + 0.1 * rng.normal(size=(20_000, 2))
    found = jax.jit(mode_coverage)(jnp.asarray(points), MEANS, 0.1)
    assert found.modes == 3
    inside = 1 - np.exp(-9 / 2)  # of a Gaussian in the plane, within three deviations
    assert abs(found.high_quality - inside) < 4 * np.sqrt(inside * (1 - inside) / 20_000)
    np.testing.assert_allclose(found.reverse_kl, entropy(np.bincount(modes), [1, 1, 1]), rtol=1e-3)


def test_a_collapsed_generator_has_one_mode_and_log_n():
    found = mode_coverage(jnp.zeros((50, 2)), MEANS, 0.1)
    assert found.modes == 1
    assert found.high_quality == 1
    np.testing.assert_allclose(found.reverse_kl, np.log(3), rtol=1e-6)

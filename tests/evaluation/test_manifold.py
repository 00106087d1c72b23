import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from l1jax.evaluation import nearest_neighbours, pairwise, precision_recall_density_coverage
from l1jax.evaluation.manifold import neighbourhood

RNG = np.random.default_rng(0)


def samples(n, m, features, dtype=np.float64):
    return RNG.normal(size=(n, features)).astype(dtype), RNG.normal(
        0.3, 0.8, size=(m, features)
    ).astype(dtype)


@pytest.fixture
def small_tiles(monkeypatch):
    monkeypatch.setattr(pairwise, "ELEMENTS", 0)  # row_slices of 256 rows


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("n", "m", "features", "k"),
    [(30, 20, 2, 1), (600, 300, 3, 5), (256, 513, 16, 3), (20, 30, 64, 4), (100, 90, 1, 80)],
)
def test_it_is_prdc(n, m, features, k, dtype, small_tiles):
    prdc = pytest.importorskip("prdc")
    real, generated = samples(n, m, features, dtype)
    expected = prdc.compute_prdc(real, generated, k)
    found = precision_recall_density_coverage(real, generated, k)
    assert found._fields == tuple(expected)
    np.testing.assert_allclose(found, tuple(expected.values()), rtol=1e-12)
    assert min(found) > 0


def test_on_a_grid_points_on_the_edge_of_a_ball_are_outside():
    prdc = pytest.importorskip("prdc")
    real, generated = (RNG.integers(0, 6, size=(200, 3)).astype(float) for _ in range(2))
    expected = tuple(prdc.compute_prdc(real, generated, 4).values())
    np.testing.assert_allclose(
        precision_recall_density_coverage(real, generated, 4), expected, rtol=1e-12
    )


def test_on_a_line_by_hand():
    real, generated = np.asarray([[0.0], [1.0], [3.0]]), np.asarray([[2.5], [9.0], [9.5], [4.0]])
    # Balls reach 1, 1, 2 from the real points and 1.5, .5, .5, 1.5 from the generated ones.
    found = precision_recall_density_coverage(jnp.asarray(real), jnp.asarray(generated), k=1)
    np.testing.assert_allclose(found, (2 / 4, 1 / 3, 2 / 4, 1 / 3), rtol=1e-12)


def test_a_collapsed_generator_is_precise_and_covers_little():
    real = RNG.normal(size=(300, 4))
    found = precision_recall_density_coverage(real, np.tile(np.mean(real, axis=0), (50, 1)), k=3)
    assert found.precision == 1
    assert found.recall == 0
    assert found.coverage < 0.3


def test_bad_samples_are_refused_by_name():
    real, generated = samples(9, 5, 2)
    with pytest.raises(ValueError, match=r"`k` \(=0\)"):
        precision_recall_density_coverage(real, generated, 0)
    with pytest.raises(ValueError, match=r"`generated` \(of 5 rows\) must have at least 6"):
        precision_recall_density_coverage(real, generated, 5)
    with pytest.raises(ValueError, match="of 2 and 1 features"):
        precision_recall_density_coverage(real, generated[:, :1], 2)
    with pytest.raises(ValueError, match=r"`real` \(of 9 rows, 9 of them"):
        precision_recall_density_coverage(real * np.inf, generated, 2)
    with pytest.raises(ValueError, match=r"`training` \(of 5 rows\) must have at least 6"):
        nearest_neighbours(real, generated, 6)
    with pytest.raises(ValueError, match=r"`k` \(=0\)"):
        nearest_neighbours(real, generated, 0)


@pytest.mark.parametrize(
    ("n", "m", "features", "k"), [(7, 5, 2, 5), (300, 600, 8, 3), (513, 257, 1, 1)]
)
def test_neighbours_are_scikit_learns(n, m, features, k, small_tiles):
    generated, training = samples(n, m, features, np.float32)
    exact = NearestNeighbors(n_neighbors=k, algorithm="kd_tree").fit(training.astype(np.float64))
    distances, indices = exact.kneighbors(generated.astype(np.float64))
    found = nearest_neighbours(generated, jnp.asarray(training), k)
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_allclose(found.distances, distances, rtol=1e-12)
    own, _ = exact.kneighbors(n_neighbors=1)  # of each training point, itself left out
    to_other = neighbourhood(training, 1, "training").to_other
    np.testing.assert_allclose(to_other, own[:, 0], rtol=1e-12)


def test_a_copy_is_at_distance_zero_and_named(small_tiles):
    training = 1e3 + RNG.normal(size=(700, 20))  # where |x|² + |y|² − 2x·y of equal rows is not 0
    copied = RNG.permutation(700)[:300]
    found = nearest_neighbours(training[copied], training)
    np.testing.assert_array_equal(found.distances, 0)
    np.testing.assert_array_equal(found.indices[:, 0], copied)
    repeated = np.concatenate([training, training[copied]])
    is_repeated = np.zeros(1_000, bool)
    is_repeated[copied] = is_repeated[700:] = True
    to_other = neighbourhood(repeated, 3, "repeated").to_other
    np.testing.assert_array_equal(to_other == 0, is_repeated)

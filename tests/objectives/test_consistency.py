import jax
import jax.numpy as jnp
import numpy as np

from l1jax.objectives.consistency import Anchors, consistency, init_anchors, lecam, update_anchors


def test_consistency_is_the_mean_square_of_what_the_augmentation_changes():
    assert (
        consistency(jnp.asarray([1.0, 2.0, 3.0]), jnp.asarray([1.0, 0.0, 6.0])) == (0 + 4 + 9) / 3
    )


def test_anchors_are_exponential_averages():
    means = np.random.default_rng(0).normal(size=(20, 2))
    anchors = init_anchors()
    for real, fake in means:
        anchors = update_anchors(anchors, jnp.asarray(real), jnp.asarray(fake), 0.9)
    weights = 0.1 * 0.9 ** np.arange(20)[::-1]
    np.testing.assert_allclose(jnp.stack(anchors), weights @ means, rtol=1e-5)


def test_lecam_draws_each_kind_to_the_anchor_of_the_other():
    real, fake, anchors = (
        jnp.asarray([1.0, 3.0]),
        jnp.asarray([-1.0, 0.0]),
        Anchors(jnp.asarray(2.0), jnp.asarray(-2.0)),
    )
    value, slopes = jax.value_and_grad(lecam, argnums=(0, 1))(real, fake, anchors)
    assert value == (9 + 25) / 2 + (9 + 4) / 2
    np.testing.assert_array_equal(slopes[0], [3, 5])  # down to -2
    np.testing.assert_array_equal(slopes[1], [-3, -2])  # up to 2

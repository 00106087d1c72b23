import jax.numpy as jnp
import numpy as np
from scipy.stats import entropy
from sklearn.metrics import log_loss

from l1jax.objectives.next_token import bits, next_token_loss


def test_the_loss_is_scikit_learns(x64):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, 5, 7)) * 3
    targets = rng.integers(7, size=(3, 5))
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    probabilities = shifted / shifted.sum(-1, keepdims=True)
    losses = next_token_loss(jnp.asarray(logits), jnp.asarray(targets))
    assert losses.shape == (3, 5)
    expected = log_loss(targets.ravel(), probabilities.reshape(-1, 7), labels=range(7))
    np.testing.assert_allclose(losses.mean(), expected, rtol=1e-9)


def test_equal_logits_cost_the_entropy_of_a_uniform_token_in_bits():
    losses = next_token_loss(jnp.zeros((2, 256)), jnp.array([0, 255]))
    np.testing.assert_allclose(bits(losses), entropy(np.full(256, 1 / 256), base=2), rtol=1e-6)

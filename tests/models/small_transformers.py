"""Transformers that are small, with weights that `init` would not draw."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from l1jax.models import transformer

KEY = jax.random.key(0)
SMALL = partial(transformer, 11, width=16, layers=2, heads=4, context=6)
TOKENS = jnp.asarray(np.random.default_rng(0).integers(0, 11, (8, 9)))
VARIANTS = [(4, "swiglu"), (2, "gelu")]  # heads of keys and values, activation


def drawn_transformer(model):
    """Draw weights; the scales of norms are not 1."""
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(model.network.init, KEY)[0]

    def draw(path, leaf):
        values = rng.normal(size=leaf.shape)
        scaled = {"scale": 1 + 0.2 * values, "kernel": values / leaf.shape[0] ** 0.5}
        return jnp.asarray(scaled.get(path[-1].key, values), leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def variant(key_value_heads, activation):
    """Return a model with grouped heads or not, and its weights."""
    model = SMALL(key_value_heads=key_value_heads, activation=activation)
    return model, drawn_transformer(model)

"""Networks of one function, with parameters that training could have left and dead channels."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from l1jax.compaction.compact_network import compact_linen


class Network(nn.Module):
    """What a function of arrays computes; the layers that it makes belong to this module."""

    function: Callable

    @nn.compact
    def __call__(self, *inputs):
        return self.function(*inputs)


def trained(module, inputs, dead=()):
    """Draw variables in the inputs' precision.

    In these layers the outputs 0, 2 … lose all of their weights.
    """
    random = np.random.default_rng(0)
    made = jax.eval_shape(lambda: module.init(jax.random.key(0), *inputs))
    wide = any(x.dtype == jnp.float64 for x in inputs)

    def fill(path, leaf):
        *_, layer, name = ["", *(getattr(key, "key", "") for key in path)]
        values = random.normal(size=leaf.shape) * 0.7
        if layer in dead and name == "kernel":
            values[..., ::2] = 0
        if name in ("var", "sigma"):
            values = np.abs(values) + 0.5
        return jnp.asarray(values, np.float64 if wide and leaf.dtype == jnp.float32 else leaf.dtype)

    return jax.tree_util.tree_map_with_path(fill, made)


def original_and_compact(function, *inputs, dead=(), **options):
    """Return the outputs of the network and of the compacted one.

    With them come the variables and nodes of the compacted network.
    """
    module = Network(function)
    variables = trained(module, inputs, dead)
    smaller, left = compact_linen(module, variables, *inputs, **options)
    first, *others = inputs
    return (
        jax.jit(module.apply)(variables, *inputs),
        jax.jit(lambda left: smaller.apply(left, first, False, *others))(left),
        left,
        smaller.nodes,
    )


def vectors(count=4, size=5, dtype=np.float64):
    """Inputs without an image."""
    return jnp.asarray(np.random.default_rng(1).normal(size=(count, size)), dtype)


def pictures(count=3, side=6, channels=3, dtype=np.float64):
    """Images."""
    return jnp.asarray(np.random.default_rng(2).normal(size=(count, side, side, channels)), dtype)

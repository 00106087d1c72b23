"""Networks with drawn weights, in training on one or more devices.

They are mapped as the training step maps them.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from l1jax.models.network import AXIS

DEVICES = (1, 2, 8)


def drawn(network, seed=0):
    """Draw parameters and statistics without `init`, which takes long to compile.

    No bias is zero, for that would hide a mistake.
    """
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        name, fan = path[-1].key, max(1, leaf.size // leaf.shape[-1])
        values = rng.normal(size=leaf.shape) * {"kernel": fan**-0.5, "u": 1}.get(name, 0.2)
        values = {
            "scale": 1 + values,
            "var": np.exp(values),
            "u": values / np.linalg.norm(values),
        }.get(name, values)
        return jnp.asarray(values, leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, jax.eval_shape(network.init, jax.random.key(0)))


def train(network, params, statistics, x, label=None, key=None, devices=1):
    """Outputs and moved statistics, the parameters typed as each device's own."""

    def apply(params, statistics, x, label):
        return network.apply(own(params), statistics, x, True, label, key)

    label = jnp.zeros(len(x), jnp.int32) if label is None else label
    return mapped(apply, devices, (P(AXIS), P()))(params, statistics, x, label)


def gradient(network, params, statistics, x, label=None, key=None, devices=1):
    """Return outputs, updated statistics, and a gradient over the whole batch.

    It is the gradient of the mean of squared outputs.
    """

    def apply(params, statistics, x, label):
        def loss(params):
            outputs, moved = network.apply(params, statistics, x, True, label, key)
            return jnp.mean(jnp.square(outputs)), (outputs, moved)

        grads, (outputs, moved) = jax.grad(loss, has_aux=True)(own(params))
        return outputs, moved, jax.lax.pmean(grads, AXIS)

    label = jnp.zeros(len(x), jnp.int32) if label is None else label
    return mapped(apply, devices, (P(AXIS), P(), P()))(params, statistics, x, label)


def mapped(function, devices, out_specs):
    mesh = Mesh(np.asarray(jax.devices()[:devices]), (AXIS,))
    return jax.jit(
        jax.shard_map(
            function,
            mesh=mesh,
            in_specs=(P(), P(), P(AXIS), P(AXIS)),
            out_specs=out_specs,
            check_vma=True,
        )
    )


def own(params):
    return jax.tree.map(lambda leaf: jax.lax.pcast(leaf, AXIS, to="varying"), params)

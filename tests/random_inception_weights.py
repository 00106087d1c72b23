"""Random weights with the names, shapes and file formats of Inception-v3's public ones."""

import numpy as np

from l1jax.evaluation.inception_weights import tensor_shapes


def random_tensors(seed=0):
    """Weights that keep activations at one scale, with batch norms far from the identity."""
    rng, found = np.random.default_rng(seed), {}
    for name, shape in tensor_shapes().items():
        if name.endswith(("conv.weight", "fc.weight")):
            value = rng.standard_normal(shape, np.float32) * np.sqrt(2 / np.prod(shape[1:]))
        elif name.endswith(("bn.weight", "running_var")):
            value = rng.uniform(0.5, 1.5, shape)
        else:
            value = 0.1 * rng.standard_normal(shape)
        found[name] = value.astype(np.float32)
    return found


def zero_tensors():
    """The same without any memory."""
    return {name: np.broadcast_to(np.float32(0), shape) for name, shape in tensor_shapes().items()}

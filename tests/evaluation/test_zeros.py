import jax.numpy as jnp
import numpy as np

from l1jax.evaluation.zeros import count_zeros
from l1jax.models.summary import Layer

LAYERS = [Layer("conv", "Conv", (4, 4, 5), 1, 1_000), Layer("dense", "Dense", (2,), 1, 60)]


def test_zeros_are_counted_by_layer_and_channel():
    kernel = np.ones((2, 2, 3, 5), np.float32)
    kernel[..., 1] = 0  # 12 entries, one channel
    kernel[0, 0, 0, 0] = 0
    params = {
        "conv": {"kernel": jnp.asarray(kernel), "bias": jnp.zeros(5)},
        "dense": {"kernel": jnp.ones((15, 2))},
        "norm": {"scale": jnp.ones(3)},
    }
    zeros = count_zeros(params, LAYERS)
    conv, dense = zeros.layers
    assert (conv.path, conv.entries, conv.zeros, conv.outputs, conv.dead_outputs) == (
        "conv/kernel",
        60,
        13,
        5,
        1,
    )
    assert (dense.zeros, dense.dead_outputs, dense.effective_flops) == (0, 0, 60)
    assert (conv.flops, conv.effective_flops) == (1_000, round(1_000 * 47 / 60))
    assert (zeros.parameters, zeros.effective_parameters) == (60 + 5 + 30 + 3, 47 + 30 + 3)
    assert (zeros.sparsity, zeros.dead_outputs, zeros.flops) == (13 / 90, 1 / 7, 1_060)
    assert zeros.bytes == 4 * 98
    assert (
        zeros.compressed_bytes == (4 * 47 + 8) + 1 + 4 * 30 + 4 * 3
    )  # bits only where they save something


def test_a_network_without_kernels_has_no_zeros():
    zeros = count_zeros({"scale": jnp.ones(3)})
    assert (zeros.sparsity, zeros.dead_outputs, zeros.flops, zeros.layers) == (0, 0, 0, ())

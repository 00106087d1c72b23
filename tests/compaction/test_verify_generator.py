"""The proof fails where images differ, and counts what a generator takes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fast_cases import slow_except
from sparse_networks import FAMILIES, random_variables

from l1jax.compaction.compact_network import compact
from l1jax.compaction.verify_generator import MismatchError, verify
from l1jax.models import mlp_gan
from l1jax.models.layout.layout_network import TrainedGenerator


def original_and_compact(family="mlp with classes", shares=(0.5,)):
    generator = FAMILIES[family]()
    variables = random_variables(generator, 1, list(shares), np.float32)
    return TrainedGenerator(generator, *variables, {}), compact(generator, *variables)


def proof(original, smaller):
    return verify(original, smaller, jax.random.key(0), count=32, batch=8, rounds=3)


def test_numbers_before_and_after_are_those_of_the_arrays():
    generator = mlp_gan((1, 2, 1), 3, (4,)).generator
    kernels = np.ones((3, 4), np.float32), np.ones((4, 2), np.float32)
    kernels[1][:3] = 0
    params = {
        n: {"kernel": k, "bias": k[0]} for n, k in zip(("hidden_0", "image"), kernels, strict=True)
    }
    found = proof(TrainedGenerator(generator, params, {}, {}), compact(generator, params, {}))
    assert found.before[:3] == (3 * 4 + 4 + 4 * 2 + 2, 4 * 26, 2 * (3 * 4 + 4 * 2))
    assert found.after[:3] == (3 * 1 + 1 + 1 * 2 + 2, 4 * 8, 2 * (3 * 1 + 1 * 2))
    assert found.channels == [("hidden_0", 4, 1), ("image", 2, 2)]
    assert min(found.before.latency, found.after.latency) > 0
    assert found.error < 1e-6
    assert not found.constant


@pytest.mark.parametrize("family", slow_except(["mlp with classes", "dcgan"], "mlp with classes"))
def test_a_proof_of_the_same_images_is_one(family):
    found = proof(*original_and_compact(family, [0.3, 0.7]))
    assert found.error < 1e-5
    assert found.after.flops < found.before.flops


def test_where_the_original_itself_rounds_much_twice_that_is_allowed():
    generator = mlp_gan((1, 2, 1), 3, (64,), output="linear").generator
    rng = np.random.default_rng(0)
    kernel, last = (
        rng.normal(size=(3, 64)).astype(np.float32),
        rng.normal(size=(64, 2)).astype(np.float32),
    )
    last[32:] = -last[:32] * np.float32(1 - 1e-5)  # large terms that nearly cancel
    kernel[:, 32:] = kernel[:, :32]
    params = {
        "hidden_0": {"kernel": kernel, "bias": np.full(64, 9, np.float32)},
        "image": {"kernel": last, "bias": np.zeros(2, np.float32)},
    }
    original = TrainedGenerator(generator, params, {}, {})
    found = proof(original, original)
    assert found.error == found.rounding > 1e-5
    shifted = {**params, "image": {**params["image"], "bias": np.full(2, 1e-2, np.float32)}}
    with pytest.raises(MismatchError):
        proof(original, original._replace(params=shifted))


def test_an_error_in_one_class_is_found():
    original, smaller = original_and_compact(shares=[0])
    kernel = smaller.params["hidden_0"]["kernel"]
    wrong = {
        **smaller.params,
        "hidden_0": {**smaller.params["hidden_0"], "kernel": kernel.at[-1].add(1e-2)},
    }
    with pytest.raises(MismatchError, match=r"must be at most 1e-05"):
        proof(original, smaller._replace(params=wrong))


def test_what_is_not_a_number_is_no_proof():
    original, smaller = original_and_compact(shares=[0])
    wrong = jax.tree.map(lambda leaf: leaf.at[0].set(jnp.nan), smaller.params)
    with pytest.raises(MismatchError):
        proof(original, smaller._replace(params=wrong))


def test_a_constant_output_is_told():
    original, smaller = original_and_compact("dcgan", [1])
    found = proof(original, smaller)
    assert found.constant
    assert found.after.flops == 0

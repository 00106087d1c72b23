"""Parameters as other libraries keep them: NNX, modules with None in them, names with slashes."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import l1jax


class Net(nnx.Module):
    def __init__(self):
        self.hidden = nnx.Linear(3, 2, rngs=nnx.Rngs(0))

    def __call__(self, x):
        return self.hidden(x)


def optimised(tx):
    net = Net()
    optimizer = nnx.Optimizer(net, tx, wrt=nnx.Param)

    @nnx.jit
    def step(net, optimizer):
        grads = nnx.grad(lambda net: jnp.mean(net(jnp.eye(3))))(net)
        optimizer.update(net, grads)

    for _ in range(3):
        step(net, optimizer)
    return nnx.state(net, nnx.Param), optimizer.opt_state


PENALTY = l1jax.by_path({r"(^|/)kernel$": l1jax.l1(9.0)})


def test_nnx_optimizer_prunes_and_its_state_is_readable():
    params, state = optimised(l1jax.proximal_adam(0.1, PENALTY, scale=l1jax.track_sparsity(0.5)))
    assert l1jax.sparsity(params).by_path["hidden/kernel"] > 0
    assert float(l1jax.strength(state)) > 0
    louder = l1jax.set_scale(state, 2.0)
    assert jax.tree.structure(louder) == jax.tree.structure(state)


def test_solution_comes_from_a_state_that_boxes_its_arrays_otherwise():
    params, state = optimised(l1jax.rmda(0.1, PENALTY))
    actual = l1jax.solution(state, params)
    assert jax.tree.structure(actual) == jax.tree.structure(params)
    assert not np.any(actual["hidden"]["kernel"][...])
    assert np.any(params["hidden"]["kernel"][...])


@jax.tree_util.register_dataclass
@dataclass
class Linear:
    weight: Any
    bias: Any


MODULES = {
    "layers": [Linear(jnp.full((3, 4), 0.5), None), Linear(jnp.full((2, 3), 0.5), jnp.full(2, 0.5))]
}
NAMES = {"mlp/~/linear_0": {"w": jnp.full((4, 3), 0.5), "b": jnp.full(3, 0.5)}}


@pytest.mark.parametrize(
    ("params", "pattern", "pruned"),
    [
        (MODULES, r"weight$", {"layers/0/weight", "layers/1/weight"}),
        (NAMES, r"/w$", {"mlp/~/linear_0/w"}),
    ],
    ids=["modules", "names"],
)
def test_modules_and_names_with_slashes(params, pattern, pruned):
    tx = l1jax.proximal_adam(0.1, l1jax.by_path({pattern: l1jax.l1(9.0)}))
    updates, state = jax.jit(tx.update)(
        jax.tree.map(jnp.ones_like, params), tx.init(params), params
    )
    moved = optax.apply_updates(params, updates)
    assert jax.tree.structure(moved) == jax.tree.structure(params)
    zeros = l1jax.sparsity(l1jax.solution(state, moved)).by_path
    assert {name for name, share in zeros.items() if share == 1} == pruned
    assert {name for name, share in zeros.items() if share == 0} == zeros.keys() - pruned

"""Products whose rounding decides are exact on accelerators, too, which round by default.

A CPU multiplies exactly anyway, so the programs are read: each product must ask for it.
"""

import jax
import jax.numpy as jnp
import pytest
from jax.extend import core

import l1jax
from l1jax.data.augmentation import adaptive_augmentation
from l1jax.evaluation import kernel_distance
from l1jax.penalties.numerics import with_exact_products
from l1jax.selection.solver import solve_path

X = jnp.ones((5, 3))
NUCLEAR = l1jax.nuclear_norm(0.1)
METRIC = jnp.full_like(X, 0.5).at[0].set(1.0)


def augmented(images):
    augmentation = adaptive_augmentation()
    uniform = augmentation.draw(jax.random.key(0), len(images))
    return augmentation.apply(images, uniform, 0.5)


FUNCTIONS = {
    "prox": (lambda x: NUCLEAR.prox(x, 0.1), X),
    "prox in a metric": (lambda x: NUCLEAR.prox(x, METRIC), X),
    "derivative of the prox": (jax.grad(lambda x: jnp.sum(NUCLEAR.prox(x, 0.1) ** 2)), X),
    "subgradient": (NUCLEAR.subgradient, X),
    "distance": (lambda x: NUCLEAR.distance(x, x), X),
    "kernel distance": (lambda x: kernel_distance(x, 2 * x), X),
    "linear path": (
        lambda x: solve_path(x, x[:, 0], jnp.ones(5), jnp.ones(2), l1jax.l1(1.0)).coefficients,
        X,
    ),
    "augmentation": (augmented, jnp.ones((2, 8, 8, 3))),
}


def products(jaxpr):
    """The precisions that the products of a program and of all programs in it ask for."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield equation.params["precision"]
        for value in jax.tree.leaves(
            equation.params, is_leaf=lambda x: isinstance(x, core.Jaxpr | core.ClosedJaxpr)
        ):
            if isinstance(value, core.ClosedJaxpr):
                yield from products(value.jaxpr)
            elif isinstance(value, core.Jaxpr):
                yield from products(value)


def precisions(function, *args):
    return set(products(jax.make_jaxpr(function)(*args).jaxpr))


HIGHEST = (jax.lax.Precision.HIGHEST,) * 2


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_product_asks_for_the_precision_of_its_entries(name):
    assert precisions(*FUNCTIONS[name]) == {HIGHEST}


def test_a_product_does_not_ask_for_it_by_itself():
    assert precisions(lambda x: x @ x.T, X) == {None}
    assert precisions(with_exact_products(lambda x: x @ x.T), X) == {HIGHEST}

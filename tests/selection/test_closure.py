"""Arrays that a function closes over become arguments of the compiled program."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import l1jax
from l1jax.selection import make_folds, path, stability, stability_selection, train_path
from l1jax.selection.closure import hoist_constants

LARGE = np.arange(1, 301, dtype=np.float32)
DEVICE = jnp.asarray(LARGE)


def program(function, *arguments):
    return jax.jit(function).lower(*arguments).as_text()


def encloses(text):
    """Whether a program has the large array as a constant."""
    return 'dense<"0x' in text or "dense_resource" in text or "2.990000e+02" in text


def nested(carry):
    """Encloses it in a scan, a branch, a loop, a compiled function and a derivative."""

    def body(total, scale):
        total = jax.lax.cond(total[0] > 0, lambda t: t + DEVICE, lambda t: t - DEVICE, total)
        total = jax.lax.while_loop(lambda t: t[0] < 9, lambda t: t + 2 * jnp.asarray(LARGE), total)
        return jax.jit(lambda t: t * scale + DEVICE)(total), jax.grad(
            lambda s: jnp.sum(s * DEVICE)
        )(scale)

    return jax.lax.scan(body, carry["start"], jnp.arange(1.0, 3.0)), jnp.sum(DEVICE)


def test_what_is_closed_over_is_an_argument_and_the_result_the_same():
    carry = {"start": jnp.ones(300)}
    assert encloses(program(nested, carry))
    hoisted, constants = hoist_constants(nested, carry)
    assert not encloses(program(hoisted, constants, carry))
    jax.tree.map(np.testing.assert_array_equal, hoisted(constants, carry), nested(carry))
    shapes = jax.eval_shape(lambda: carry)
    again, arrays = hoist_constants(nested, shapes)
    jax.tree.map(np.testing.assert_array_equal, jax.jit(again)(arrays, carry), nested(carry))


def test_a_function_that_closes_over_nothing_has_no_constants():
    hoisted, constants = hoist_constants(lambda x, y: {"sum": x + y}, jnp.ones(2), jnp.ones(2))
    assert not constants
    np.testing.assert_array_equal(hoisted(constants, jnp.ones(2), 2 * jnp.ones(2))["sum"], [3, 3])


def compiled_programs(monkeypatch, module):
    """The texts of the programs that a module compiles."""
    texts = []

    def compile_and_keep(function, **options):
        def run(*arguments):
            texts.append(program(function, *arguments))
            return jax.jit(function, **options)(*arguments)

        return run

    class Spy:
        jit = staticmethod(compile_and_keep)

        def __getattr__(self, name):
            return getattr(jax, name)

    monkeypatch.setattr(module, "jax", Spy())
    return texts


@pytest.mark.slow
def test_the_programs_of_a_path_have_the_examples_as_arguments(monkeypatch):
    texts = compiled_programs(monkeypatch, path)
    tx = l1jax.proximal_sgd(0.1, l1jax.l1(1.0))

    def init(key):
        return {"params": jnp.zeros(()) + DEVICE[0], "optimizer": tx.init(jnp.zeros(()))}

    def step(state, fold, key):
        slope = jnp.mean(DEVICE / 300 * state["params"] - 1, where=fold.training)
        updates, optimizer = tx.update(slope, state["optimizer"], state["params"])
        return {"params": optax.apply_updates(state["params"], updates), "optimizer": optimizer}

    def score(state, fold):
        return jnp.mean(jnp.square(DEVICE * state["params"]), where=fold.held_out)

    folds = make_folds(np.arange(300) % 2, jax.random.key(0))
    scores = []
    for how in ("together", "independent", "warm"):
        result = train_path(
            init, step, score, [0.1, 0.2], folds, steps=2, key=jax.random.key(0), how=how
        )
        scores.append(result.scores)
    assert len(texts) >= 3
    assert not any(encloses(text) for text in texts)
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-5)


def test_so_have_those_of_stability_selection(monkeypatch):
    texts = compiled_programs(monkeypatch, stability)
    shares = stability_selection(
        lambda weights: weights * DEVICE, 300, jax.random.key(0), resamples=50
    )
    assert len(texts) == 1
    assert not encloses(texts[0])
    assert abs(float(shares.mean()) - 0.5) < 1e-6  # half of each resample

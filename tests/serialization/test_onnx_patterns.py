"""Functions that JAX spells out become single nodes, which compute what NumPy does."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from l1jax.serialization.onnx_program import Weights, export_graph

X = np.array([[-3, -1, -0.25, 0], [0.5, 1, 2, 30]], np.float32)
KERNEL = np.arange(12, dtype=np.float32).reshape(4, 3) / 7
BIAS = np.array([1, -2, 3], np.float32)


def run(function, x=X):
    """The kinds of the nodes of a function of x, and what they compute."""
    onnx = importlib.import_module("onnx")
    runtime = importlib.import_module("onnxruntime")
    (batch,) = jax.export.symbolic_shape("batch")
    inputs = {"x": jax.ShapeDtypeStruct((batch, *x.shape[1:]), jnp.float32)}
    weights = Weights({"kernel": jnp.asarray(KERNEL), "bias": jnp.asarray(BIAS)}, {})
    content = export_graph(lambda w, x: function(x, **w.params), weights, inputs, "y")
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load_from_string(content).graph.node]
    return kinds, session.run(None, {"x": x})[0]


def leaky(slope):
    return np.where(X >= 0, X, np.float32(slope) * X)


@pytest.mark.parametrize(
    ("function", "kinds", "wanted"),
    [
        (lambda x, **_: jax.nn.leaky_relu(x, 0.2), ["LeakyRelu"], leaky(0.2)),
        (lambda x, **_: jnp.where(x < 0, 0.2 * x, x), ["LeakyRelu"], leaky(0.2)),
        (lambda x, **_: jnp.maximum(x, x * 0.2), ["LeakyRelu"], leaky(0.2)),
        (lambda x, **_: jnp.maximum(x, 2 * x), ["Mul", "Max"], np.maximum(X, 2 * X)),
        (lambda x, **_: jnp.where(x >= 1, x, 0.2 * x), None, np.where(X >= 1, X, 0.2 * X)),
        (lambda x, **_: jax.nn.relu(x), ["Relu"], np.maximum(X, 0)),
        (lambda x, **_: jnp.where(x > 0, x, 0), ["Relu"], np.maximum(X, 0)),
        (lambda x, **_: jnp.maximum(x, 1), ["Max"], np.maximum(X, 1)),
        (lambda x, **_: jnp.tanh(x), ["Tanh"], np.tanh(X)),
        (lambda x, **_: jax.nn.sigmoid(x), ["Sigmoid"], 1 / (1 + np.exp(-X))),
        (lambda x, **_: 1 / (1 + jnp.exp(-x)), ["Sigmoid"], 1 / (1 + np.exp(-X))),
        (lambda x, **_: jax.nn.softplus(x), ["Softplus"], np.logaddexp(X, 0)),
        (lambda x, **_: jnp.clip(x, -1, 2), ["Clip"], np.clip(X, -1, 2)),
        (lambda x, **_: jnp.maximum(jnp.minimum(x, 2), -1), ["Clip"], np.clip(X, -1, 2)),
        (lambda x, **_: jax.nn.relu6(x), ["Clip"], np.clip(X, 0, 6)),
        (lambda x, kernel, bias: x @ kernel + bias, ["Gemm"], X @ KERNEL + BIAS),
        (lambda x, kernel, bias: x @ kernel + bias[0], ["MatMul", "Add"], X @ KERNEL + 1),
        (lambda x, **_: x, ["Identity"], X),
    ],
)
def test_a_group_of_nodes_is_one(function, kinds, wanted):
    found_kinds, found = run(function)
    assert kinds in (None, found_kinds)
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)


def test_a_product_that_is_used_twice_is_computed_once():
    def function(x, kernel, bias):
        product = x @ kernel
        return product * (product + bias)

    kinds, found = run(function)
    assert kinds == ["MatMul", "Add", "Mul"]
    np.testing.assert_allclose(found, (X @ KERNEL) * (X @ KERNEL + BIAS), rtol=1e-6)


def test_a_product_of_more_axes_keeps_its_bias_apart():
    x = np.stack([X, -X])
    kinds, found = run(lambda x, kernel, bias: x @ kernel + bias, x)
    assert kinds == ["MatMul", "Add"]
    np.testing.assert_allclose(found, x @ KERNEL + BIAS, rtol=1e-6)


def test_a_bias_that_something_else_uses_stays_as_it_is():
    def function(x, kernel, bias):
        row = bias[None]
        return (x @ kernel + row) @ jnp.ones((3, 3)) + row

    kinds, found = run(function)
    assert kinds == ["Gemm", "Gemm"]
    np.testing.assert_allclose(found, (X @ KERNEL + BIAS) @ np.ones((3, 3)) + BIAS, rtol=1e-6)

"""Every public name says what it computes, where it converges and who proved it; it has an example.

Other tests run the examples.
"""

import inspect

import pytest

import l1jax
from l1jax import preconditioners

READERS = {"strength", "set_scale", "solution", "sparsity", "sparse_average", "zero_groups"}
GROUPS = {"output_channels", "input_channels", "kernel_blocks", "scales"}
FUNCTIONS = {
    name: getattr(l1jax, name) for name in l1jax.__all__ if inspect.isfunction(getattr(l1jax, name))
}
CLASSES = {
    name: getattr(l1jax, name) for name in l1jax.__all__ if inspect.isclass(getattr(l1jax, name))
}
METRICS = {
    name: metric
    for name, metric in vars(preconditioners).items()
    if inspect.isfunction(metric) and metric.__module__ == preconditioners.__name__
    if name[0] != "_"
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_is_documented(name):
    doc = inspect.getdoc(FUNCTIONS[name])
    arguments = inspect.signature(FUNCTIONS[name]).parameters
    assert ">>> " in doc
    for argument in arguments:
        assert f"\n    {argument}: " in doc or f"\n    *{argument}: " in doc, argument
    if name not in READERS | GROUPS | {"by_path"}:
        assert "Source: " in doc
    if name not in READERS | GROUPS | {"soft_threshold", "rising_momentum", "largest_strength"}:
        assert any(words in doc for words in ("ixed point", "onverge", "tationary", "At rest"))


@pytest.mark.parametrize("name", METRICS)
def test_metric_is_documented(name):
    doc = METRICS[name].__doc__
    assert "√" in doc.splitlines()[0] or "maximum of |g|" in doc.splitlines()[0]
    assert "Source: " in doc
    assert ">>> " in doc


@pytest.mark.parametrize("name", [name for name in CLASSES if name.endswith("State")])
def test_state_says_whose_it_is_and_what_its_fields_are(name):
    doc = inspect.getdoc(CLASSES[name])
    source = inspect.getsource(CLASSES[name])
    assert name == "StrengthState" or any(f"`{function}`" in doc for function in FUNCTIONS)
    plain = {"strength: StrengthState", "inner: optax.OptState"}  # named by their types
    fields = [
        line.strip() for line in source.splitlines() if ": " in line and line.startswith("    ")
    ]
    assert all(" # " in field or field in plain for field in fields if '"""' not in field)

import doctest
import importlib
import pkgutil

import jax.numpy as jnp
import pytest

import l1jax
import l1jax.penalties

MODULES = [module.name for module in pkgutil.iter_modules(l1jax.penalties.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name):
    module = importlib.import_module(f"l1jax.penalties.{name}")
    assert doctest.testmod(module, extraglobs={"l1jax": l1jax, "jnp": jnp}).failed == 0


@pytest.mark.parametrize("name", [n for n in l1jax.penalties.__all__ if n[0].islower()])
def test_public_functions_have_a_docstring(name):
    doc = getattr(l1jax.penalties, name).__doc__
    assert doc
    if name not in {
        "leaf_penalties",
        "path_name",
        "scaled",
        "soft_threshold",
        "sparsity",
        "kernel_blocks",
        "group_axes",
    }:
        assert ">>>" in doc, "an example"

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

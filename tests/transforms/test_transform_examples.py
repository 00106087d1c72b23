"""The example in each docstring runs, and each public name has one."""

import doctest
import importlib
import pkgutil

import pytest

import l1jax
from l1jax import transforms

MODULES = [importlib.import_module(f"l1jax.transforms.{m.name}") for m in pkgutil.iter_modules(transforms.__path__)]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_examples_run(module):
    assert doctest.testmod(module).failed == 0


def test_every_public_function_has_an_example_and_a_source():
    functions = {name: getattr(l1jax, name) for name in transforms.__all__ if name[0].islower()}
    del functions["preconditioners"]
    readers = {"solution", "strength", "set_scale", "sparse_average"}
    for name, function in functions.items():
        assert ">>> " in function.__doc__, name
        assert "Source: " in function.__doc__ or name in readers, name

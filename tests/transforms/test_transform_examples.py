"""The example in each docstring runs."""

import doctest
import importlib
import pkgutil

import pytest

from l1jax import transforms

MODULES = [
    importlib.import_module(f"l1jax.transforms.{m.name}")
    for m in pkgutil.iter_modules(transforms.__path__)
]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_examples_run(module):
    assert doctest.testmod(module).failed == 0

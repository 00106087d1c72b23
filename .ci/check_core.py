"""Checks l1jax in an environment that holds the wheel and what it requires, and no extra."""

import doctest
import importlib
import importlib.metadata
import importlib.util
import pkgutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import jax.numpy as jnp

import l1jax
from l1jax.cli.main import COMMANDS

PACKAGES = ["l1jax", "l1jax.penalties", "l1jax.transforms", "l1jax.solve", "l1jax.objectives"]
PACKAGES += ["l1jax.selection", "l1jax.evaluation", "l1jax.config"]


def check_names() -> int:
    """Import every public name of the packages that need no extra."""
    count = 0
    for package in PACKAGES:
        module = importlib.import_module(package)
        names = set(getattr(module, "__all__", ())) - {"load"}
        assert all(hasattr(module, name) for name in names), package
        count += len(names)
    return count


def check_load() -> None:
    """Check that `l1jax.load`, which needs the extra, says so."""
    said = ""
    try:
        hasattr(l1jax, "load")
    except ImportError as error:
        said = str(error)
    assert said.endswith("pip install 'l1jax[train]'."), said


def check_docstrings() -> int:
    """Run the examples in the docstrings of the penalties, transformations and selection."""
    count = 0
    for package in ("l1jax.penalties", "l1jax.transforms"):
        for found in pkgutil.iter_modules(importlib.import_module(package).__path__):
            module = importlib.import_module(f"{package}.{found.name}")
            result = doctest.testmod(module, extraglobs={"l1jax": l1jax, "jnp": jnp})
            assert not result.failed, module.__name__
            count += result.attempted
    for name in ("strengths", "rules"):
        result = doctest.testmod(importlib.import_module(f"l1jax.selection.{name}"))
        assert not result.failed, name
        count += result.attempted
    return count


def first_words(name: str) -> str:
    """Return what a command prints that cannot run, after checking that it is one sentence."""
    command = [sys.executable, "-P", "-m", COMMANDS[name].module, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2, (name, done.returncode, done.stderr)
    assert done.stdout == ""
    assert done.stderr.startswith(f"error: `python -m {COMMANDS[name].module}` needs "), done.stderr
    assert done.stderr.endswith("pip install 'l1jax[train]'.\n"), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr.strip()


assert importlib.util.find_spec("flax") is None, "this environment must not have the extra `train`"
assert "site-packages" in l1jax.__file__, "the installed package must be tested, not a checkout"
assert importlib.metadata.version("l1jax") == l1jax.__version__
names = check_names()
check_load()
examples = check_docstrings()
with ThreadPoolExecutor(2) as pool:
    said = list(pool.map(first_words, COMMANDS))
print(f"{names} public names, {examples} lines of examples, {len(said)} commands; the first says:")
print(said[0])

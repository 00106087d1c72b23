"""What works without the extras, and what a module says that lacks one."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from l1jax.cli.main import COMMANDS
from l1jax.extras import EXTRAS

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
distributions = cache(packages_distributions)  # which takes a second
# JAX and optax bring these along, and they have none of their own.
BROUGHT_ALONG = {"jaxlib", "scipy", "ml_dtypes", "absl"}

# Imports every module with the core alone, and runs every command.
PROGRAM = """
import importlib, importlib.util, json, pkgutil, runpy, sys
import jax, optax

before = {name.partition(".")[0] for name in sys.modules}
import l1jax
from absent import hide_extras

hide_extras()
from l1jax.cli.main import COMMANDS
from l1jax.extras import EXTRAS, MissingExtraError

def outcome(action):
    try:
        action()
    except MissingExtraError as error:
        return str(error)
    return ""

modules = [m.name for m in pkgutil.walk_packages(l1jax.__path__, "l1jax.")]
found = {"modules": {}, "commands": {}}
for name in modules:
    found["modules"][name] = outcome(lambda: importlib.import_module(name))
found["heavy"] = sorted(({name.partition(".")[0] for name in sys.modules} & set(EXTRAS)) - before)
for name, command in COMMANDS.items():
    sys.modules.pop(command.module, None)
    run = lambda: runpy.run_module(command.module, run_name="__main__", alter_sys=True)
    found["commands"][name] = outcome(run)
found["specification"] = importlib.util.find_spec("flax") is None
try:
    import flax
except ModuleNotFoundError as error:
    found["elsewhere"] = [type(error).__name__, str(error)]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def core_alone():
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys; sys.path.insert(0, {str(ROOT / 'tests')!r})\n{PROGRAM}",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def documented_core():
    """The packages that docs/install.md says to need no extra."""
    text = (ROOT / "docs/install.md").read_text(encoding="utf-8")
    (sentence,) = re.findall(r"They are all that (.*?) need", text, re.DOTALL)
    return set(re.findall(r"`(l1jax[\w.]*)`", sentence)) - {"l1jax"}


def requirements(extra):
    if extra == "core":
        listed = PROJECT["dependencies"]
    else:
        listed = PROJECT["optional-dependencies"][extra]
    return {re.match(r"[\w.-]+", line)[0].lower().replace("_", "-") for line in listed}


def test_the_core_is_jax_optax_jaxtyping_and_numpy():
    assert requirements("core") == {"jax", "optax", "jaxtyping", "numpy"}


@pytest.mark.slow
def test_the_documented_packages_need_no_extra(core_alone):
    assert {"l1jax.penalties", "l1jax.transforms", "l1jax.selection"} <= documented_core()
    for package in documented_core():
        assert core_alone["modules"][package] == "", package
    assert core_alone["heavy"] == []


@pytest.mark.parametrize("package", ["penalties", "transforms", "objectives", "audio", "config"])
def test_no_module_of_these_packages_needs_an_extra(core_alone, package):
    modules = [name for name in core_alone["modules"] if name.startswith(f"l1jax.{package}.")]
    assert modules
    assert not {name for name in modules if core_alone["modules"][name]}


def test_what_lacks_an_extra_says_so_in_one_sentence(core_alone):
    lacking = {name: said for name, said in core_alone["modules"].items() if said}
    assert {"l1jax.models", "l1jax.compaction", "l1jax.serialization", "l1jax.train"} <= set(
        lacking
    )
    form = (
        r"`l1jax[\w.]*` needs the package (\w+), which is missing: pip install 'l1jax\[train\]'\."
    )
    for name, said in lacking.items():
        package = re.fullmatch(form, said)[1]
        assert EXTRAS[package] == "train", name


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_says_which_extra_it_lacks(core_alone, name):
    said = core_alone["commands"][name]
    assert said.startswith(f"`python -m {COMMANDS[name].module}` needs the package ")
    assert said.endswith(": pip install 'l1jax[train]'.")


def test_a_command_ends_with_the_sentence_and_without_a_traceback():
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'tests')!r}); import absent; "
        "absent.hide_extras(); sys.argv = ['l1jax', 'train']; "
        "from l1jax.cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert re.fullmatch(
        r"error: `python -m l1jax\.train` needs .* 'l1jax\[train\]'\.\n", done.stderr
    )


def test_other_programs_imports_fail_as_before(core_alone):
    assert core_alone["specification"]
    assert core_alone["elsewhere"] == ["ModuleNotFoundError", "No module named 'flax'"]


def test_every_package_that_is_imported_is_of_the_core_or_of_its_extra():
    imported = set()
    for path in [*(ROOT / "l1jax").rglob("*.py"), *(ROOT / "experiments").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.partition(".")[0])
    outside = imported - set(sys.stdlib_module_names) - {"l1jax"} - BROUGHT_ALONG
    assert {"jax", "flax", "tyro"} <= outside
    unknown = outside - requirements("core") - set(EXTRAS)
    assert not unknown, f"add {unknown} to `EXTRAS` in l1jax/extras.py, and to pyproject.toml"


@pytest.mark.parametrize(("package", "extra"), EXTRAS.items())
def test_an_extra_brings_the_package_that_it_is_said_to_bring(package, extra):
    names = distributions().get(package, [package])
    candidates = {name.lower().replace("_", "-") for name in names}
    assert candidates & {name.replace("_", "-") for name in requirements(extra)}


@pytest.mark.parametrize("extra", sorted(set(EXTRAS.values()) - {"train"}))
def test_an_extra_of_a_command_includes_what_every_command_needs(extra):
    assert "l1jax[train]" in PROJECT["optional-dependencies"][extra]

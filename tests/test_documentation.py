"""Every public name says what it computes, where it converges and who proved it; it has an example.

Other tests run the examples.
"""

import ast
import inspect
from pathlib import Path

import pytest

import l1jax
from l1jax import preconditioners

PACKAGE = Path(l1jax.__file__).parent
# The protocol `CoupledPenalty` describes the parameters of these methods for all its penalties.
OF_A_PROTOCOL = {"prox_of", "distance_of"}
READERS = {"strength", "set_scale", "solution", "sparsity", "sparse_average", "zero_groups"}
GROUPS = {"output_channels", "input_channels", "kernel_blocks", "scales"}
# `load` is not mathematics, and its example needs a trained model.
FUNCTIONS = {
    name: getattr(l1jax, name)
    for name in l1jax.__all__
    if name != "load" and inspect.isfunction(getattr(l1jax, name))
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


def public_functions(node, prefix=""):
    """The public functions and methods that are written in a module, with their names."""
    for child in node.body:
        if isinstance(child, ast.ClassDef) and child.name[0] != "_":
            yield from public_functions(child, f"{prefix}{child.name}.")
        elif isinstance(child, ast.FunctionDef) and child.name[0] != "_":
            yield prefix + child.name, child


def parameters(function):
    listed = function.args
    names = [*listed.posonlyargs, *listed.args, *listed.kwonlyargs, listed.vararg, listed.kwarg]
    return [name.arg for name in names if name and name.arg not in ("self", "cls")]


def test_every_public_function_of_three_parameters_describes_them():
    undescribed = []
    found = 0
    for path in sorted(PACKAGE.rglob("*.py")):
        for name, function in public_functions(ast.parse(path.read_text(encoding="utf-8"))):
            is_overload = any("overload" in ast.unparse(d) for d in function.decorator_list)
            is_described = name.split(".")[-1] in OF_A_PROTOCOL
            if is_overload or is_described or len(parameters(function)) < 3:
                continue
            found += 1
            doc = ast.get_docstring(function) or ""
            described = doc.partition("Args:\n")[2]
            missing = [
                p for p in parameters(function) if f"    {p}: " not in described.replace("*", "")
            ]
            if missing:
                undescribed.append(f"{path.relative_to(PACKAGE)}: {name} {missing}")
    assert found > 400
    assert not undescribed, "\n".join(undescribed)

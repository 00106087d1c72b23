"""Who may import whom, as in docs/architecture.md: only downwards, and never a sibling."""

import ast
import re
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "l1jax"
ARCHITECTURE = PACKAGE.parent / "docs/architecture.md"
LAYERS = [
    {"annotations", "compilation", "config", "extras", "files", "streams", "terminal"},
    {"reading", "outputs", "serving", "processes"},
    {"penalties", "arrays", "audio"},
    {"models", "objectives", "data", "transforms"},
    {"build", "build_optimizer", "evaluation", "reporting", "solve", "compaction"},
    {"training"},
    {"selection", "serialization"},
    {"image_evaluation", "text_runs"},
    {
        "__main__",
        "cli",
        "train",
        "sample",
        "evaluate",
        "select",
        "compact",
        "export",
        "demo",
        "prepare",
        "convert",
        "report",
        "loading",
    },
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
# The command lines share a package; the public API gathers the light layers.
SHARED = {"cli"}
PUBLIC = {"extras", "penalties", "transforms", "solve", "loading"}


def imports(path: Path) -> set[str]:
    """The parts of l1jax that a file imports anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names = (
                [node.module]
                if node.module != "l1jax"
                else [f"l1jax.{alias.name}" for alias in node.names]
            )
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("l1jax.")}
    return found


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def allowed(importer: str, imported: str) -> bool:
    if importer == "__init__":
        return imported in PUBLIC
    return importer == imported or LEVEL[imported] < LEVEL[importer] or imported in SHARED


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_a_file_imports_only_from_layers_below(path):
    importer = part(path)
    assert importer == "__init__" or importer in LEVEL, (
        f"{importer} has no layer in the table of docs/architecture.md"
    )
    wrong = {name for name in imports(path) if not allowed(importer, name)}
    assert not wrong, f"{path.relative_to(PACKAGE)} must not import {sorted(wrong)}"


def test_upward_and_sideways_imports_are_seen_as_such():
    assert not allowed("models", "objectives")
    assert not allowed("penalties", "transforms")
    assert not allowed("evaluation", "training")
    assert allowed("training", "build")


def test_the_documented_layers_are_these():
    rows = re.findall(
        r"^\| (\d) \| (.*?) \|", ARCHITECTURE.read_text(encoding="utf-8"), re.MULTILINE
    )
    documented = {int(level) - 1: set(re.findall(r"`(\w+)`", names)) for level, names in rows}
    assert documented == dict(enumerate(LAYERS))


def test_config_needs_only_the_standard_library():
    files = (PACKAGE / "config").glob("*.py")
    nodes = [
        node for path in files for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    ]
    modules = {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    modules |= {
        alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names
    }
    assert modules
    outside = {name for name in modules if not name.startswith("l1jax.config")}
    assert {name.split(".")[0] for name in outside} <= set(sys.stdlib_module_names)

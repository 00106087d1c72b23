"""The notebooks keep their outputs.

Every cell has run in order, without an error, and pictures are there.

CI runs them: `jupyter execute` in `.ci/run`.
"""

import ast
import json
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parent.parent / "examples" / "notebooks").glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return json.loads(request.param.read_text(encoding="utf-8"))


def code_cells(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_there_are_six():
    assert len(NOTEBOOKS) == 6


def test_every_cell_has_run_in_order_without_an_error(notebook):
    cells = code_cells(notebook)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {output["output_type"] for cell in cells for output in cell["outputs"]}
    assert kinds <= {"stream", "display_data", "execute_result"}


def test_pictures_are_kept_and_files_stay_small(notebook):
    outputs = [output for cell in code_cells(notebook) for output in cell["outputs"]]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) >= 2
    assert len(json.dumps(notebook)) < 500_000


def test_what_a_notebook_imports_from_l1jax_exists(notebook):
    source = "\n".join("".join(cell["source"]) for cell in code_cells(notebook))
    nodes = list(ast.walk(ast.parse(source)))
    imports = [
        node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)
    ]  # nothing else can be run in seconds
    scope = {}
    for node in imports:
        exec(compile(ast.Module([node], []), "notebook", "exec"), scope)
    attributes = [
        node
        for node in nodes
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in ("l1jax", "selection", "evaluation")
        and node.value.id in scope
    ]
    for node in attributes:
        assert hasattr(scope[node.value.id], node.attr), node.attr

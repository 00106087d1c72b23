"""The README and the pages of `docs/` work.

Their code runs, their commands parse, and they name every exported name.
"""

import importlib
import pkgutil
import re
import shlex
from pathlib import Path

import pytest
import tyro

from l1jax.cli.experiment_file import load_experiment
from l1jax.serialization import trained_source

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Other tests run the code of these pages, with the models that it needs, and check what it
# computes.
RUN_ELSEWHERE = {
    "export.md": "serialization/test_programs.py",
    "selection.md": "selection/test_docstrings.py",
    "which.md": "benchmarks/test_which.py",
}
OWN_NETWORK = ROOT / "docs" / "guides" / "own_network.md"  # its second block is a module
TRAINING_PAGES = (
    "README.md",
    "channels.md",
    "extending.md",
    "finetuning.md",
    "frameworks.md",
    "index.md",
    "lora.md",
    "latents.md",
    "minimize.md",
    "moving.md",
    "sparsify.md",
    "text.md",
    "transformations.md",
)
EXPORTING = [
    "",
    ".penalties",
    ".transforms",
    ".solve",
    ".audio",
    ".models",
    ".evaluation",
    ".selection",
    ".compaction",
    ".serialization",
]


def blocks(page, language):
    """The code of a page's fenced blocks in this language."""
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


# These guides end with a block of text: what their code prints.
PRINTING = {"frameworks.md", "sharding.md", "lora.md", "moving.md", "finetuning.md"}


def name_of(page):
    return str(page.relative_to(ROOT))


def commands():
    """Each command line of l1jax in any page, as its module and its arguments."""
    lines = []
    for page in PAGES:
        for block in blocks(page, "bash"):
            joined = block.replace("\\\n", " ")
            for match in re.findall(r"python -m l1jax\.(.*)", joined):
                module, *arguments = shlex.split(match, comments=True)
                lines.append(pytest.param(module, arguments, id=f"{name_of(page)}: {match[:60]}"))
    return lines


def pages_with_code():
    """Each page that shows Python; where it trains something, the page is a slow case."""
    for page in PAGES:
        if blocks(page, "python"):
            marks = pytest.mark.slow if page.name in TRAINING_PAGES else ()
            yield pytest.param(page, id=name_of(page), marks=marks)


@pytest.mark.parametrize("package", EXPORTING)
def test_every_exported_name_is_in_the_api_reference(package):
    reference = "\n".join(
        page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "api").glob("*.md")
    )
    documented = set(re.findall(r"^::: [\w.]*\.(\w+)$", reference, re.MULTILINE))
    documented |= set(re.findall(r"`l1jax[\w.]*\.(\w+)`", reference))
    missing = set(importlib.import_module(f"l1jax{package}").__all__) - documented
    assert not missing, f"write `::: l1jax{package}.NAME` into a page of docs/api for {missing}"


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "api").glob("*.md")), ids=name_of)
def test_what_the_api_reference_shows_exists(page):
    for path in re.findall(r"^::: ([\w.]+)$", page.read_text(encoding="utf-8"), re.MULTILINE):
        assert pkgutil.resolve_name(path) is not None


@pytest.mark.parametrize("page", list(pages_with_code()))
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch, capsys):
    if page.name in RUN_ELSEWHERE:
        assert page.name in (ROOT / "tests" / RUN_ELSEWHERE[page.name]).read_text(encoding="utf-8")
        return
    monkeypatch.chdir(tmp_path)
    scope = {"__name__": page.stem}
    for block in blocks(page, "python"):
        exec(compile(block, name_of(page), "exec"), scope)
    if page.name in PRINTING:
        assert capsys.readouterr().out == blocks(page, "text")[-1]


@pytest.mark.parametrize(("module", "arguments"), commands())
def test_a_command_of_a_page_has_the_flags_that_it_is_given(
    module, arguments, monkeypatch, tmp_path
):
    (tmp_path / "my_gan.py").write_text(blocks(OWN_NETWORK, "python")[1], encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    experiment = load_experiment("digits")  # that of a run which is begun from
    monkeypatch.setattr(trained_source, "read_source_experiment", lambda *_, **__: experiment)

    class Parsed(Exception):
        """The flags are read; nothing needs to run."""

    def parse_only(*given, **options):
        command_line(*given, **options)
        raise Parsed

    command_line = tyro.cli
    monkeypatch.setattr(tyro, "cli", parse_only)
    command = importlib.import_module(f"l1jax.{module}")
    try:
        stopped = command.main(arguments)
    except Parsed:
        return
    except SystemExit as stop:
        stopped = stop.code
    assert "--help" in arguments
    assert not stopped

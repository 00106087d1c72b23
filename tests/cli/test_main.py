"""`l1jax COMMAND` does what `python -m l1jax.COMMAND` does."""

import importlib.util
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import l1jax
from l1jax.cli.main import COMMANDS, main, usage

ROOT = Path(__file__).parents[2]


def call(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["l1jax", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_help_lists_every_command_with_one_line(arguments, monkeypatch, capsys):
    assert call(monkeypatch, *arguments) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    for name, command in COMMANDS.items():
        assert [name, *command.summary.split()] in [line.split() for line in shown.out.splitlines()]
    assert max(map(len, usage().splitlines())) <= 80


def test_version(monkeypatch, capsys):
    assert call(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"l1jax {l1jax.__version__}\n"


@pytest.mark.parametrize(
    ("wrong", "suggestion"),
    [("trian", "train"), ("evalute", "evaluate"), ("--versio", "--version")],
)
def test_a_wrong_name_is_refused_with_the_nearest(wrong, suggestion, monkeypatch, capsys):
    assert call(monkeypatch, wrong) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert f"`{wrong}`" in shown.err
    assert f"nearest: {suggestion} " in shown.err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_a_module_that_can_be_run(name):
    spec = importlib.util.find_spec(COMMANDS[name].module)
    assert spec is not None
    source = Path(str(spec.origin)).read_text(encoding="utf-8")
    assert 'if __name__ == "__main__":' in source


def test_every_top_level_module_that_can_be_run_is_a_command():
    modules = {command.module for command in COMMANDS.values()} | {"l1jax.__main__"}
    for path in (ROOT / "l1jax").glob("*.py"):
        if 'if __name__ == "__main__":' in path.read_text(encoding="utf-8"):
            assert ".".join(path.relative_to(ROOT).with_suffix("").parts) in modules


def test_the_script_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["scripts"] == {"l1jax": "l1jax.cli.main:main"}


def test_a_command_gets_its_arguments_and_its_status_is_returned(monkeypatch, capsys):
    # `runpy` warns of a module that other tests have imported.
    monkeypatch.delitem(sys.modules, "l1jax.sample", raising=False)
    assert call(monkeypatch, "sample", "--count", "0", "--workdir", "absent") == 2
    assert capsys.readouterr().err == "error: `--count` (=0) must be at least 1.\n"


@pytest.mark.slow
def test_python_m_l1jax_imports_the_chosen_command_alone():
    code = (
        "import sys; sys.argv = ['l1jax', 'sample', '--count', '0']\n"
        "from l1jax.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert stop.code == 2\n"
        "for name in ('train', 'evaluate', 'select', 'demo'):\n"
        "    assert f'l1jax.{name}' not in sys.modules, name\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True)


def test_python_m_l1jax_is_the_same_command():
    shown = subprocess.run(
        [sys.executable, "-m", "l1jax", "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert (shown.returncode, shown.stdout) == (0, usage() + "\n")

"""Help and refusals come before what takes seconds to import."""

import json
import re
import subprocess
import sys
from typing import get_args

import pytest

from l1jax.cli.flags import parse
from l1jax.cli.main import COMMANDS
from l1jax.cli.options import CompactOptions, ConvertOptions
from l1jax.cli.short_help import COMMON, field_help, short_help
from l1jax.config import InputError
from l1jax.config.choices import Criterion, ScoredFeatures
from l1jax.selection.choose import CRITERIA
from l1jax.selection.fold_scores import FEATURES

# Top-level modules that an answer may not wait for.
HEAVY = {
    "jax", "jaxlib", "jaxtyping", "flax", "optax", "orbax", "grain", "tensorstore", "matplotlib",
    "sklearn", "scipy", "safetensors", "tensorboardX", "wandb", "onnx", "gradio", "soundfile",
    "tensorflow_datasets", "huggingface_hub", "numpy", "PIL",
}  # fmt: skip
MODEL = ["--workdir", "not there"]
CASES = {
    "train": [
        ["--data", "image", "--data.path", "not there"],
        ["--config", "not there"],
        ["--from", "x"],
        ["--config", "digits", "--from", "me/dig its"],
    ],
    "select": [["--data", "image", "--data.path", "not there"]],
    "sample": [
        MODEL,
        ["--count", "0"],
        [],
        ["--model", "not there"],
        ["--truncation", "-1"],
        ["--output", "a.gif"],
    ],
    "evaluate": [MODEL, [*MODEL, "--model", "x"], ["--again", "not there"]],
    "compact": [[*MODEL, "--output", "x"]],
    "export": [MODEL],
    "demo": [MODEL],
    "report": [MODEL],
    "convert": [["not there"], []],
    "prepare": [["./not there"], ["https://x.org/images.zip"], [], ["mnist", "--labels", "x"]],
}
PROGRAM = """
import contextlib, io, json, runpy, sys
found = []
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["l1jax." + arguments[0], *arguments[1:]]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            runpy.run_module("l1jax." + arguments[0], run_name="__main__", alter_sys=True)
            status = None
        except SystemExit as stop:
            status = stop.code
    found.append([status, out.getvalue(), err.getvalue()])
print(json.dumps([found, sorted({name.split(".")[0] for name in sys.modules})]))
"""


def answers(lines):
    """Exit status, output and errors of each command line, and the modules that they loaded."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(lines)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("command", CASES)
def test_help_a_wrong_flag_and_a_wrong_path_import_nothing_heavy(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = [[command, "--help"], [command, "--workdri", "x"]]
    lines += [[command, *arguments] for arguments in CASES[command]]
    found, modules = answers(lines)
    (helped, shown, _), (wrong, _, error), *refused = found
    assert helped == 0
    lines = shown.splitlines()
    assert lines[0].startswith(f"usage: python -m l1jax.{command} ")
    assert len(lines) <= 50  # a screen
    assert max(map(len, lines)) <= 80
    assert not re.search(r"\b(STR|INT|FLOAT|None)\b", shown)  # plain words, no types of Python
    assert wrong == 2
    assert "error: `--workdri` is not a flag here" in error
    for status, _, sentence in refused:
        assert status == 2
        assert sentence.startswith("error: ")
        assert sentence.count("\n") == 1
    assert not HEAVY & set(modules)


def test_every_command_is_tried():
    assert set(CASES) == set(COMMANDS)


def test_several_processes_agree_before_one_of_them_refuses():
    # The early answer would be given by each process; the flags are left to the command itself.
    program = (
        "import sys; sys.argv = ['l1jax.train', '--distributed', '--wrong']\n"
        "from l1jax.cli.early_answers import answer_early\n"
        "def check(arguments): raise AssertionError\n"
        "answer_early(check)\n"
        "sys.argv = ['l1jax.train', '--distributed', '--help']\n"
        "try: answer_early(check)\n"
        "except AssertionError: print('answered')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "answered\n", done.stderr


def test_choices_are_those_of_the_code_behind():
    assert get_args(Criterion) == ("default", *CRITERIA)
    assert get_args(ScoredFeatures) == tuple(FEATURES)


@pytest.mark.parametrize(
    ("arguments", "missing"),
    [
        ([], "--workdir and --output"),
        (["--output", "x"], "--workdir"),
    ],
)
def test_what_is_missing_is_named(arguments, missing):
    with pytest.raises(InputError, match=rf"Missing from prog: {missing} \(see prog --help\)\.$"):
        parse(CompactOptions, arguments, "prog")


def test_the_help_says_what_must_be_given_and_how_to_say_no():
    shown = short_help(CompactOptions, "prog")
    assert re.search(r"--workdir +Work directory of the run. \(required\)", shown)
    assert "(yes, or --no-fold-norms)" in shown
    assert "further flags" not in shown
    assert short_help(ConvertOptions, "prog").startswith("usage: prog FILE [FLAGS]\n")


@pytest.mark.parametrize("command", ["train", "select"])
def test_the_short_help_is_a_screen_and_the_long_one_has_every_flag(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    found, _ = answers([[command, "--help"], [command, "--help-all"]])
    short, full = (shown for _, shown, _ in found)
    assert len(short.splitlines()) <= 42
    assert max(map(len, short.splitlines())) <= 100
    for name in COMMON[f"{command.capitalize()}Options"]:
        assert f"--{name}" in short.split()
        assert f"--{name}" in full
    assert "--generator.…" in short
    assert "--ema-half-life" in full
    assert "--ema-half-life" not in short
    assert "Choose" not in short.splitlines()[0]


def test_the_help_of_a_field_is_the_docstring_below_it():
    from l1jax.cli.experiment import available_flags
    from l1jax.cli.experiment_options import StartingOptions, TrainOptions

    texts = field_help(TrainOptions)
    assert texts["overwrite"] == "Delete the run in the work directory and start over."
    assert texts["from_step"] == field_help(StartingOptions)["from_step"]
    shown = short_help(
        available_flags(TrainOptions, ["--data", "idx"]).default, "python -m l1jax.train"
    )
    assert "(idx)" in shown

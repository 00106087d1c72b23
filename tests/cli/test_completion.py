"""What a shell offers for an unfinished line."""

import shutil
import subprocess

import pytest

from l1jax.cli.completion import candidates
from l1jax.cli.completion_scripts import SCRIPTS
from l1jax.cli.main import COMMANDS

NAMES = list(COMMANDS)


def test_the_first_word_is_a_command():
    assert candidates(NAMES, [""])[: len(NAMES)] == NAMES


def test_flags_are_those_of_the_command_and_of_the_kinds_before():
    assert "--count" in candidates(NAMES, ["sample", "--c"])
    flags = candidates(NAMES, ["train", "--generator.penalty", "group-l1", "--"])
    assert "--generator.penalty.groups" in flags
    assert "--generator.penalty.groups" not in candidates(NAMES, ["train", "--"])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["export", "--values", ""], ["float32", "float16", "bfloat16", "int8"]),
        (["select", "--how", "w"], ["together", "independent", "warm"]),
        (
            ["train", "--objective", ""],
            [
                "adversarial",
                "reconstruction",
                "variational",
                "flow-matching",
                "mean-flow",
                "next-token",
            ],
        ),
        (["train", "--model.output", ""], ["tanh", "sigmoid", "linear"]),
        (["train", "--workdir", ""], []),  # a path: the shell's own completion
        (["sample", "x"], []),
        (["nothing", "--"], []),
        (["train", "--config", "not there", "--"], []),
    ],
)
def test_values_are_those_of_the_flag_before(words, expected):
    assert candidates(NAMES, words) == expected


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash_asks_for_the_unfinished_word(tmp_path):
    program = (
        'l1jax() { printf "%s\\n" "$@" > words; printf -- "--workdir\\n--count\\n"; }\n'
        f"{SCRIPTS['bash']}\n"
        "COMP_WORDS=(l1jax sample --seed 3 --wo); COMP_CWORD=4; _l1jax\n"
        'echo "${COMPREPLY[@]}"; cat words'
    )
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.split() == ["--workdir", "--complete", "sample", "--seed", "3", "--wo"]

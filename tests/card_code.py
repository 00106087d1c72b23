"""The code in a model card, run as it is written."""

import re
import shlex

from l1jax import sample


def run_card(folder, monkeypatch):
    """Run each block of the card in an exported folder; return the names that each has made."""
    monkeypatch.chdir(folder)
    made = []
    for language, code in re.findall(
        r"```(\w+)\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL
    ):
        names = {}
        if language == "python":
            exec(code, names)
        else:
            python, flag, module, *arguments = shlex.split(code)
            assert (python, flag, module) == ("python", "-m", "l1jax.sample")
            assert sample.main(arguments) == 0
        made.append(names)
    return made

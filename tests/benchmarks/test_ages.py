"""The ages of the kept results, and whether every benchmark can be tried in seconds."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
import ages

ROOT = Path(__file__).parents[2]
SCRIPTS = [path for path in (ROOT / "benchmarks").glob("*.py") if "__main__" in path.read_text()]


def in_repository(folder, monkeypatch):
    """A repository with one benchmark, one module of the package and one result that is kept."""
    monkeypatch.setattr(ages, "ROOT", folder)
    monkeypatch.setattr(ages, "RESULTS", folder / "benchmarks" / "results")
    for name in ("benchmarks/results", "l1jax/selection", "l1jax/penalties", "l1jax/data"):
        (folder / name).mkdir(parents=True)
        (folder / name / "module.py").write_text("1\n")
    (folder / "benchmarks" / "selection_linear.py").write_text("1\n")
    git(folder, "init", "-q")
    return keep(folder, commit(folder))


def git(folder, *arguments):
    author = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    command = ["git", "-C", str(folder), *author, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def commit(folder):
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "change")
    return git(folder, "rev-parse", "--short=12", "HEAD")


def keep(folder, hash):
    environment = {"commit": hash, "date": "2026-11-27T07:00:00+00:00"}
    path = folder / "benchmarks" / "results" / "selection_linear-cpu.json"
    path.write_text(json.dumps({"environment": environment}))
    return path


@pytest.mark.parametrize(
    ("changed", "out_of_date"),
    [
        ("l1jax/selection/module.py", True),
        ("l1jax/penalties/module.py", True),
        ("benchmarks/selection_linear.py", True),
        ("l1jax/data/module.py", False),
        (None, False),
    ],
)
@pytest.mark.parametrize("committed", [True, False])
def test_a_result_is_out_of_date_once_its_code_has_changed(
    tmp_path, monkeypatch, changed, out_of_date, committed
):
    result = in_repository(tmp_path, monkeypatch)
    if changed is not None:
        (tmp_path / changed).write_text("2\n")
        if committed:
            commit(tmp_path)
    age = ages.age(result)
    assert age.out_of_date == out_of_date
    assert "2026-11-27" in age.measured
    says = "has changed since" if out_of_date else "is the same today"
    assert says in ages.lines("selection")
    assert age.measured in ages.lines("selection")


def test_a_result_of_a_modified_tree_says_so(tmp_path, monkeypatch):
    result = in_repository(tmp_path, monkeypatch)
    hash = git(tmp_path, "rev-parse", "--short=12", "HEAD")
    assert "not committed" not in ages.age(result).measured
    modified = ages.age(keep(tmp_path, hash + "+"))
    assert f"commit `{hash}` with changes that were not committed" in modified.measured
    assert not modified.out_of_date


def test_changes_that_were_taken_back_leave_a_result_up_to_date(tmp_path, monkeypatch):
    result = in_repository(tmp_path, monkeypatch)
    for content in ("2\n", "1\n"):
        (tmp_path / "l1jax/selection/module.py").write_text(content)
        commit(tmp_path)
    assert not ages.age(result).out_of_date


def test_a_result_of_a_commit_that_is_not_here_is_out_of_date(tmp_path, monkeypatch):
    in_repository(tmp_path, monkeypatch)
    assert ages.age(keep(tmp_path, "0123456789ab")).out_of_date


def test_every_kept_result_belongs_to_a_page():
    for path in ages.RESULTS.glob("*.json"):
        assert (ROOT / "docs" / f"{ages.family(path.name).page}.md").exists()
    with pytest.raises(KeyError, match="unheard-of-cpu"):
        ages.family("unheard-of-cpu.json")


@pytest.mark.parametrize("page", sorted({own.page for own in ages.FAMILIES.values()}))
def test_pages_say_which_figures_are_out_of_date(page):
    text = (ROOT / "docs" / f"{page}.md").read_text()
    filled = ages.fill(text, page)
    assert text.count(ages.BEGIN) == 1
    if git(ROOT, "rev-parse", "--is-shallow-repository") == "false":
        assert text == filled, "run `python benchmarks/ages.py --page`"


@pytest.mark.parametrize("family", ages.FAMILIES.values(), ids=ages.FAMILIES)
def test_the_code_that_a_result_measures_exists(family):
    for name in family.benchmarks:
        assert (ROOT / "benchmarks" / f"{name}.py").exists()
    for name in family.packages:
        assert (ROOT / "l1jax" / name / "__init__.py").exists()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_every_benchmark_has_a_smoke_test(script):
    assert re.search(r'add_argument\(\s*"--smoke"', script.read_text())
    assert "--smoke" in script.read_text().split('"""')[1], "its description must mention it"

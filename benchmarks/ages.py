"""Say which kept results were measured before the code that they measure was last changed.

python benchmarks/ages.py           # a line for each result
python benchmarks/ages.py --page    # writes these lines into the pages that show the results
python benchmarks/ages.py --smoke   # the same lines; keeps nothing

A result keeps the commit at which it was measured. It is out of date if its benchmark, or a part of
the package that the benchmark measures, differs from that commit.
"""

import argparse
import json
import subprocess
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from measure import RESULTS

ROOT = Path(__file__).parent.parent
BEGIN = "<!-- ages -->\n"
END = "<!-- end -->"
TRAINING = ("models", "objectives", "penalties", "training", "transforms")


class Family(NamedTuple):
    """Results of one benchmark: the page that shows them, and the code that they measure."""

    page: str  # in docs/
    benchmarks: tuple[str, ...]
    packages: tuple[str, ...]  # of l1jax


FAMILIES = {
    "audio-*": Family("speed", ("audio",), ("audio",)),
    "celeba-*": Family("guides/data", ("celeba",), ("data", "training")),
    "compaction-*": Family(
        "compaction", ("compact", "prune_run", "peers"), ("compaction", "models")
    ),
    "coupled-*": Family(
        "guides/channels", ("coupled", "coupled_peer"), ("compaction", "penalties", "transforms")
    ),
    "convolutions-*": Family("speed", ("convolutions", "peers"), ("models",)),
    "evaluation-*": Family(
        "speed", ("evaluation", "evaluation_peer"), ("evaluation", "image_evaluation", "models")
    ),
    "flow_sparsity_*": Family(
        "flow_sparsity",
        ("flow_sparsity", "flow_sparsity_methods"),
        (*TRAINING, "build_optimizer", "compaction", "evaluation"),
    ),
    "gaussians-*": Family("l1_and_diversity", ("gaussians", "seeds"), (*TRAINING, "evaluation")),
    "inception-*": Family("speed", ("inception",), ("evaluation", "models")),
    "input-*": Family("speed", ("input",), ("data",)),
    "l1_and_diversity-*": Family(
        "l1_and_diversity",
        ("l1_and_diversity", "l1_and_diversity_variants", "seeds"),
        (*TRAINING, "evaluation"),
    ),
    "minimize-*": Family("speed", ("minimize",), ("penalties", "solve")),
    "overfitting_*": Family(
        "overfitting",
        ("overfitting", "overfitting_methods"),
        (*TRAINING, "build_optimizer", "evaluation", "selection"),
    ),
    "scaling-*": Family(
        "machines", ("scaling", "scaling_work"), ("models", "objectives", "training")
    ),
    "selection_linear-*": Family("selection", ("selection_linear",), ("selection", "penalties")),
    "sparse_sound-*": Family(
        "sparse_sound",
        ("sparse_sound", "sparse_sound_methods"),
        (*TRAINING, "audio", "data", "evaluation"),
    ),
    "sparse_text-*": Family("sparse_text", ("sparse_text",), (*TRAINING, "data", "evaluation")),
    "sparsify-*": Family(
        "guides/sparsify",
        ("sparsify", "sparsify_methods"),
        (*TRAINING, "build_optimizer", "compaction", "evaluation"),
    ),
    "strength_path-*": Family("selection", ("strength_path",), ("selection", *TRAINING)),
    "structured_sparsity-*": Family(
        "structured_sparsity", ("structured_sparsity",), ("models", "penalties", "transforms")
    ),
    "text-*": Family("text", ("text", "text_peer"), (*TRAINING, "data", "evaluation")),
    "training-*": Family("speed", ("training", "peers", "unet_peer"), TRAINING),
    "transforms-*": Family("which", ("transforms",), ("penalties", "transforms")),
    "which-*": Family("which", ("which",), ("penalties", "transforms")),
}


def git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True)


def family(name: str) -> Family:
    """Of a result, by its file's name.

    Raises:
        KeyError: if no pattern of `FAMILIES` fits, so that a new result can't be forgotten.
    """
    for pattern, found in FAMILIES.items():
        if fnmatch(name, pattern):
            return found
    raise KeyError(f"`FAMILIES` must have a pattern for the result {name!r}.")


def changed_since(commit: str, own: Family) -> bool:
    """Whether the code of these results, as it lies here, differs from the commit's."""
    files = [f"benchmarks/{name}.py" for name in own.benchmarks]
    folders = [f"l1jax/{name}" for name in own.packages]
    return git("diff", "--quiet", commit, "--", *files, *folders).returncode != 0


class Age(NamedTuple):
    """When a result was measured, and whether its code is another now."""

    measured: str  # the file, the day and the commit
    out_of_date: bool


def age(path: Path) -> Age:
    """Return the age of a result; a "+" behind its commit stands for changes not yet committed."""
    environment = json.loads(path.read_text())["environment"]
    commit, modified, _ = environment["commit"].partition("+")
    measured = f"`{path.name}`: {environment['date'][:10]}, commit `{commit}`"
    if modified:
        measured += " with changes that were not committed"
    return Age(measured, changed_since(commit, family(path.name)))


def lines(page: str) -> str:
    """Say of each result that this page shows when it was measured, and what has changed since."""
    paths = [path for path in sorted(RESULTS.glob("*.json")) if family(path.name).page == page]
    ages = [age(path) for path in paths]
    if all(out_of_date for _, out_of_date in ages):
        rows = [f"- {measured}" for measured, _ in ages]
        return "\n".join(["The code that was measured has changed since then.", "", *rows])
    rows = []
    for measured, out_of_date in ages:
        now = "the code that it measures is the same today"
        if out_of_date:
            now = "the code that it measures has changed since"
        rows.append(f"- {measured}; {now}.")
    return "\n".join(rows)


def fill(text: str, page: str) -> str:
    """The page's text with today's sentences between its marks."""
    before, rest = text.split(BEGIN)
    after = rest[rest.index(END) :]
    return f"{before}{BEGIN}\n{lines(page)}\n\n{after}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--page", action="store_true", help="write the lines into the pages")
    parser.add_argument("--smoke", action="store_true", help="the lines; keeps nothing")
    options = parser.parse_args()
    for page in sorted({own.page for own in FAMILIES.values()}):
        print(f"docs/{page}.md\n{lines(page)}")
        if options.page and not options.smoke:
            path = ROOT / "docs" / f"{page}.md"
            path.write_text(fill(path.read_text(), page))


if __name__ == "__main__":
    main()

"""A model card: what a model is, was trained on and reaches, and what it is not for."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from l1jax.config import L1, Config, to_json
from l1jax.models import Generator
from l1jax.reporting.evaluation import ROWS, lines, number, title


def model_card(
    experiment: Config,
    generator: Generator,
    step: int,
    zeros: Mapping[str, Any],
    sizes: Mapping[str, int],
    lost: Sequence[tuple[str, float, float]],
    notes: Mapping[str, Any],
) -> str:
    """Fill in a card, Markdown under a YAML header.

    Args:
        experiment: that the model was trained by.
        generator: what it is.
        step: of the training.
        zeros: `parameters`, `effective_parameters` that are not zero, and the shares of zeros in `kernels` and of
            `dead_outputs`, as in an evaluation.
        sizes: file name → bytes.
        lost: what rounding changed: array, largest difference of an entry, relative difference in L2.
        notes: `licence`, `command` (that exported it), `evaluation` (the result of `l1jax.evaluate`) and `compaction`
            (`error`, and what the model cost `before` and `after`), each only if there.
    """
    images = generator.image_range is not None
    model, data = (type(part).__name__ for part in (experiment.model, experiment.data))
    shape = "×".join(map(str, generator.image_shape))
    kind = f"{generator.classes} classes of " if generator.classes else ""
    what = f"{shape} images" if images else "points in the plane"
    header = ["---", "library_name: l1jax"]
    header += [f"license: {notes['licence']}"] if notes.get("licence") else []
    header += (
        ["pipeline_tag: unconditional-image-generation"] if images and not generator.classes else []
    )
    header += [
        "tags:",
        *(f"- {tag}" for tag in ("jax", "sparse", "generative", model.lower())),
        "---",
    ]
    body = [
        f"# {model}: {kind}{what}, {zeros['kernels']:.1%} zeros",
        f"A generator of {kind}{what} from {generator.latent_size} standard normal numbers each, trained by "
        "l1jax, which makes generative models sparse by L1 regularisation.",
        "## Use",
        "```bash\npython -m l1jax.sample --model . --count 64 --seed 0 --output grid.png\n```",
        "## Data",
        f"{data}: {_described(experiment.data)}.",
        "## Training",
        *_training(experiment, step, notes),
        "## Quality",
        *_quality(notes.get("evaluation")),
        "## Size",
        *_size(zeros, sizes, lost, notes.get("compaction")),
        "## Intended use and limits",
        "For research on generative models and their compression. It draws from what it saw: what is rare or absent in "
        "its training data is rare or absent in its samples, which can also come close to single training images (the "
        "novelty above, if measured, is near 0 for copies). It was not examined for bias, and its samples are no "
        "evidence of anything that was ever photographed or written.",
        "## Licence",
        notes.get("licence")
        or "None was given: until its authors name one, nobody else may use it. (`--licence` of the export writes it "
        "here and into the header.)",
    ]
    return "\n".join(header) + "\n\n" + "\n\n".join(body) + "\n"


def _described(part: Any) -> str:
    """A configuration's fields, of paths only the last name, since cards are published."""
    values = {f.name: getattr(part, f.name) for f in dataclasses.fields(part)}
    hidden = {
        k: PurePath(v).name if k in ("path", "data_dir") and v else v for k, v in values.items()
    }
    return ", ".join(f"{k} {_plain(v)}" for k, v in hidden.items() if v not in ("", None))


def _training(experiment: Config, step: int, notes: Mapping[str, Any]) -> list[str]:
    penalty = experiment.generator.penalty
    regularised = "none" if penalty == L1(0) else f"{type(penalty).__name__}, {_described(penalty)}"
    command = f"\n- exported by `{_plain(notes['command'])}`" if notes.get("command") else ""
    again = (
        "The experiment is in `config.json`; this file trains it again as `python -m l1jax.train --config again.py`:",
        "```python\nimport json\n\nfrom l1jax.config import from_json\n\n\ndef get_config():\n"
        '    with open("config.json") as file:\n        return from_json(json.load(file)["experiment"])\n```',
    )
    return [
        f"- step {step:,}, batches of {experiment.batch_size}, seed {experiment.seed}\n"
        f"- objective {type(experiment.objective).__name__}: {_described(experiment.objective)}\n"
        f"- penalty of the generator: {regularised}; paths `{_plain(experiment.generator.penalised)}`{command}",
        *again,
    ]


def _quality(evaluation: Mapping[str, Any] | None) -> list[str]:
    if not evaluation:
        return ["Not measured: `python -m l1jax.evaluate --model .` does."]
    views, protocol = evaluation.get("features", {}), evaluation["protocol"]
    before = "Of the training run, before anything was rounded or removed"
    parts = [
        f"{before}, at step {evaluation['step']:,}. Real: {protocol['real']}. Generated: {protocol['generated']}."
    ]
    if views:
        names = [f"{title(name, view)} | real halves" for name, view in views.items()]
        rows = [["", *names], ["---"] + ["---: | ---:"] * len(views)]
        for score, label in ROWS.items():
            if any(score in view for view in views.values()):
                rows.append([label, *(_cells(view, score) for view in views.values())])
        parts.append("\n".join(f"| {' | '.join(row)} |" for row in rows))
        parts.append("\n".join(f"- {name}: {view['protocol']}" for name, view in views.items()))
    said = lines(evaluation)
    return [*parts, "\n".join(f"- {line}" for line in said)] if said else parts


def _cells(view: Mapping[str, Any], score: str) -> str:
    floor = view["between_real_halves"].get(score)
    measured = number(view[score]) if score in view else ""
    return f"{measured} | {'' if floor is None else f'{floor:.3g}'}"


def _size(
    zeros: Mapping[str, Any],
    sizes: Mapping[str, int],
    lost: Sequence[tuple[str, float, float]],
    compaction: Mapping[str, Any] | None,
) -> list[str]:
    rows = [
        f"{zeros['parameters']:,} parameters, {zeros['effective_parameters']:,} of them not zero",
        f"kernels: {zeros['kernels']:.2%} zeros, {zeros['dead_outputs']:.2%} of the output channels dead",
        *(f"`{name}`: {size:,} bytes" for name, size in sizes.items()),
        *_compaction(compaction),
    ]
    parts = ["\n".join(f"- {row}" for row in rows)]
    if lost:
        table = [
            f"| `{name}` | {largest:.2g} | {relative:.2g} |" for name, largest, relative in lost
        ]
        head = ["| rounded | largest difference | relative, in L2 |", "|---|---:|---:|"]
        parts.append("\n".join([*head, *table]))
    return parts


def _compaction(proof: Mapping[str, Any] | None) -> list[str]:
    if not proof:
        return []
    costs = []
    for name, unit in (
        ("parameters", "parameters"),
        ("bytes", "bytes"),
        ("flops", "FLOPs per image"),
    ):
        costs.append(f"{proof['before'][name]:,} → {proof['after'][name]:,} {unit}")
    same = f"the largest difference of an image from the exact one is {proof['error']:.2g} of the largest value"
    return [f"dead channels were removed, by `python -m l1jax.compact`: {', '.join(costs)}; {same}"]


def _plain(value: Any) -> str:
    """On one line, and no Markdown code ends in it."""
    if dataclasses.is_dataclass(value):
        value = to_json(value)
    return " ".join(str(value).replace("`", "'").split())

"""A model card: what a model is, what it was trained on, how good it is, and what it is not for."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, NamedTuple, TypeAlias

from l1jax.config import L1, Config, CustomModel, to_json
from l1jax.models import Generator
from l1jax.reporting.card_use import generator_use, text_use
from l1jax.reporting.configuration import describe_origin, public_name
from l1jax.reporting.evaluation_tables import (
    BASELINE,
    SCORE_LABELS,
    features_title,
    score_cells,
    summary_lines,
)

JsonObject: TypeAlias = Mapping[str, Any]  # values that JSON can hold
RoundingRow: TypeAlias = tuple[str, float, float]
"""Name of an array, largest difference of an entry, relative difference in L2."""

LIMITS = (
    "For research on generative models and their compression. It draws from its training data: "
    "what is rare or absent there is rare or absent in its samples, which can also come close to "
    "single training images (the novelty above, if measured, is near 0 for copies). It was not "
    "examined for bias, and its samples are no evidence of anything that was ever photographed or "
    "written."
)
NO_LICENCE = (
    "None was given: until its authors name one, nobody else may use it. (`--licence` of the "
    "export writes it here and into the header.)"
)
TRAIN_AGAIN = """```python
import json

from l1jax.config import from_json


def get_config():
    with open("config.json") as file:
        return from_json(json.load(file)["experiment"])
```"""


class About(NamedTuple):
    """What a card says of one kind of model."""

    title: str
    sentence: str
    use: list[str]  # paragraphs
    pipeline: str  # the Hub's name of the task; empty for none


def model_card(
    experiment: Config,
    generator: Generator,
    step: int,
    zeros: JsonObject,
    sizes: Mapping[str, int],
    lost: Sequence[RoundingRow],
    notes: JsonObject,
    *,
    is_layout: bool = False,
) -> str:
    """Fill in a card of a generator of images or points: Markdown under a YAML header.

    Args:
        experiment: the experiment that trained the model.
        generator: the model.
        step: the training step of its weights.
        zeros: `parameters`, `effective_parameters` that are not zero, and the shares of zeros in
            `kernels` and of `dead_outputs`, as in an evaluation.
        sizes: file name → bytes.
        lost: what rounding changed, a row for each array.
        notes: `licence`, `command` (that exported it), `evaluation` (the result of
            `l1jax.evaluate`) and `compaction` (`error`, and what the model cost `before` and
            `after`). Each may be missing.
        is_layout: whether the folder holds the layers themselves, as of a compact model.
    """
    is_images = generator.image_range is not None
    model = _model_name(experiment)
    shape = "×".join(map(str, generator.image_shape))
    subject = f"{shape} images" if is_images else "points in the plane"
    if generator.classes:
        subject = f"{generator.classes} classes of {subject}"
    about = About(
        title=f"{model}: {subject}",
        sentence=f"A generator of {subject} from {generator.latent_size} standard normal numbers "
        "each",
        use=generator_use(experiment, generator, sizes, is_layout=is_layout),
        pipeline="unconditional-image-generation" * (is_images and not generator.classes),
    )
    return _fill(about, experiment, step, zeros, sizes, lost, notes)


def _model_name(experiment: Config) -> str:
    """Return the kind of a model, or the function that makes someone's own."""
    if isinstance(experiment.model, CustomModel):
        return experiment.model.factory
    return type(experiment.model).__name__


def text_card(
    experiment: Config,
    step: int,
    zeros: JsonObject,
    sizes: Mapping[str, int],
    lost: Sequence[RoundingRow],
    notes: JsonObject,
) -> str:
    """Fill in a card of a language model, as `model_card` does of a generator.

    Args:
        experiment: the experiment that trained the model.
        step: the training step of its weights.
        zeros: as of `model_card`.
        sizes: file name → bytes.
        lost: what rounding changed, a row for each array.
        notes: as of `model_card`, without `compaction`.
    """
    model = type(experiment.model).__name__
    about = About(
        title=f"{model}: bytes of text",
        sentence="A language model that predicts each byte of a text from those before it",
        use=text_use(experiment, sizes),
        pipeline="text-generation",
    )
    return _fill(about, experiment, step, zeros, sizes, lost, notes)


def _fill(
    about: About,
    experiment: Config,
    step: int,
    zeros: JsonObject,
    sizes: Mapping[str, int],
    lost: Sequence[RoundingRow],
    notes: JsonObject,
) -> str:
    licence = notes.get("licence")
    header = ["---", "library_name: l1jax"]
    if licence:
        header.append(f"license: {licence}")
    if about.pipeline:
        header.append(f"pipeline_tag: {about.pipeline}")
    kind = "custom" if isinstance(experiment.model, CustomModel) else _model_name(experiment)
    tags = ("jax", "sparse", "generative", kind.lower())
    header += ["tags:", *(f"- {tag}" for tag in tags), "---"]
    body = [
        f"# {about.title}, {zeros['kernels']:.1%} zeros",
        f"{about.sentence}, trained by l1jax, which makes generative models sparse by L1 "
        "regularisation.",
        "## Use",
        *about.use,
        "## Data",
        f"{type(experiment.data).__name__}: {_describe(experiment.data)}.",
        "## Training",
        *_training(experiment, step, notes),
        "## Quality",
        *_quality(notes.get("evaluation")),
        "## Size",
        *_size(zeros, sizes, lost, notes.get("compaction")),
        "## Intended use and limits",
        LIMITS,
        "## Licence",
        licence or NO_LICENCE,
    ]
    return "\n".join(header) + "\n\n" + "\n\n".join(body) + "\n"


def _describe(part: Any) -> str:
    """List a configuration's fields; of paths only the last name, because cards are published."""
    described = []
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if field.name in ("path", "data_dir") and value:
            value = PurePath(value).name
        if value not in ("", None):
            described.append(f"{field.name} {_one_line(value)}")
    return ", ".join(described)


def _training(experiment: Config, step: int, notes: JsonObject) -> list[str]:
    objective = experiment.objective
    penalty = experiment.generator.penalty
    penalty_text = "none"
    if penalty != L1(0):
        penalty_text = f"{type(penalty).__name__}, {_describe(penalty)}"
    rows = [
        f"step {step:,}, batches of {experiment.batch_size}, seed {experiment.seed}",
        f"objective {type(objective).__name__}: {_describe(objective)}",
        f"penalty of the generator: {penalty_text}; paths "
        f"`{_one_line(experiment.generator.penalised)}`",
    ]
    again = "python -m l1jax.train --config again.py"
    origin = experiment.origin
    if origin is not None:
        rows.append(f"begun from {describe_origin(origin)}")
        again += f" --from {_one_line(public_name(origin))}"
    if notes.get("command"):
        rows.append(f"exported by `{_one_line(notes['command'])}`")
    return [
        _bullets(rows),
        f"The experiment is in `config.json`; this file trains it again as `{again}`:",
        TRAIN_AGAIN,
    ]


def _quality(evaluation: JsonObject | None) -> list[str]:
    if not evaluation:
        return ["Not measured: `python -m l1jax.evaluate --model .` does."]
    protocol = evaluation["protocol"]
    parts = [
        "Of the training run, before anything was rounded or removed, at step "
        f"{evaluation['step']:,}. Real: {protocol['real']}. Generated: {protocol['generated']}."
    ]
    features = evaluation.get("features", {})
    if features:
        parts.append(_score_table(features))
        parts.append(
            _bullets([f"{name}: {scores['protocol']}" for name, scores in features.items()])
        )
    lines = summary_lines(evaluation)
    if lines:
        parts.append(_bullets(lines))
    return parts


def _score_table(features: Mapping[str, JsonObject]) -> str:
    header = [""]
    alignment = ["---"]
    for name, scores in features.items():
        header += [features_title(name, scores), BASELINE]
        alignment += ["---:", "---:"]
    rows = [header, alignment]
    for score, label in SCORE_LABELS.items():
        if any(score in scores for scores in features.values()):
            row = [label]
            for scores in features.values():
                row += score_cells(scores, score)
            rows.append(row)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _size(
    zeros: JsonObject,
    sizes: Mapping[str, int],
    lost: Sequence[RoundingRow],
    compaction: JsonObject | None,
) -> list[str]:
    rows = [
        f"{zeros['parameters']:,} parameters, {zeros['effective_parameters']:,} of them not zero",
        f"kernels: {zeros['kernels']:.2%} zeros, {zeros['dead_outputs']:.2%} of the output "
        "channels dead",
    ]
    rows += [f"`{name}`: {size:,} bytes" for name, size in sizes.items()]
    if compaction:
        rows.append(_describe_compaction(compaction))
    parts = [_bullets(rows)]
    if lost:
        table = ["| rounded | largest difference | relative, in L2 |", "|---|---:|---:|"]
        for name, largest, relative in lost:
            table.append(f"| `{name}` | {largest:.2g} | {relative:.2g} |")
        parts.append("\n".join(table))
    return parts


def _describe_compaction(compaction: JsonObject) -> str:
    before = compaction["before"]
    after = compaction["after"]
    removed, output = "channels", "an image"
    units = {"flops": "FLOPs per image"}
    if "heads" in before:  # of text
        removed, output = "heads and units", "a logit"
        units = {"heads": "heads", "units": "feed-forward units"}
    units = {"parameters": "parameters", "bytes": "bytes"} | units
    costs = [f"{before[name]:,} → {after[name]:,} {unit}" for name, unit in units.items()]
    return (
        f"dead {removed} were removed, by `python -m l1jax.compact`: {', '.join(costs)}; the "
        f"largest difference of {output} from the exact one is {compaction['error']:.2g} of the "
        "largest value"
    )


def _bullets(rows: Sequence[str]) -> str:
    return "\n".join(f"- {row}" for row in rows)


def _one_line(value: object) -> str:
    """Write a value on one line, so that no Markdown code ends in it."""
    if dataclasses.is_dataclass(value):
        value = to_json(value)
    return " ".join(str(value).replace("`", "'").split())

"""What the file of an ONNX graph says of the model in it: its `metadata_props`.

Viewers and runtimes show them; `onnxruntime.InferenceSession(file).get_modelmeta()` reads them.
"""

import dataclasses
import json
from pathlib import PurePath
from typing import Any

import l1jax
from l1jax.config import Config, to_json
from l1jax.models import Generator, LanguageModel
from l1jax.reporting.configuration import public_name

PATHS = ("path", "data_dir")  # fields of data, which are private but for the last name


def describe_generator(
    experiment: Config, generator: Generator, step: int, licence: str | None
) -> dict[str, str]:
    """Describe a generator of images or points, its inputs and its outputs.

    Args:
        experiment: that trained it.
        generator: the model.
        step: of the training.
        licence: its name; None or empty if there is none.
    """
    shape = "×".join(map(str, generator.image_shape))
    subject = f"{shape} images" if generator.image_range else "points in the plane"
    if generator.classes:
        subject = f"{generator.classes} classes of {subject}"
    size = generator.latent_size
    about = {
        "description": f"A generator of {subject} from {size} standard normal numbers each.",
        "latents": f"float32 [batch, {size}], independent standard normal numbers",
    }
    if generator.classes:
        about["label"] = f"int32 [batch], from 0 to {generator.classes - 1}"
    about["images"] = f"float32 [batch, {', '.join(map(str, generator.image_shape))}]"
    if generator.image_range is not None:
        low, high = generator.image_range
        about["images"] += f", channels last, from {low:g} (black) to {high:g} (white)"
        about["image_range"] = f"{low:g} {high:g}"
    return about | _origin(experiment, step, licence)


def describe_text(
    experiment: Config, model: LanguageModel, step: int, licence: str | None
) -> dict[str, str]:
    """Describe a language model, its inputs and its outputs.

    Args:
        experiment: that trained it.
        model: the network.
        step: of the training.
        licence: its name; None or empty if there is none.
    """
    about = {
        "description": "A language model that predicts each byte of a text from those before it.",
        "tokens": "int32 [batch, length], bytes from 0 to 255; 256 stands before, between and "
        "after documents",
        "logits": f"float32 [batch, length, {model.vocabulary}], of the token that follows each",
    }
    return about | _origin(experiment, step, licence)


def _origin(experiment: Config, step: int, licence: str | None) -> dict[str, str]:
    """Say who made the model, and how."""
    about = {
        "producer": "l1jax",
        "version": l1jax.__version__,
        "step": str(step),
        "experiment": json.dumps(_public(experiment), ensure_ascii=False),
    }
    if licence:
        about["licence"] = licence
    return about


def _public(experiment: Config) -> Any:
    """Return an experiment as JSON, without the folders that its data were in."""
    data = experiment.data
    paths = {name: PurePath(value).name for name in PATHS if (value := getattr(data, name, ""))}
    public = dataclasses.replace(experiment, data=dataclasses.replace(data, **paths))
    if experiment.origin is not None:
        origin = dataclasses.replace(experiment.origin, source=public_name(experiment.origin))
        public = dataclasses.replace(public, origin=origin)
    return to_json(public)

"""Reach a flow model's images in another way than its configuration says."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax

from l1jax import config
from l1jax.build import image_shape
from l1jax.cli.flag_errors import rename_flags
from l1jax.config import InputError
from l1jax.serialization.loaded_generator import LoadedGenerator
from l1jax.serialization.rebuild_generator import rebuild
from l1jax.training.flow_task import check_guidance

SAMPLER_FIELDS = ("method", "sampling_steps", "time_shift", "guidance")
"""Fields of flow models that change how images are reached, and no weights."""


def given_sampler(options: object) -> dict[str, Any]:
    """Return the `SAMPLER_FIELDS` that a command's flags give, with their values."""
    values = {name: getattr(options, name) for name in SAMPLER_FIELDS}
    return {name: value for name, value in values.items() if value is not None}


def with_sampler(opened: LoadedGenerator, changes: Mapping[str, Any]) -> LoadedGenerator:
    """Let a flow model reach its images in another way; the weights stay.

    Args:
        opened: the generator.
        changes: some of `SAMPLER_FIELDS` → their new values; none to leave it as it is.

    Raises:
        InputError: if it is no flow model or a program, or a value is out of its range, or guidance
            was not trained for.
    """
    if not changes:
        return opened
    given = next(f"`{_flag(name)}` (={value})" for name, value in changes.items())
    experiment = opened.experiment
    model = experiment.model
    if not isinstance(model, config.FlowModel):
        raise InputError(f"{given} is for flow models, and this is no flow: leave it out.")
    if not jax.tree.leaves(opened.average.params):
        raise InputError(
            f"{given} must be left out for a program, which has its steps inside: give the run, or "
            "the model's folder."
        )
    try:
        changed = dataclasses.replace(model, **changes)
        experiment = config.check(dataclasses.replace(experiment, model=changed))
        check_guidance(experiment)
        generator = rebuild(changed, image_shape(experiment.data), {})
        layout = opened.layout
        if layout:
            assert generator.velocities is not None
            layout = layout | {"flow": generator.velocities.to_json()}
            generator = rebuild(changed, image_shape(experiment.data), layout)
    except InputError as error:
        names = {f"model.{name}": _flag(name) for name in SAMPLER_FIELDS}
        names |= {f"`{name}`": f"`{_flag(name)}`" for name in SAMPLER_FIELDS}
        raise InputError(rename_flags(str(error), names)) from error
    return opened._replace(experiment=experiment, generator=generator, layout=layout)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"

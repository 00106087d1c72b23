"""`--try`: an experiment scaled down, so that one sees it work within minutes on a CPU."""

import dataclasses
from typing import Any, NamedTuple

from l1jax.config import (
    Ada,
    Balance,
    Config,
    Optimizer,
    Pruning,
    Ramp,
    ReweightedL1,
    Schedule,
    check,
    differences,
)

STEPS = 200
LEAST_STEPS = 50
SIDE = 32  # pixels of an image up to which a run has all `STEPS`
BATCH_SIZE = 8
WIDTHS = {
    "channels": 16,
    "group_size": 4,
    "head_size": 16,
    "blocks": 1,
    "generator_width": 32,
    "discriminator_width": 32,
    "generator_hidden": 64,
    "discriminator_hidden": 64,
    "discriminator_channels": 16,
    "hidden": 64,
    "block_hidden": 64,
    "width": 64,
    "layers": 2,
}
"""Field of a model → its largest value, or that of each entry."""
IN_STEPS: dict[type, tuple[str, ...]] = {
    Schedule: ("warmup", "hold", "steps"),
    Ramp: ("steps",),
    Pruning: ("every", "begin", "steps"),
    Optimizer: ("debias_after", "sparsity_horizon"),
    ReweightedL1: ("every",),
    Balance: ("every", "horizon"),
    Config: ("discriminator_steps_first",),
}
"""Fields that count steps of the whole run, which become as much smaller as the run does."""
IN_IMAGES: dict[type, tuple[str, ...]] = {Config: ("ema_half_life",), Ada: ("images",)}
PRUNES = ("magnitude", "rigl", "n_of_m")
"""Methods that use the optimiser's `pruning`."""
INTERVALS = {"log_every": 20, "sample_every": 4, "checkpoint_every": 2, "evaluate_every": 2}
"""Field → how often it happens in a run, at least."""


class Trial(NamedTuple):
    """An experiment that was scaled down, and what was changed, field by field."""

    experiment: Config
    changes: list[str]


def scale_down(experiment: Config) -> Trial:
    """Return a small version of an experiment, and say what is changed.

    Networks are narrower, batches smaller and the run shorter, the more so the larger the images.
    Schedules, ramps, pruning and half-lives become shorter in proportion. A user's own network
    keeps its size.

    Args:
        experiment: at its full size.
    """
    steps = min(experiment.steps, _steps(getattr(experiment.data, "image_size", SIDE)))
    packing = getattr(experiment.model, "packing", 1)
    smallest = -(-BATCH_SIZE // packing) * packing
    batch_size = min(experiment.batch_size, smallest)
    step_scale = steps / experiment.steps
    image_scale = step_scale * batch_size / experiment.batch_size
    small = _scale_fields(experiment, step_scale, image_scale)
    ema_ramp = dataclasses.replace(small.ema_ramp, end=experiment.ema_ramp.end * image_scale)
    intervals = {
        name: _interval(getattr(experiment, name), steps, times)
        for name, times in INTERVALS.items()
    }
    small = dataclasses.replace(
        small,
        model=_narrow(experiment.model),
        steps=steps,
        batch_size=batch_size,
        accumulate=1,
        ema_ramp=ema_ramp,
        **intervals,
    )
    changed = [
        f"{name}: {getattr(experiment, name)} → {getattr(small, name)}"
        for name in ("steps", *INTERVALS)
        if getattr(experiment, name) != getattr(small, name)
    ]
    return Trial(check(small), changed + differences(experiment, small))


def _steps(image_size: int) -> int:
    """Return how many steps a run has; compiling takes longer for larger images, too."""
    return max(STEPS * SIDE // max(image_size, SIDE), LEAST_STEPS)


def _interval(interval: int, steps: int, times: int) -> int:
    return min(interval, max(steps // times, 1))


def _scale_fields(part: Any, step_scale: float, image_scale: float) -> Any:
    """Scale the numbers of steps and of images in a dataclass and in those within it.

    Args:
        part: a part of the configuration, or a value that is none.
        step_scale: factor on numbers of steps.
        image_scale: factor on numbers of images.
    """
    if not dataclasses.is_dataclass(part) or isinstance(part, type):
        return part
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if _is_unused(part, field.name):
            continue
        if field.name in IN_STEPS.get(type(part), ()):
            changes[field.name] = _scaled_count(value, step_scale, field)
        elif field.name in IN_IMAGES.get(type(part), ()):
            scaled = value * image_scale
            changes[field.name] = scaled if isinstance(value, float) else max(round(scaled), 1)
        else:
            changes[field.name] = _scale_fields(value, step_scale, image_scale)
    if isinstance(part, Schedule) and part.shape != "constant":
        changes["steps"] = max(changes["steps"], changes["warmup"] + changes["hold"] + 1)
    return dataclasses.replace(part, **changes)


def _is_unused(part: object, name: str) -> bool:
    """Return whether a field of an optimiser has no effect with its other fields."""
    if not isinstance(part, Optimizer):
        return False
    if name == "pruning":
        return part.method not in PRUNES
    return name == "sparsity_horizon" and not part.sparsity_target


def _scaled_count(count: int, scale: float, field: dataclasses.Field[Any]) -> int:
    """Scale a number of steps, which stays within the field's bounds, and above 0 if it is."""
    if count == 0:
        return 0
    smallest = max(int(field.metadata["bounds"][0]), 1)
    return min(count, max(round(count * scale), smallest))


def _narrow(model: Any) -> Any:
    """Return a model with at most the sizes of `WIDTHS`."""
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(model):
        largest = WIDTHS.get(field.name)
        if largest is None:
            continue
        value = getattr(model, field.name)
        if isinstance(value, tuple):
            changes[field.name] = tuple(min(size, largest) for size in value)
        elif field.name.endswith("_width"):  # 0 stands for a default, which is larger
            changes[field.name] = min(value, largest) or largest
        else:
            changes[field.name] = min(value, largest)
    heads = getattr(model, "heads", None)
    if heads is not None:  # each of a width that is a multiple of four
        changes["width"] = max(changes["width"] // (4 * heads), 1) * 4 * heads
    if "block_hidden" in changes:
        changes["block_hidden"] = model.block_hidden[: changes["layers"]]
    return dataclasses.replace(model, **changes)

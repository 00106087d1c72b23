"""Checks of devices, batch, labels and networks that a run makes before it starts."""

import math
import os

import jax

from l1jax.config import Config, InputError
from l1jax.data.source import Source
from l1jax.training.keys import named_seed_key
from l1jax.training.state import State, Task


def find_devices() -> list[jax.Device]:
    """Return the devices to train on: all that JAX finds.

    Raises:
        InputError: if it finds none of the kind that was asked for.
    """
    try:
        return jax.devices()
    # JAX raises an AssertionError where it was compiled without that kind.
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            "JAX finds no device of the kind that JAX_PLATFORMS "
            f"(={os.environ.get('JAX_PLATFORMS', '')}) asks for: unset it, or install l1jax with "
            "the extra for that kind."
        ) from error


def check_batch(experiment: Config, num_devices: int) -> None:
    """Refuse a batch that devices, parts and packs cannot share evenly.

    Raises:
        InputError: naming the nearest size that they can.
    """
    factors = {
        "the number of devices": num_devices,
        "`accumulate`": experiment.accumulate,
        "`model.packing`": getattr(experiment.model, "packing", 1),
    }
    divisor = math.prod(factors.values())
    size = experiment.batch_size
    if size % divisor:
        nearest = max(divisor, round(size / divisor) * divisor)
        names = " times ".join(name for name, factor in factors.items() if factor > 1)
        raise InputError(
            f"`batch_size` (={size}) must be divisible by {names} (={divisor}); the nearest that "
            f"is: {nearest}."
        )


def check_labels(num_classes: int, source: Source) -> None:
    """Refuse data whose labels are in doubt, or do not suit a class-conditional model.

    Args:
        num_classes: of the model; 0 if it is not class-conditional.
        source: the data.

    Raises:
        InputError: if it is not clear what the labels are, or the model has classes and there
            are no labels, or others than 0 to `num_classes` − 1.
    """
    if source.label_ambiguity:
        raise InputError(source.label_ambiguity)
    if not num_classes:
        return
    if source.labels is None:
        raise InputError(
            f"`model.classes` (={num_classes}) must be 0 for these images, which have no labels."
        )
    lowest = int(source.labels.min())
    highest = int(source.labels.max())
    if highest >= num_classes:
        hint = ""
        if lowest == 1:
            hint = " (they seem to be numbered from 1: save them less 1 to have no empty class 0)"
        raise InputError(
            f"`model.classes` (={num_classes}) must be at least {highest + 1}: the labels of "
            f"these images go from {lowest} to {highest}{hint}."
        )


def check_shapes(task: Task, seed: int) -> State:
    """Return the shapes and dtypes of the state that training starts from.

    Raises:
        InputError: if networks and optimisers do not fit, for instance if a pattern matches no
            parameter.
    """
    try:
        return jax.eval_shape(task.init, named_seed_key(seed, "parameters"))
    except ValueError as error:
        raise InputError(str(error)) from error

"""Checks of devices, batch, labels and networks that a run makes before it starts."""

import math
import os
from typing import Any

import jax
from jaxtyping import PyTree

from l1jax.config import Config, InputError
from l1jax.data.source import Source
from l1jax.training.keys import named_seed_key
from l1jax.training.state import State, Task


def find_devices() -> list[Any]:
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
        template = jax.eval_shape(task.init, named_seed_key(seed, "parameters"))
    except ValueError as error:
        raise InputError(str(error)) from error
    check_memory(template, available_memory())
    return template


def available_memory() -> int | None:
    """Return the bytes of memory of one device; of the machine, where the CPU computes.

    None if neither the device nor the operating system says so.
    """
    device = jax.local_devices()[0]
    if device.platform != "cpu":
        return (device.memory_stats() or {}).get("bytes_limit")
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def check_memory(template: PyTree, available: int | None) -> None:
    """Refuse a state that alone is larger than the memory, before anything is allocated.

    Args:
        template: the shapes and dtypes of the state.
        available: the memory in bytes; None if it is not known, which refuses nothing.

    Raises:
        InputError: naming both sizes and the largest array.
    """
    sizes = {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf.size * leaf.dtype.itemsize
        for path, leaf in jax.tree_util.tree_leaves_with_path(template)
    }
    needed = sum(sizes.values())
    if available is None or needed <= available:
        return
    largest = max(sizes, key=lambda path: sizes[path])
    raise InputError(
        f"`model` describes networks that need {needed / 1e9:,.1f} GB with their optimisers, more "
        f"than the {available / 1e9:,.1f} GB of memory here: make them smaller. The largest array "
        f"is {largest} with {sizes[largest] / 1e9:,.1f} GB."
    )

"""What l1jax.sample refuses once it has the model: flags that do not go with it."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from l1jax import config
from l1jax.cli.image_outputs import Form
from l1jax.cli.options import SampleOptions
from l1jax.config import InputError
from l1jax.models import Generator
from l1jax.serialization.loaded_generator import LoadedGenerator
from l1jax.training.sampling import make_sampler


def check_form(value: str, form: Form, generator: Generator, data: config.Data) -> None:
    """Raise if a generator cannot give what the output is to be.

    Args:
        value: the output.
        form: what it is to be.
        generator: what draws.
        data: what it was trained on.

    Raises:
        InputError: if points are to have pictures, or images sound.
    """
    if generator.image_range is None and form in ("folder", "animation"):
        raise InputError(
            f"`--output` (={value}) must end in .png or .npz: points have no picture each."
        )
    if form == "sound" and not isinstance(data, config.Sound):
        raise InputError(
            f"`--output` (={value}) must end in .png or .npz, or in / for a folder: this "
            "generator draws no sound."
        )


def check_mixes_classes(opened: LoadedGenerator, to_class: int) -> None:
    """Raise unless a generator takes weights of classes, and draws the same from them at the ends.

    Args:
        opened: a class-conditional generator.
        to_class: the class that rows were to go to.

    Raises:
        InputError: if it takes whole classes only.
    """
    generator = opened.generator
    labels = jnp.asarray([0, to_class])
    latents = jnp.ones((2, generator.latent_size))
    sampler = make_sampler(generator)
    refusal = InputError(
        f"`--to-class` (={to_class}) must be left out: this generator takes whole classes only, as "
        "exported programs and some networks of your own do; give the run, or the model's folder."
    )
    if not jax.tree.leaves(opened.average.params):
        raise refusal
    try:
        mixed = sampler(opened.average, latents, jax.nn.one_hot(labels, generator.classes))
    except Exception as error:  # whatever a network of the user raises
        raise refusal from error
    if not np.array_equal(mixed, sampler(opened.average, latents, labels)):
        raise refusal


def check_class(flag: str, label: int | None, classes: int) -> None:
    """Raise unless a generator has the class that was asked for, if one was.

    Args:
        flag: by which it was asked for.
        label: the class that was asked for.
        classes: how many the generator has; 0 if it is not class-conditional.

    Raises:
        InputError: if it has no such class.
    """
    if label is None or 0 <= label < classes:
        return
    known = "left out: the generator has none"
    if classes:
        known = f"one of the generator's classes, 0 to {classes - 1}"
    raise InputError(f"`{flag}` (={label}) must be {known}.")


def refuse_flags(options: SampleOptions, names: Sequence[str], what: str) -> None:
    """Refuse flags that were given though they have no meaning here.

    Args:
        options: the flags.
        names: of the fields that must have their defaults.
        what: what the flags are for.

    Raises:
        InputError: naming the first such flag.
    """
    default = SampleOptions()
    for name in names:
        value = getattr(options, name)
        if value != getattr(default, name):
            flag = {"label": "class"}.get(name, name.replace("_", "-"))
            raise InputError(f"`--{flag}` (={value}) is for {what}: leave it out.")

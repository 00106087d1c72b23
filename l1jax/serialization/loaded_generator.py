"""Load a generator to sample from, out of a work directory or an exported model."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree, Shaped

from l1jax.cli.flag_errors import rename_flags
from l1jax.cli.places import check_one_place
from l1jax.config import Config, InputError
from l1jax.config.fields import JsonObject
from l1jax.evaluation.tensors import hash_tensors
from l1jax.models import Generator
from l1jax.serialization.model_folder import ExportedModel, is_model, read_model
from l1jax.serialization.probe_images import probe
from l1jax.training.saved_run import image_generator, load_run
from l1jax.training.state import Average, VaeState


class LoadedGenerator(NamedTuple):
    """A generator, its weights and where they come from.

    Attributes:
        experiment: that the generator was trained by.
        generator: the network and the shape and range of its images.
        average: the averaged weights.
        step: of the training.
        layout: of a compact network, as `l1jax.serialization.rebuild` reads it; else empty.
        encoder: parameters of a variational autoencoder's encoder; exported models have none.
        notes: of an exported model.
    """

    experiment: Config
    generator: Generator
    average: Average
    step: int
    layout: JsonObject
    encoder: PyTree = None
    notes: JsonObject | None = None


def open_generator(
    workdir: Path | None,
    model: Path | None,
    step: int | None,
    say: Callable[[str], None],
    command: str,
) -> LoadedGenerator:
    """Load the generator that one of two flags names; either takes a run or an exported model.

    Args:
        workdir: `--workdir`.
        model: `--model`.
        step: which checkpoint of a run; None for the newest good one.
        say: reports checkpoints that are skipped.
        command: for messages.

    Raises:
        InputError: if none or both are given, or there is nothing good in it.
    """
    check_one_place(workdir, model, command)
    path = next(path for path in (model, workdir) if path is not None)
    is_run = os.path.isdir(path / "checkpoints") or (workdir is not None and not is_model(path))
    if not is_run and step is not None:
        raise InputError(
            f"`--step` (={step}) must be left out for an exported model, which is of one step."
        )
    flag = "--workdir" if model is None else "--model"
    try:
        if is_run:
            opened = _open_run(path, step, say)
        else:
            opened = from_exported(read_model(path))
        check_finite(opened.average, opened.step)
    except InputError as error:
        said = rename_flags(str(error), {"--workdir": flag, "--model": flag})
        raise InputError(said) from error
    return opened


def _open_run(workdir: Path, step: int | None, say: Callable[[str], None]) -> LoadedGenerator:
    trained = load_run(workdir, step, say)
    state = trained.state
    encoder = None
    if isinstance(state, VaeState):
        encoder = state.encoder.params
    generator = image_generator(trained, workdir)
    return LoadedGenerator(trained.experiment, generator, state.average, trained.step, {}, encoder)


def check_finite(average: Average, step: int) -> None:
    """Raise if weights are not finite, since such a generator draws blank images.

    Args:
        average: the weights.
        step: that they are of.

    Raises:
        InputError: if some are NaN or infinite.
    """
    leaves = [np.asarray(leaf, np.float32) for leaf in jax.tree.leaves(average)]
    bad = sum(int(np.count_nonzero(~np.isfinite(leaf))) for leaf in leaves)
    if bad:
        raise InputError(
            f"The generator of step {step:,} has {bad:,} weights that are NaN or infinite, and "
            "draws nothing: take an earlier checkpoint, or train again with a smaller learning "
            "rate."
        )


def hash_weights(average: Average) -> str:
    """Return the SHA-256 of weights, in hexadecimal."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tuple(average))
    return hash_tensors({jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves})


def check_drawn(
    opened: LoadedGenerator, images: Shaped[np.ndarray, "count height width channels"]
) -> None:
    """Raise if images or points were computed from numbers that are not finite.

    Pixels that are NaN become 0, so a few images are drawn again without rounding if some images
    hold nothing but 0.

    Args:
        opened: what drew them.
        images: uint8 images, or points.

    Raises:
        InputError: if some are NaN or infinite.
    """
    if images.dtype == np.uint8:
        blank = not images.reshape(len(images), -1).any(axis=1).all()
        if not blank:
            return
        images = probe(opened.generator, opened.average.params, opened.average.batch_stats)
    finite = np.isfinite(images).reshape(len(images), -1).all(axis=1)
    if not finite.all():
        what = "points" if opened.generator.image_range is None else "images"
        raise InputError(
            f"The generator of step {opened.step:,} draws {what} that are NaN or infinite "
            f"({np.count_nonzero(~finite):,} of {len(images):,}), though its weights are finite: "
            "take an earlier checkpoint, or train again with a smaller learning rate."
        )


def from_exported(exported: ExportedModel) -> LoadedGenerator:
    """Convert an exported model to a loaded generator."""
    average = Average(exported.params, exported.batch_stats)
    return LoadedGenerator(
        exported.experiment,
        exported.generator,
        average,
        exported.step,
        exported.layout,
        notes=exported.notes,
    )

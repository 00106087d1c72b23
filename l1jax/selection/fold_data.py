"""Load the examples of a selection and divide them into folds."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from l1jax.build import build_image_model
from l1jax.config import Config, FlowModel, InputError
from l1jax.data.batches import load_all
from l1jax.data.source import Source
from l1jax.data.splits import unit_hashes
from l1jax.evaluation.scores import NEIGHBOURS
from l1jax.selection.fold_scores import FoldScorer, make_fold_scorer
from l1jax.selection.folds import FoldIndices, stratified_folds
from l1jax.selection.plan import Plan
from l1jax.selection.score_table import INFORMATION_CRITERIA, LIKELIHOOD_CRITERIA
from l1jax.selection.task_replicas import FoldFeed, ImageExamples, image_fold_feed
from l1jax.training.state import Task


class FoldedData(NamedTuple):
    """What the folds of a selection are trained on, and how their runs are scored."""

    feed: FoldFeed
    scorer: FoldScorer


class SelectionData(NamedTuple):
    """The data of a selection.

    Attributes:
        fingerprint: of the data.
        count: number of observations of all data, which information criteria need: images, or
            predicted tokens.
        noun: what runs are scored by, such as "images".
        in_folds: task → the data in the folds of the plan.
        whole: task → the same as one fold that is trained on all of it.
    """

    fingerprint: str
    count: int
    noun: str
    in_folds: Callable[[Task], FoldedData]
    whole: Callable[[Task], FoldedData]


def load_image_data(
    plan: Plan, source: Source, held_out: Source | None, folds: FoldIndices
) -> SelectionData:
    """Load all images into memory; labels are 0 where there are none.

    Args:
        plan: the experiment, and what scores are computed on.
        source: the examples that are divided.
        held_out: those that the experiment holds out from training, if any.
        folds: which of them each fold is trained on and scored by.
    """
    sources = [source]
    if held_out is not None:
        sources.append(held_out)
    images = np.concatenate([load_all(each) for each in sources])
    labels = np.concatenate([_labels(each) for each in sources])
    experiment = plan.experiment
    # Along a flow it takes as long as drawing many images.
    is_flow = isinstance(experiment.model, FlowModel)
    with_likelihood = not is_flow or plan.rule.criterion in LIKELIHOOD_CRITERIA

    def divided(folds: FoldIndices, task: Task) -> FoldedData:
        feed = image_fold_feed(
            ImageExamples(images, labels),
            folds.training,
            seed=experiment.seed,
            batches_per_step=task.batches_per_step,
            batch_size=experiment.batch_size,
        )
        scorer = make_fold_scorer(
            task,
            build_image_model(experiment.model, source.image_shape),
            plan.network,
            images,
            labels,
            folds.held_out,
            plan.features,
            experiment.seed,
            with_likelihood=with_likelihood,
        )
        return FoldedData(feed, scorer)

    return SelectionData(
        fingerprint=source.fingerprint,
        count=source.length,
        noun="images",
        in_folds=partial(divided, folds),
        whole=partial(divided, all_examples(source)),
    )


def _labels(source: Source) -> np.ndarray:
    if source.labels is None:
        return np.zeros(source.length, np.int32)
    return source.labels


def all_examples(source: Source) -> FoldIndices:
    """Return one fold that is trained on all examples, and scored by all."""
    return FoldIndices([np.arange(source.length)], [np.arange(source.length)])


def divide_into_folds(plan: Plan, source: Source, held_out: Source | None) -> FoldIndices:
    """Return the folds of a plan.

    Information criteria score by the training data, so they have one fold of all examples.

    Args:
        plan: how many folds, and the criterion.
        source: the examples that are divided.
        held_out: those that the experiment holds out from training, if any.

    Raises:
        InputError: if there are too few examples, or too few held-out ones to score by.
    """
    if plan.rule.criterion in INFORMATION_CRITERIA:
        folds = all_examples(source)
        flag = f"`data` (of {source.length} images)"
    elif plan.folds == 1:
        if held_out is None:
            raise InputError(
                "`--folds` (=1) must be at least 2, or --holdout must be a share of the images to "
                "score by."
            )
        folds = FoldIndices(
            training=[np.arange(source.length)],
            held_out=[source.length + np.arange(held_out.length)],
        )
        flag = f"`--holdout` (={plan.experiment.holdout})"
    else:
        numbers = unit_hashes(source, f"fold {plan.experiment.seed}")
        fold_ids = stratified_folds(source.labels, numbers, plan.folds)
        folds = FoldIndices(
            training=[np.flatnonzero(fold_ids != fold) for fold in range(plan.folds)],
            held_out=[np.flatnonzero(fold_ids == fold) for fold in range(plan.folds)],
        )
        flag = f"`--folds` (={plan.folds})"
    fewest = min(map(len, folds.held_out))
    if fewest <= NEIGHBOURS:
        raise InputError(
            f"{flag} must leave at least {NEIGHBOURS + 1} images to score each run by, and leaves "
            f"{fewest}: precision and recall look at {NEIGHBOURS} neighbours of each."
        )
    return folds


def check_resident(source: Source, experiment: Config) -> None:
    """Refuse images that do not fit on the device, where all folds share one copy of them.

    Raises:
        InputError: if they do not.
    """
    size = source.length * np.prod(source.image_shape) * np.dtype(source.dtype).itemsize
    mib = size / 2**20
    if mib > experiment.resident_mib:
        raise InputError(
            f"`resident_mib` (={experiment.resident_mib}) must hold all images ({mib:,.0f} MiB) to "
            "select on them: raise it, or take smaller images or a part of them."
        )

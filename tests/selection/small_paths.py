"""Small experiments to train at several strengths."""

import io
from dataclasses import replace
from functools import lru_cache

import numpy as np
from rich.console import Console

from l1jax.build import build_model, image_shape
from l1jax.config import L1, Adversarial, Config, DigitsData, MlpGan, Optimizer, Vae, Variational
from l1jax.data.batches import load_all
from l1jax.data.opening import open_source
from l1jax.selection.experiments import with_strength
from l1jax.selection.fold_scores import make_fold_scorer
from l1jax.selection.stages import PathRun, RunContext, cached_replicas
from l1jax.selection.task_replicas import ImageExamples, image_fold_feed
from l1jax.training.task import make_task

SPARSE = Optimizer(learning_rate=2e-3, b2=0.99, penalty=L1(1e-2))
GAN = Config(
    data=DigitsData(),
    model=MlpGan(latent_size=4, generator_hidden=(12,), discriminator_hidden=(12,)),
    objective=Adversarial("relativistic_pairing", r1=0.3, r2=0.3),
    generator=SPARSE,
    discriminator=replace(SPARSE, penalty=L1()),
    batch_size=16,
    steps=12,
    log_every=2,
    checkpoint_every=2,
)
PLAIN = replace(GAN, objective=Adversarial("relativistic_pairing"))  # compiled in less time
VAE = replace(
    GAN,
    model=Vae(latent_size=3, hidden=(12,)),
    objective=Variational(),
    discriminator=None,
    encoder=replace(SPARSE, penalty=L1()),
)


@lru_cache
def digits():
    """All images and labels, and what identifies them."""
    source = open_source(DigitsData())
    return load_all(source), source.labels, source.fingerprint


def path_run(folder, experiment=PLAIN, folds=1, say=lambda text: None):
    """A path over folds of the first 200 digits."""
    images, labels, fingerprint = digits()
    examples = ImageExamples(images[:200], labels[:200])
    unit = with_strength(experiment, "generator", 1.0)
    task = make_task(unit, image_shape(unit.data))
    model = build_model(unit.model, image_shape(unit.data))
    held_out = [np.arange(fold, 200, folds + 1) for fold in range(folds)]
    training = [np.setdiff1d(np.arange(200), indices) for indices in held_out]
    feed = image_fold_feed(
        examples,
        training,
        seed=unit.seed,
        batches_per_step=task.batches_per_step,
        batch_size=unit.batch_size,
    )
    return PathRun(
        experiment=unit,
        task=task,
        network="generator",
        feed=feed,
        fingerprint=fingerprint,
        scorer=make_fold_scorer(task, model, "generator", *examples, held_out, "pixels", 0),
        context=RunContext(folder, Console(file=io.StringIO()), say),
        replicas=cached_replicas(unit, task, "generator", feed),
    )

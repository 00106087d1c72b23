"""The ways against overfitting that `overfitting.py` compares, and the data that it uses."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from l1jax.cli.experiment_file import load_experiment
from l1jax.config import (
    L0,
    L1,
    L2,
    Config,
    DigitsData,
    ElasticNet,
    GroupL1,
    IdxData,
    Optimizer,
    Vae,
)
from l1jax.config.optimization import Penalty
from l1jax.data.opening import open_source
from l1jax.data.source import take

NETWORKS = {"decoder": ("generator",), "encoder": ("encoder",), "both": ("generator", "encoder")}
L1_GRID = (1e-3, 3e-3, 1e-2, 3e-2)
L2_GRID = (1e-2, 3e-2, 1e-1, 3e-1, 1.0)
RATES = (0.1, 0.2, 0.3, 0.5)  # of dropout
L2_SHARE = 10.0  # λ₂/λ₁ of the elastic net


class Method(NamedTuple):
    """One way against overfitting.

    Attributes:
        change: (experiment, dropout rate) → the experiment, with strengths of 1.
        networks: whose penalties have a strength of `strengths`.
        strengths: of one program.
        rates: of dropout, a program each.
    """

    change: Callable[[Config, float], Config]
    networks: tuple[str, ...] = ()
    strengths: tuple[float, ...] = (0.0,)
    rates: tuple[float, ...] = (0.0,)


def without_penalties(experiment: Config) -> Config:
    """Return the experiment with a strength of 0 in both networks, and no average of weights."""
    none = {name: replace(getattr(experiment, name), penalty=L1(0.0)) for name in NETWORKS["both"]}
    return replace(experiment, ema_half_life=0, **none)


def penalised(
    networks: str, penalty: Penalty, strengths: tuple[float, ...], method: str = "metric"
) -> Method:
    """Penalise the kernels of one network, or of both.

    Args:
        networks: a key of `NETWORKS`.
        penalty: with a strength of 1.
        strengths: to choose from.
        method: of the optimiser.
    """
    return Method(
        lambda experiment, rate: with_penalty(experiment, networks, penalty, method),
        NETWORKS[networks],
        strengths,
    )


def with_penalty(experiment: Config, networks: str, penalty: Penalty, method: str) -> Config:
    """Return the experiment with a penalty in one network, or in both.

    Args:
        experiment: what to change.
        networks: a key of `NETWORKS`.
        penalty: the penalty.
        method: of the optimiser.
    """
    changed: dict[str, Optimizer] = {}
    for name in NETWORKS[networks]:
        changed[name] = replace(getattr(experiment, name), penalty=penalty, method=method)
    return replace(experiment, **changed)


def with_dropout(experiment: Config, rate: float) -> Config:
    """Return the experiment with dropout in both networks."""
    model = replace(experiment.model, encoder_dropout=rate, decoder_dropout=rate)
    return replace(experiment, model=model)


def dropped_and_penalised(experiment: Config, rate: float) -> Config:
    """Return the experiment with dropout and L1 in both networks."""
    return with_penalty(with_dropout(experiment, rate), "both", L1(1.0), "metric")


METHODS = {
    "none": Method(lambda experiment, rate: experiment),
    "L1, both networks": penalised("both", L1(1.0), L1_GRID),
    "L1, decoder": penalised("decoder", L1(1.0), L1_GRID),
    "L1, encoder": penalised("encoder", L1(1.0), L1_GRID),
    "L1 by subgradients": penalised("both", L1(1.0), L1_GRID, "subgradient"),
    "elastic net": penalised("both", ElasticNet(1.0, L2_SHARE), L1_GRID),
    "L0": penalised("both", L0(1.0), (1e-6, 1e-5, 1e-4, 1e-3)),
    "units by group L1": penalised("both", GroupL1(1.0), L1_GRID),
    "L2": penalised("both", L2(1.0), L2_GRID),
    "dropout": Method(with_dropout, rates=RATES),
    "L1 and dropout": Method(dropped_and_penalised, NETWORKS["both"], L1_GRID[:3], (0.2,)),
}


class Subject(NamedTuple):
    """Data, and what is trained on them.

    Attributes:
        experiment: without penalties.
        sizes: of the training sets.
        images: all of them.
        labels: their classes.
        validation: indices of the images by which strengths and steps are chosen.
        test: indices of the images that decide.
        pool: indices of the others, from which training sets are drawn.
    """

    experiment: Config
    sizes: tuple[int, ...]
    images: np.ndarray
    labels: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    pool: np.ndarray


def read_subject(dataset: str, path: str) -> Subject:
    """Read the images, and divide them by lot.

    Args:
        dataset: "digits" or "mnist".
        path: of MNIST's files.
    """
    experiment = load_experiment(f"vae_{dataset}")
    data: DigitsData | IdxData
    if dataset == "mnist":
        data = IdxData(path)
        held_out = 1_000
        sizes = (200, 1_000, 5_000, 20_000)
        model = Vae(latent_size=16, hidden=(256, 256), likelihood="bernoulli")
        experiment = replace(experiment, data=data, model=model)
    else:
        data = DigitsData()
        held_out = 400
        sizes = (100, 300, 900)
    source = open_source(data)
    assert source.labels is not None
    order = np.random.default_rng(0).permutation(source.length)
    return Subject(
        experiment=replace(without_penalties(experiment), batch_size=100),
        sizes=sizes,
        images=take(source, np.arange(source.length)),
        labels=np.asarray(source.labels),
        validation=order[:held_out],
        test=order[held_out : 2 * held_out],
        pool=order[2 * held_out :],
    )

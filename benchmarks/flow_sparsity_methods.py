"""The methods that `flow_sparsity.py` compares, each as a change of a dense experiment."""

import math
from dataclasses import replace
from typing import Any, Literal, NamedTuple

from l1jax.cli.experiment_file import load_experiment
from l1jax.config import (
    L0,
    L1,
    Config,
    GroupL1,
    IdxData,
    Optimizer,
    Penalty,
    Pruning,
    Schedule,
)

SHARES = (0.8, 0.95, 0.5)  # in the order of their worth
RAMP = 0.4  # of the steps, after which the share of zeros is reached
FREEZE = 0.5  # of the steps, after which zeros stay and nothing is shrunk
BEGIN = 0.05  # of the steps, before which nothing is pruned
PRUNINGS = 60  # choices of the zeros while they become more
END = 0.01  # factor on the learning rate at the end
START = 1e-5  # strength from which the way to a share of zeros begins
PENALTIES: dict[str, Penalty] = {
    "L0": L0(START),
    "L1": L1(START),
    "channels": GroupL1(START, groups="channels"),
}
METHODS = ("L0", "magnitude pruning", "L1", "channels")
OUTER = {"digits": 3 * 64 / (3 * 64 + 2 * 256), "mnist": 0.0}
"""Share of the kernels' entries that have a hidden unit on one side only, by the data."""
FLOW_ENTRIES = 256 * (3 * 64 + 2 * 256)  # of the kernels of `flow_digits`
GAN_ENTRIES = 256 * (2 * 64 + 256)  # of those of the generator of `digits`
GAN_STEPS = 30_000  # of its experiment


class Variant(NamedTuple):
    """One way to train."""

    method: str  # "dense" or one of METHODS
    share: float = 0.0  # of zeros in the flow's kernels
    rate: Literal["held", "cosine"] = "held"
    """Whether the learning rate stays until the zeros are frozen, or falls from the start."""
    scope: Literal["global", "leaf"] = "global"
    is_gan: bool = False
    """Whether it is the GAN, with as many entries that are not zero as the flow has."""

    @property
    def name(self) -> str:
        """As the result has it."""
        parts = ["GAN"] * self.is_gan + [self.method]
        if self.share:
            parts.append(f"{self.share:.0%}")
        if self.rate == "cosine":
            parts.append("cosine")
        if self.scope == "leaf":
            parts.append("leaf")
        return ", ".join(parts)


def variants(dataset: str) -> dict[str, Variant]:
    """Name every variant, in the order in which they are trained."""
    listed = [Variant("dense")]
    listed += [Variant(method, share) for share in SHARES[:2] for method in METHODS]
    listed.append(Variant("dense", rate="cosine"))
    for share in SHARES[:2]:
        listed += [Variant(method, share, "cosine") for method in METHODS[:2]]
    listed += [Variant(method, SHARES[2]) for method in METHODS]
    listed += [Variant(method, SHARES[1], scope="leaf") for method in METHODS[:2]]
    if dataset == "digits":
        listed.append(Variant("dense", is_gan=True))
        listed += [Variant("L0", share, is_gan=True) for share in SHARES[:2]]
    return {variant.name: variant for variant in listed}


def experiment_of(variant: Variant, dataset: str, path: str, steps: int) -> Config:
    """Return the experiment of a variant.

    Args:
        variant: how it is trained.
        dataset: "digits" or "mnist".
        path: of MNIST's files.
        steps: of a flow; a GAN has those of its experiment where they are more.
    """
    if variant.is_gan:
        experiment = load_experiment("digits")
        steps = max(steps, GAN_STEPS)
        rate = Schedule()
        share = 1 - (1 - variant.share) * FLOW_ENTRIES / GAN_ENTRIES
    else:
        experiment = load_experiment(f"flow_{dataset}")
        hold = round(FREEZE * steps) if variant.rate == "held" else 0
        rate = Schedule("cosine", steps=steps, end=END, hold=hold)
        share = variant.share
    if dataset == "mnist":
        experiment = replace(experiment, data=IdxData(path))
    if variant.method == "channels":
        share = share_of_channels(share, OUTER[dataset])
    fields = {"penalty": L1(0.0), "learning_rate_schedule": rate}
    if variant.method != "dense":
        fields |= zeros(variant, steps, round(share, 4))
    optimizer: Optimizer = replace(experiment.generator, **fields)
    return replace(experiment, steps=steps, generator=optimizer)


def zeros(variant: Variant, steps: int, share: float) -> dict[str, Any]:
    """Return the fields of an optimiser that make a share of zeros."""
    scope = {"sparsity_target": share, "sparsity_scope": variant.scope}
    if variant.method == "magnitude pruning":
        begin = round(BEGIN * steps)
        end = round(RAMP * steps)
        every = max(1, (end - begin) // PRUNINGS)
        pruning = Pruning(every=every, begin=begin, steps=end - begin)
        return {"method": "magnitude", "pruning": pruning, **scope}
    return {
        "penalty": PENALTIES[variant.method],
        "per_group": variant.method == "channels",
        "strength_schedule": Schedule(warmup=round(RAMP * steps)),
        "debias_after": round(FREEZE * steps),
        **scope,
    }


def share_of_channels(share: float, outer: float) -> float:
    """Return the share of channels without which a share of the kernels' entries is gone.

    With a share k of the channels left in every layer, outer·k + (1 − outer)·k² of the entries are.

    Args:
        share: of the entries.
        outer: share of the entries that have a channel on one side only.
    """
    inner = 1 - outer
    left = (math.sqrt(outer**2 + 4 * inner * (1 - share)) - outer) / (2 * inner)
    return 1 - left

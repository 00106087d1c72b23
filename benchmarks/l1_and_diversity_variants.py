"""The methods that `l1_and_diversity.py` compares, each as a change of one experiment."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import optax

import l1jax
from l1jax.config import (
    L0,
    L1,
    L2,
    Adversarial,
    Balance,
    Config,
    Dcgan,
    ElasticNet,
    GroupL1,
    LHalf,
    MlpGan,
    Schedule,
)

KERNELS = r"(^|/)kernel$"


class Variant(NamedTuple):
    """A method: what it changes in the experiment and, if need be, in the optimiser.

    `wrap` makes the method's optimiser from that of the generator. The last field says whether the
    best of several evaluations counts, and not the last one.
    """

    change: Callable[[Config], Config]
    wrap: Callable[[optax.GradientTransformation, Config], optax.GradientTransformation] | None = (
        None
    )
    early: bool = False


def generator(**fields: Any) -> Variant:
    """Other fields of the generator's optimiser."""
    return Variant(lambda base: replace(base, generator=replace(base.generator, **fields)))


def both(balance: bool = False, **fields: Any) -> Variant:
    """Other fields of both optimisers."""

    def change(base: Config) -> Config:
        assert isinstance(base.objective, Adversarial)
        assert base.discriminator is not None
        objective = replace(base.objective, balance=Balance() if balance else None)
        discriminator = replace(
            base.discriminator, **({"penalty": L1(1e-5)} if balance else fields)
        )
        return replace(
            base,
            objective=objective,
            generator=replace(base.generator, **fields),
            discriminator=discriminator,
        )

    return Variant(change)


def discriminator(**fields: Any) -> Variant:
    """Other fields of the discriminator's optimiser, the generator dense."""

    def change(base: Config) -> Config:
        assert base.discriminator is not None
        return replace(base, discriminator=replace(base.discriminator, **fields))

    return Variant(change)


def dropout(share: float) -> Variant:
    """Dropout in the discriminator."""

    def change(base: Config) -> Config:
        assert isinstance(base.model, MlpGan | Dcgan)
        return replace(base, model=replace(base.model, dropout=share))

    return Variant(change)


def pruned(share: float) -> Variant:
    """The smallest kernel entries pruned gradually over the first three quarters."""

    def wrap(inner: optax.GradientTransformation, base: Config) -> optax.GradientTransformation:
        schedule = optax.polynomial_schedule(0.0, share, 3, 3 * base.steps // 4)
        return optax.chain(inner, l1jax.magnitude_pruning(schedule, 100, KERNELS))

    return Variant(lambda base: base, wrap)


def rigged(share: float) -> Variant:
    """RigL over the first three quarters."""

    def wrap(inner: optax.GradientTransformation, base: Config) -> optax.GradientTransformation:
        return l1jax.rigl(inner, share, stop=3 * base.steps // 4, pattern=KERNELS)

    return Variant(lambda base: base, wrap)


def debiased(share: float, penalty: Any) -> Variant:
    """Approach the target over the first half of training.

    From three quarters on the zeros are kept and nothing is shrunk.
    """

    def change(base: Config) -> Config:
        schedule = Schedule(warmup=base.steps // 2)
        fields = {
            "sparsity_target": share,
            "strength_schedule": schedule,
            "debias_after": 3 * base.steps // 4,
        }
        return replace(base, generator=replace(base.generator, penalty=penalty, **fields))

    return Variant(change)


START = 1e-4  # strength from which the way to a target begins
VARIANTS = {
    "dense": generator(),
    "dense, stopped early": Variant(lambda base: base, early=True),
    "L1, metric prox, 50 %": generator(penalty=L1(START), sparsity_target=0.5),
    "L1, metric prox, 80 %": generator(penalty=L1(START), sparsity_target=0.8),
    "L1, metric prox, 95 %": generator(penalty=L1(START), sparsity_target=0.95),
    "L1, metric prox, 80 %, slowly, debiased": debiased(0.8, L1(START)),
    "L1, metric prox, 95 %, slowly, debiased": debiased(0.95, L1(START)),
    "L½, metric prox, 80 %, slowly, debiased": debiased(0.8, LHalf(START)),
    "L½, metric prox, 95 %, slowly, debiased": debiased(0.95, LHalf(START)),
    "L0, metric prox, 80 %, slowly, debiased": debiased(0.8, L0(START)),
    "L0, metric prox, 95 %, slowly, debiased": debiased(0.95, L0(START)),
    "L1, plain prox, 80 %": generator(penalty=L1(START), sparsity_target=0.8, method="plain"),
    "L1, subgradient, 1e-4": generator(penalty=L1(1e-4), method="subgradient"),
    "elastic net, metric prox, 80 %": generator(
        penalty=ElasticNet(START, 1e-4), sparsity_target=0.8
    ),
    "group L1 on output channels, 80 %": generator(penalty=GroupL1(START), sparsity_target=0.8),
    "group L1 on output channels, 80 %, slowly, debiased": debiased(0.8, GroupL1(START)),
    "L2, 1e-3": generator(penalty=L2(1e-3)),
    "magnitude pruning, 80 %": pruned(0.8),
    "magnitude pruning, 95 %": pruned(0.95),
    "RigL, 80 %": rigged(0.8),
    "RigL, 95 %": rigged(0.95),
    "dropout in the discriminator, 30 %": dropout(0.3),
    "L1 on the discriminator, 50 %": discriminator(penalty=L1(START), sparsity_target=0.5),
    "L1 on both, 80 %": both(penalty=L1(START), sparsity_target=0.8),
    "L1, metric prox, 80 %, balanced": both(balance=True, penalty=L1(START), sparsity_target=0.8),
}

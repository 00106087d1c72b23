"""Every penalty with its value written in NumPy, and what brute force needs to know of it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

import l1jax

# compiled once for each kind of penalty and shape; strengths are arguments, so they are traced
VALUE = jax.jit(lambda penalty, x: penalty.value(x))
PROX = jax.jit(lambda penalty, x, step: penalty.prox(x, step))
SLOPE = jax.jit(jax.grad(lambda penalty, x: penalty.value(x), argnums=1))
SUBGRADIENT = jax.jit(lambda penalty, x: penalty.subgradient(x))
DISTANCE = jax.jit(lambda penalty, x, grad: penalty.distance(x, grad))

WEIGHTS = np.array([0.0, 0.5, 2.0])


class Case(NamedTuple):
    name: str
    penalty: Callable[[], Any]
    value: Callable[[np.ndarray], np.ndarray]  # over the last axis, which is one leaf and one group
    convex: bool = False


def _l1(x):
    return np.abs(x).sum(-1)


def _l2(x):
    return 0.5 * np.square(x).sum(-1)


def _norm(x):
    return np.sqrt(np.square(x).sum(-1))


def mcp(size, strength, gamma):
    return np.where(
        size <= gamma * strength, strength * size - size**2 / (2 * gamma), gamma * strength**2 / 2
    )


def scad(size, strength, a):
    middle = (2 * a * strength * size - size**2 - strength**2) / (2 * (a - 1))
    return np.where(
        size <= strength,
        strength * size,
        np.where(size <= a * strength, middle, strength**2 * (a + 1) / 2),
    )


def _nonnegative(x):
    return np.where((x < 0).any(-1), np.inf, x.sum(-1))


ENTRYWISE = [
    Case("l1", lambda: l1jax.l1(0.7), lambda x: 0.7 * _l1(x), True),
    Case("l1_off", lambda: l1jax.l1(0.0), lambda x: 0.0 * _l1(x), True),
    Case("l2", lambda: l1jax.l2(0.7), lambda x: 0.7 * _l2(x), True),
    Case(
        "elastic_net",
        lambda: l1jax.elastic_net(0.7, 0.4),
        lambda x: 0.7 * _l1(x) + 0.4 * _l2(x),
        True,
    ),
    Case(
        "nonnegative_l1", lambda: l1jax.nonnegative_l1(0.7), lambda x: 0.7 * _nonnegative(x), True
    ),
    Case("l0", lambda: l1jax.l0(0.7), lambda x: 0.7 * (x != 0).sum(-1)),
    Case("l_half", lambda: l1jax.l_half(0.7), lambda x: 0.7 * np.sqrt(np.abs(x)).sum(-1)),
    Case("mcp", lambda: l1jax.mcp(0.7, 3.0), lambda x: mcp(np.abs(x), 0.7, 3.0).sum(-1)),
    Case("mcp_steep", lambda: l1jax.mcp(0.7, 0.4), lambda x: mcp(np.abs(x), 0.7, 0.4).sum(-1)),
    Case("scad", lambda: l1jax.scad(0.7, 3.7), lambda x: scad(np.abs(x), 0.7, 3.7).sum(-1)),
    Case("scad_steep", lambda: l1jax.scad(0.7, 2.1), lambda x: scad(np.abs(x), 0.7, 2.1).sum(-1)),
    Case(
        "log_sum",
        lambda: l1jax.log_sum(0.7, 0.1),
        lambda x: 0.7 * np.log1p(np.abs(x) / 0.1).sum(-1),
    ),
    Case(
        "log_sum_wide",
        lambda: l1jax.log_sum(0.7, 2.0),
        lambda x: 0.7 * np.log1p(np.abs(x) / 2.0).sum(-1),
    ),
    Case(
        "sum_nonnegative_l2",
        lambda: l1jax.sum_of(l1jax.l2(0.4), l1jax.nonnegative_l1(0.7)),
        lambda x: 0.7 * _nonnegative(x) + 0.4 * _l2(x),
        True,
    ),
    Case(
        "sum_mcp_l2",
        lambda: l1jax.sum_of(l1jax.mcp(0.7, 3.0), l1jax.l2(0.4)),
        lambda x: mcp(np.abs(x), 0.7, 3.0).sum(-1) + 0.4 * _l2(x),
    ),
]
WEIGHTED = Case(
    "weighted_l1",
    lambda: l1jax.weighted_l1(0.7, WEIGHTS),
    lambda x: 0.7 * (WEIGHTS * np.abs(x)).sum(-1),
    True,
)
GROUPED = [
    Case(
        "group_l1",
        lambda: l1jax.group_l1(0.7, 0),
        lambda x: 0.7 * np.sqrt(x.shape[-1]) * _norm(x),
        True,
    ),
    Case(
        "sparse_group_l1",
        lambda: l1jax.sparse_group_l1(0.3, 0.7, 0),
        lambda x: 0.3 * _l1(x) + 0.7 * np.sqrt(x.shape[-1]) * _norm(x),
        True,
    ),
    Case(
        "sum_l2_l1_group_l1",
        lambda: l1jax.sum_of(l1jax.group_l1(0.7, 0), l1jax.l1(0.3), l1jax.l2(0.4)),
        lambda x: 0.3 * _l1(x) + 0.4 * _l2(x) + 0.7 * np.sqrt(x.shape[-1]) * _norm(x),
        True,
    ),
    Case(
        "sum_nonnegative_group_l1",
        lambda: l1jax.sum_of(l1jax.nonnegative_l1(0.3), l1jax.group_l1(0.7, 0)),
        lambda x: 0.3 * _nonnegative(x) + 0.7 * np.sqrt(x.shape[-1]) * _norm(x),
        True,
    ),
    Case("nuclear_norm", lambda: l1jax.nuclear_norm(0.7), lambda x: 0.7 * _norm(x), True),
    Case(
        "sum_nuclear_l2",
        lambda: l1jax.sum_of(l1jax.nuclear_norm(0.7), l1jax.l2(0.4)),
        lambda x: 0.7 * _norm(x) + 0.4 * _l2(x),
        True,
    ),
    Case(
        "group_mcp",
        lambda: l1jax.group_mcp(0.7, 2000.0, 0),
        lambda x: mcp(_norm(x), 0.7 * np.sqrt(x.shape[-1]), 2000.0),
    ),
    Case(
        "group_l0",
        lambda: l1jax.group_l0(0.7, 0),
        lambda x: 0.7 * x.shape[-1] * (x != 0).any(-1),
    ),
]
COUPLED = [
    Case(
        "coupled",
        lambda: l1jax.coupled(0.7, {"": l1jax.Slices(0, (0, 0, 0))}),
        lambda x: 0.7 * np.sqrt(x.shape[-1]) * _norm(x),
        True,
    ),
    Case(
        "coupled_l0",
        lambda: l1jax.coupled_l0(0.7, {"": l1jax.Slices(0, (0, 0, 0))}),
        lambda x: 0.7 * x.shape[-1] * (x != 0).any(-1),
    ),
]
LINF = Case("linf", lambda: l1jax.linf(0.7), lambda x: 0.7 * np.abs(x).max(-1), True)
BALL = Case(
    "l1_ball",
    lambda: l1jax.l1_ball(0.7),
    lambda x: np.where(_l1(x) <= 0.7 * (1 + 1e-12), 0.0, np.inf),
    True,
)
SUM_LINF = Case(
    "sum_linf_l2",
    lambda: l1jax.sum_of(l1jax.linf(0.7), l1jax.l2(0.4)),
    lambda x: 0.7 * np.abs(x).max(-1) + 0.4 * _l2(x),
    True,
)
ALL = [*ENTRYWISE, WEIGHTED, *GROUPED, *COUPLED, LINF, SUM_LINF, BALL]
EACH_KIND = [
    case
    for case in ALL
    if case not in COUPLED  # whose groups are those of one tree
    and "_steep" not in case.name
    and "sum_" not in case.name
    and "_off" not in case.name
]
CONVEX = [case for case in ALL if case.convex]


def ids(case: Case) -> str:
    return case.name

"""Minimisers found without any formula of a prox: grids, enumeration, a general optimiser."""

import itertools

import numpy as np
from scipy.optimize import minimize


def objective(value, y, z, step):
    """R(y) + ½ Σ (yᵢ − zᵢ)²/stepᵢ over the last axis."""
    with np.errstate(invalid="ignore"):
        return value(y) + 0.5 * (np.square(y - z) / step).sum(-1)


def best_on_grid(value, z, step, points=1001, rounds=5):
    """Minimise each scalar problem (z, step) on a grid that closes in on the best points."""
    z = z[:, None, None]
    step = step[:, None, None]
    centre = np.zeros_like(z)
    width = 2 * np.abs(z) + 0.1
    best = np.full(len(z), np.inf)
    for _ in range(rounds):
        grid = np.concatenate(
            [centre + width * np.linspace(-1, 1, points)[:, None], 0 * z, z], axis=1
        )
        costs = objective(value, grid, z, step)
        best = np.minimum(best, costs.min(1))
        centre = np.take_along_axis(grid, costs.argmin(1)[:, None, None], 1)
        width = width * 4 / points
    return best


def best_of_supports(value, z, step):
    """Minimise over candidates that include the minimiser, for an R that is smooth off zero.

    On each support the objective is smooth around the minimiser, which has the signs of z: a trust
    region optimiser finds it from several starts, by differences of the objective itself.
    """
    best = objective(value, np.zeros_like(z), z, step)
    for support in itertools.product([False, True], repeat=len(z)):
        support = np.array(support)
        if not support.any() or not np.isfinite(value(np.where(support, z, 0))):
            continue
        sign = np.sign(z[support])
        scale = np.sqrt(step[support])  # makes the quadratic part round

        def cost(u, support=support, sign=sign, scale=scale):
            y = np.zeros_like(z)
            y[support] = sign * np.abs(u) * scale
            return objective(value, y, z, step)

        for shrink in (1.0, 0.1):
            actual = minimize(
                cost, shrink * np.abs(z[support]) / scale, method="BFGS", options={"gtol": 1e-9}
            )
            actual = minimize(
                cost, actual.x, method="Nelder-Mead", options={"xatol": 1e-11, "fatol": 1e-14}
            )
            best = min(best, actual.fun)
    return best


def best_with_common_size(strength, value, z, step):
    """Minimise for Linf: the objective is a parabola in the size of each set of clipped entries."""
    best = objective(value, np.zeros_like(z), z, step)
    for clipped in itertools.product([False, True], repeat=len(z)):
        clipped = np.array(clipped)
        if clipped.any():
            size = ((np.abs(z) / step)[clipped].sum() - strength) / (1 / step)[clipped].sum()
            best = min(
                best, objective(value, np.where(clipped, np.sign(z) * max(size, 0), z), z, step)
            )
    return min(best, objective(value, z, z, step))


def best_on_faces(radius, value, z, step):
    """The L1 ball: on each face (a support, with the signs of z) a projection onto a hyperplane."""
    best = objective(value, z, z, step)
    for support in itertools.product([False, True], repeat=len(z)):
        support = np.array(support)
        if support.any():
            level = (np.abs(z)[support].sum() - radius) / step[support].sum()
            y = np.where(support, z - np.sign(z) * level * step, 0)
            best = min(best, objective(value, y, z, step))
    return best


def steepest_descent(value, x, grad, rng, directions=400, rounds=16):
    """max over unit u of −(grad·u + R'(x; u)), at least 0: the distance of −grad to ∂R(x).

    Directional derivatives are difference quotients; on each set of coordinates, so that directions
    that keep the zeros of x are among them.
    """
    best = 0.0
    h = 1e-7
    for support in itertools.product([0.0, 1.0], repeat=len(x)):
        if not any(support):
            continue
        centre = np.zeros(len(x))
        spread = 1.0
        for _ in range(rounds):
            u = (centre + spread * rng.normal(size=(directions, len(x)))) * support
            u = np.concatenate([u, [centre]]) if centre.any() else u
            u /= np.sqrt(np.square(u).sum(-1, keepdims=True))
            with np.errstate(invalid="ignore"):
                rate = -(u @ grad + (value(x + h * u) - value(x)) / h)
            best = max(best, rate.max())
            centre = u[rate.argmax()]
            spread = spread * 0.5
    return best

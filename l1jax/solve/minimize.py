"""Minimise loss + penalty to a tolerance."""

import functools
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from l1jax.annotations import Array, ArrayLike, Bool, Float, Int, PyTree
from l1jax.penalties import Penalty, check_number, check_penalty, is_concrete_number, path_name
from l1jax.penalties.numerics import is_inexact
from l1jax.solve.derivative import solution_tangent
from l1jax.solve.problem import Problem, make_problem, multiply, scalar_dtype, subtract
from l1jax.solve.program import Leaves, Program, join, take_apart, trace
from l1jax.solve.rounds import solve


class Minimum(NamedTuple):
    """The result of `minimize`."""

    params: PyTree
    """Like those that were given, with exact zeros."""
    objective: Float[Array, ""]
    """Loss plus penalty there."""
    distance: Float[Array, ""]
    """How far minus the gradient of the loss is from the penalty's subdifferential, as a share of
    the scale that the tolerance refers to; 0 at a stationary point."""
    steps: Int[Array, ""]
    """Gradients and products with the Hessian that were computed."""
    converged: Bool[Array, ""]
    """Whether the distance is at most the tolerance."""


def minimize(
    loss: Callable[..., ArrayLike],
    params: PyTree,
    penalty: Penalty,
    *,
    args: PyTree = (),
    tolerance: ArrayLike | None = None,
    max_steps: ArrayLike = 100_000,
) -> Minimum:
    """Minimise loss(params, *args) + penalty(params), to a tolerance, without a step size.

    Accelerated proximal gradients find the zeros: their step follows from the loss by backtracking,
    in a diagonal metric that evens out badly scaled parameters, and their momentum starts anew when
    it hinders. Between them, steps of Newton's method on the support, by conjugate gradients, give
    the other digits. The loss needs a gradient that is differentiable almost everywhere; it is a
    full loss, not one of a random minibatch.

    If the loss and the penalty are convex, a converged result is the minimum. Otherwise, as for
    `mcp`, `scad`, `log_sum`, `l0`, `l_half`, or a network, it is a stationary point that is no
    worse than `params`, and depends on them: a stationary point is returned at once.

    The result can be differentiated, forward and backward, with respect to whatever the loss reads
    (`args`, and arrays that it closes over) and to the numbers of the penalty; this takes one more
    linear system, not the steps. It is the derivative of the solution on its support, and assumes
    that the solution is unique and strictly complementary: no zero is about to leave zero. With
    respect to `params`, the start, the derivative is zero. `jit` and `vmap` work, over strengths
    and data; what is mapped goes on until all its members are solved. Nothing is compiled again for
    the same loss and the same shapes.

    Args:
        loss: a function of the parameters, and of `args`, that returns one number. Half-precision
            parameters reach it in float32.
        params: where to begin: zeros, or the solution of a similar problem. Any tree; leaves that
            are not of floating point stay as they are.
        penalty: what to penalise.
        args: a tuple of what else the loss takes. Closing over arrays does as well.
        tolerance: the largest distance of minus the gradient to the penalty's subdifferential,
            `penalty.distance`, as a share of the gradient's norm at zero (at `params`, if it is
            zero or not finite there). None stands for 1e-9 in float64 and 1e-5 in float32.
        max_steps: the largest number of gradients and Hessian products. It is checked between
            rounds, so that a few more may be taken.

    Returns:
        The parameters with the least distance that was reached, and whether that is the tolerance.
        If the loss is not finite at `params` these are returned, not converged.

    Raises:
        ValueError: if the loss does not return one real number, is not finite at `params` (which is
            not known under `jit`), or `params` have no leaf of floating point or are not finite; if
            `tolerance` or `max_steps` is negative; or if the penalty does not fit the parameters.

    Warns:
        UserWarning: if rounding keeps the dtype from reaching `tolerance`.

    Source: Beck, Teboulle, SIAM J. Imaging Sci. 2 (2009); Lee, Sun, Saunders, SIAM J. Optim. 24
    (2014) and Bareilles, Iutzeler, Malick, Math. Program. 200 (2023), for Newton's method on the
    support; Bertrand et al., JMLR 23 (2022), for the derivative.

    >>> features = jnp.array([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]])
    >>> target = jnp.array([3.0, 1.0, 2.0])
    >>> def loss(weights, features, target):
    ...     return jnp.sum((features @ weights - target) ** 2) / 2
    >>> result = l1jax.minimize(loss, jnp.zeros(2), l1jax.l1(2.0), args=(features, target))
    >>> result.params.round(4).tolist(), bool(result.converged)
    ([1.0, 0.0], True)
    """
    check_penalty("penalty", penalty)
    parameters = take_apart(params)
    dtype = scalar_dtype(parameters.leaves)
    tolerance = _check_tolerance(tolerance, dtype)
    check_number("max_steps", max_steps)
    _check_finite(params)
    if not isinstance(args, tuple):
        raise ValueError(
            f"`args` (of type {type(args).__name__}) must be a tuple of what the loss takes after "
            "the parameters; for one argument write `(argument,)`."
        )
    program, data = trace(loss, parameters, args)
    most = jnp.minimum(jnp.asarray(max_steps), jnp.iinfo(jnp.int32).max // 2).astype(jnp.int32)
    penalty = jax.tree.map(jnp.asarray, penalty)
    inputs = _Inputs(parameters.leaves, data, penalty, jnp.asarray(tolerance, dtype), most)
    outputs = _minimum(program, jax.lax.stop_gradient(inputs))
    outputs = _differentiable(program, inputs, outputs)
    _check_loss(outputs.objective, program, inputs)
    leaves = [x.astype(t) for x, t in zip(outputs.leaves, parameters.dtypes, strict=True)]
    solved = join(leaves, parameters.others, parameters.treedef)
    return Minimum(solved, outputs.objective, outputs.distance, outputs.steps, outputs.converged)


class _Inputs(NamedTuple):
    """What a program is minimised with."""

    start: Leaves
    data: list[Array]
    penalty: Penalty
    tolerance: Array
    max_steps: Array


class _Outputs(NamedTuple):
    """The minimum of a program."""

    leaves: Leaves
    objective: Array
    distance: Array
    steps: Array
    converged: Array
    prox_steps: Leaves


@functools.partial(jax.jit, static_argnums=0)
def _minimum(program: Program, inputs: _Inputs) -> _Outputs:
    problem = make_problem(program, inputs.data, inputs.penalty)
    solved = solve(problem, inputs.start, inputs.tolerance, inputs.max_steps)
    return _Outputs(
        solved.point.x,
        solved.point.objective,
        solved.point.distance / solved.scale,
        solved.steps,
        solved.converged,
        solved.prox_steps,
    )


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _with_derivative(program: Program, inputs: _Inputs, outputs: _Outputs) -> _Outputs:
    """Return the outputs, as a function of the inputs that has a derivative.

    The solver itself is not differentiated, and so not compiled again for a derivative.
    """
    del program, inputs
    return outputs


@_with_derivative.defjvp
def _derivative(
    program: Program, primals: tuple[_Inputs, _Outputs], tangents: tuple[_Inputs, _Outputs]
) -> tuple[_Outputs, _Outputs]:
    inputs, outputs = primals
    inputs_dot, _ = tangents
    x = outputs.leaves
    steps = jax.lax.stop_gradient(outputs.prox_steps)

    def problem_of(data: list[Array], penalty: Penalty) -> Problem:
        return make_problem(program, data, penalty)

    def gradient(data: list[Array], penalty: Penalty) -> Leaves:
        return jax.grad(problem_of(data, penalty).smooth)(x)

    def objective(x: Leaves, data: list[Array], penalty: Penalty) -> Array:
        problem = problem_of(data, penalty)
        return problem.smooth(x) + problem.penalty(x)

    outer = (inputs.data, inputs.penalty)
    outer_dot = (inputs_dot.data, inputs_dot.penalty)
    slope, gradient_dot = jax.jvp(gradient, outer, outer_dot)
    z = subtract(x, multiply(steps, slope))

    def prox(data: list[Array], penalty: Penalty) -> Leaves:
        return problem_of(data, penalty).prox(z, steps)

    _, prox_dot = jax.jvp(prox, outer, outer_dot)
    leaves_dot = solution_tangent(problem_of(*outer), x, steps, gradient_dot, prox_dot)
    # The movement of x counts where a constraint moves.
    _, objective_dot = jax.jvp(objective, (x, *outer), (leaves_dot, *outer_dot))
    none: Any = jax.tree.map(_zero_tangent, outputs)
    return outputs, none._replace(leaves=leaves_dot, objective=objective_dot)


_differentiable = jax.jit(_with_derivative, static_argnums=0)


def _zero_tangent(output: Array) -> Any:
    if is_inexact(output):
        return jnp.zeros_like(output)
    return np.zeros(output.shape, jax.dtypes.float0)


def _check_tolerance(tolerance: ArrayLike | None, dtype: Any) -> ArrayLike:
    """Return the tolerance, or the one of this dtype in place of None."""
    if tolerance is None:
        return 1e-9 if dtype == jnp.float64 else 1e-5
    check_number("tolerance", tolerance)
    eps = float(jnp.finfo(dtype).eps)
    if is_concrete_number(tolerance) and np.any(np.asarray(tolerance) < eps):
        warnings.warn(
            f"`tolerance` (={tolerance}) must be at least {eps:.1e} to be reached in {dtype}: the "
            "best parameters are returned, not converged; give a larger one, or float64 parameters "
            'after `jax.config.update("jax_enable_x64", True)`.',
            stacklevel=3,
        )
    return tolerance


def _check_finite(params: PyTree) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if isinstance(leaf, Tracer) or not isinstance(leaf, float | np.ndarray | jax.Array):
            continue
        with jax.ensure_compile_time_eval():  # a known array inside `jit`
            finite = bool(jnp.all(jnp.isfinite(leaf)))
        if not finite:
            raise ValueError(
                f"`params` must be finite, but {path_name(path) or 'the array'} is not; begin at "
                "zeros, for instance."
            )


def _check_loss(objective: Array, program: Program, inputs: _Inputs) -> None:
    """Raise if the loss is not finite at the start, unless something is traced."""
    leaves = jax.tree.leaves((objective, inputs))
    if any(isinstance(leaf, Tracer) for leaf in leaves) or bool(jnp.isfinite(objective)):
        return
    value = program.loss(inputs.start, inputs.data)
    if not bool(jnp.isfinite(value)):
        raise ValueError(
            f"`loss` (={float(value)}) must be finite at `params`; begin at a point where it is."
        )

"""How a solution moves with the data and the penalty, by the implicit function theorem."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from l1jax.annotations import Array
from l1jax.solve.problem import Problem, add_scaled, multiply, scalar_dtype, subtract
from l1jax.solve.program import Leaves
from l1jax.solve.tangent import solve_normal, tangent_at


def solution_tangent(
    problem: Problem, x: Leaves, steps: Leaves, gradient_dot: Leaves, prox_dot: Leaves
) -> Leaves:
    """Differentiate x = prox(x − t∇f(x), t) implicitly.

    With ṗ the derivative of the prox with x and ∇f fixed, the solution moves by ẋ = ṗ + Dw, where
    D is the derivative of the prox in its argument and Mw = D(ṗ − t(Hṗ + ∇f˙)) with the M of
    `l1jax.solve.tangent`.

    Args:
        problem: what was minimised.
        x: the solution.
        steps: t.
        gradient_dot: how ∇f changes with the data, at x.
        prox_dot: ṗ, how the prox changes with the penalty.
    """
    one = jnp.ones([], scalar_dtype(x))
    linearised = problem.linearise(x)
    z = subtract(x, multiply(steps, linearised.gradient))
    _, derivative = jax.linearize(lambda z: problem.prox(z, steps), z)
    tangent = tangent_at(derivative, steps, linearised.hessian)
    change = add_scaled(linearised.hessian(prox_dot), one, gradient_dot)
    pull = subtract(prox_dot, multiply(steps, change))
    inverse_roots = [1 / r for r in tangent.roots]
    right = tangent.project(multiply(inverse_roots, pull))
    size = sum(b.size for b in right)
    rounding = float(jnp.finfo(scalar_dtype(x)).eps)

    def conjugate_gradients(normal: Callable[[Leaves], Leaves], right: Leaves) -> Leaves:
        most = jnp.asarray(2 * size + 50, jnp.int32)
        return solve_normal(normal, right, jnp.asarray(64 * rounding), most).solution

    moved = jax.lax.custom_linear_solve(tangent.normal, right, conjugate_gradients, symmetric=True)
    along: list[Array] = multiply(tangent.roots, tangent.project(moved))
    return add_scaled(prox_dot, one, along)

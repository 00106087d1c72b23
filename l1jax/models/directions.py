"""Directions of latent space that change a generator's images most, in closed form (SeFa)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal
from jaxtyping import Array, Float, PyTree

from l1jax.models.layers import library_convolutions
from l1jax.models.network import Generator

# Equations that are programs of their own, and their names in other versions of JAX.
CALLS = {
    "jit", "pjit", "closed_call", "core_call", "remat2", "checkpoint", "custom_jvp_call",
    "custom_vjp_call", "custom_vjp_call_jaxpr",
}  # fmt: skip
PRODUCTS = {"dot_general", "conv_general_dilated"}
# Operations that are linear in each input while the others stay as they are …
LINEAR = {
    "add", "sub", "neg", "convert_element_type", "copy", "reshape", "transpose", "broadcast_in_dim",
    "squeeze", "expand_dims", "slice", "concatenate", "pad", "rev", "reduce_sum", "split",
    "optimization_barrier", "sharding_constraint",
}  # fmt: skip
# … and those that are linear in one of them, by its position; None for any one of them.
LINEAR_IN_ONE = {"mul": None, "div": 0, "gather": 0, "dynamic_slice": 0} | dict.fromkeys(PRODUCTS)


class Directions(NamedTuple):
    """Orthonormal directions of latent space, the strongest first.

    vectors: a direction in each row, whose largest entry is positive.
    scales: how far a step of length 1 moves what the first layers give, as a Euclidean norm.
    """

    vectors: Float[np.ndarray, "latent latent"]
    scales: Float[np.ndarray, " latent"]


def sefa_directions(generator: Generator, params: PyTree, batch_stats: PyTree) -> Directions:
    """Find the directions of latent space that move a generator's first layers most.

    With W the linear map from the latents to what the first layers give, these are the
    eigenvectors n of WᵀW, and their scales the square roots ‖W n‖ of its eigenvalues. The first
    layers are those whose kernels multiply the latents, or latents beside a class, whatever the
    layers are called and however many there are; the class's part of W is left out. If the map
    itself depends on the class, it is that of class 0.

    The network is traced, so this holds for networks of one's own and for compacted ones, but not
    for StableHLO and ONNX programs, which hold their weights.

    Args:
        generator: the network.
        params: its parameters.
        batch_stats: its running batch statistics.

    Raises:
        ValueError: if no layer takes the latents themselves, as when they are normalised first.

    Source: Shen and Zhou, CVPR 2021, equations 4 to 7. Their program divides each row of W by its
    norm first, which their equations do not.
    """
    label = jnp.zeros(1, jnp.int32) if generator.classes else None

    def forward(latents: Float[Array, "1 latent"]) -> Array:
        return generator.network.apply(params, batch_stats, latents, False, label)[0]

    zero = jnp.zeros((1, generator.latent_size))
    with library_convolutions(), jax.default_matmul_precision("highest"):
        traced = jax.make_jaxpr(forward)(zero)

        @jax.jit
        def first_layers(constants: list[Array]) -> list[Array]:
            def products(latents: Float[Array, "1 latent"]) -> list[Array]:
                return _first_products(traced.jaxpr, constants, [_Value(latents, True)])[1]

            return jax.jacfwd(products)(zero)

        maps = first_layers(traced.consts)
    if not maps:
        raise ValueError(
            "`generator` must have a layer that multiplies the latents themselves with a kernel; "
            "this one changes them first, or is a program that holds its weights."
        )
    rows = [np.asarray(part, np.float64).reshape(-1, generator.latent_size) for part in maps]
    matrix = np.concatenate(rows)
    _, found, vectors = np.linalg.svd(matrix)
    scales = np.zeros(generator.latent_size)
    scales[: len(found)] = found
    largest = np.abs(vectors).argmax(axis=1)
    signs = np.sign(vectors[np.arange(len(vectors)), largest])
    return Directions(vectors * signs[:, None], scales)


class _Value(NamedTuple):
    """A number of a traced network that is computed before its first layers."""

    array: Any
    is_linear: bool  # in the latents; otherwise it does not depend on them


def _first_products(
    jaxpr: Any, constants: Sequence[Any], inputs: Sequence[_Value | None]
) -> tuple[list[_Value | None], list[Array]]:
    """Compute the first products of kernels with what is linear in the latents.

    Args:
        jaxpr: the traced program, without its constants.
        constants: its constants.
        inputs: its inputs; None stands for what comes after a first product, or is not linear.

    Returns:
        The program's outputs, and the products.
    """
    known: dict[Any, _Value | None] = {}
    known |= zip(jaxpr.constvars, (_Value(value, False) for value in constants), strict=True)
    known |= zip(jaxpr.invars, inputs, strict=True)
    products: list[Array] = []

    def value_of(variable: Any) -> _Value | None:
        if isinstance(variable, Literal):
            return _Value(variable.val, False)
        return known[variable]

    for equation in jaxpr.eqns:
        values = [value_of(variable) for variable in equation.invars]
        if equation.primitive.name in CALLS:
            inner = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
            constants = getattr(inner, "consts", ())
            results, found = _first_products(getattr(inner, "jaxpr", inner), constants, values)
            products += found
        else:
            results = _apply(equation, values)
            if equation.primitive.name in PRODUCTS and results[0] and results[0].is_linear:
                products.append(results[0].array)
                results = [None]
        known |= zip(equation.outvars, results, strict=True)
    return [value_of(variable) for variable in jaxpr.outvars], products


def _apply(equation: Any, values: Sequence[_Value | None]) -> list[_Value | None]:
    """Compute an equation's outputs if they are linear in the latents, or do not depend on them."""
    name = equation.primitive.name
    linear = [i for i, value in enumerate(values) if value is not None and value.is_linear]
    is_kept = not linear or name in LINEAR
    if name in LINEAR_IN_ONE and len(linear) == 1:
        is_kept = LINEAR_IN_ONE[name] in (None, linear[0])
    if None in values or not is_kept:
        return [None] * len(equation.outvars)
    arrays = [value.array for value in values if value is not None]
    computed = equation.primitive.bind(*arrays, **equation.params)
    if not equation.primitive.multiple_results:
        computed = [computed]
    return [_Value(array, bool(linear)) for array in computed]

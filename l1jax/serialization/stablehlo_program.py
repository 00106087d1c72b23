"""Export a generator as one StableHLO program with its weights; it needs only JAX.

The program is lowered for CPU, CUDA and TPU together; convolutions take each platform's own form.
Its inputs are the latents (float32) and, for a class-conditional generator, the labels (int32). Its
output is the images in the generator's range.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from l1jax.config import InputError
from l1jax.models import Generator, Network

STABLEHLO = "model.stablehlo"
PLATFORMS = ("cpu", "cuda", "tpu")


def export_stablehlo(generator: Generator, params: PyTree, statistics: PyTree) -> bytes:
    """Serialise the network with its weights for any batch size; `jax.export.deserialize` reads it.

    Args:
        generator: the network.
        params: its parameters.
        statistics: its running batch statistics.
    """
    generate = jax.jit(program(generator, params, statistics))
    exported = jax.export.export(generate, platforms=PLATFORMS)(*program_inputs(generator))
    return bytes(exported.serialize())


def open_stablehlo(generator: Generator, content: bytes, file: Path) -> Generator:
    """Make a generator of a StableHLO program.

    Args:
        generator: one with the same inputs and outputs; its network is not used.
        content: of the file.
        file: its path, for messages.

    Raises:
        InputError: if it cannot be read, or is a program of something else.
    """
    try:
        exported = jax.export.deserialize(bytearray(content))
        found = [_signature(aval) for aval in (*exported.in_avals, *exported.out_avals)]
    except Exception as error:
        # The readers raise errors of many types.
        raise InputError(
            f"`{file}` is no StableHLO program that this JAX reads: export it anew."
        ) from error
    images = jax.ShapeDtypeStruct((1, *generator.image_shape), jnp.float32)
    wanted = [_signature(aval) for aval in (*program_inputs(generator), images)]
    if found != wanted:
        raise InputError(
            f"`{file}` takes and gives {found}, and its config.json's generator {wanted}."
        )

    def apply(
        params: PyTree,
        statistics: PyTree,
        inputs: Array,
        train: bool,
        label: Array | None = None,
        key: Array | None = None,
    ) -> tuple[Array, PyTree]:
        arguments = [inputs]
        if generator.classes:
            arguments.append(jnp.asarray(label, jnp.int32))
        return exported.call(*arguments), statistics

    return as_program(generator, apply)


def program(generator: Generator, params: PyTree, statistics: PyTree) -> Callable[..., Array]:
    """Return the function (latents, label if class-conditional) → images, with fixed weights.

    Args:
        generator: the network.
        params: its parameters.
        statistics: its running batch statistics.
    """

    def generate(*arguments: Array) -> Array:
        latents, *label = arguments
        return generator.network.apply(params, statistics, latents, False, *label)[0]

    return generate


def program_inputs(generator: Generator) -> list[jax.ShapeDtypeStruct]:
    """Return the types of a program's inputs: latents, and labels if it is class-conditional."""
    (batch,) = jax.export.symbolic_shape("batch")
    latents = jax.ShapeDtypeStruct((batch, generator.latent_size), jnp.float32)
    if not generator.classes:
        return [latents]
    return [latents, jax.ShapeDtypeStruct((batch,), jnp.int32)]


def as_program(generator: Generator, apply: Callable[..., tuple[Array, PyTree]]) -> Generator:
    """Return the generator with a network that contains its weights."""
    return generator._replace(
        network=Network(lambda key: ({}, {}), apply), activations=None, velocities=None
    )


def _signature(aval: Any) -> str:
    return f"{aval.dtype}[{', '.join(['batch', *map(str, aval.shape[1:])])}]"

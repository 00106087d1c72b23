"""What the program of a training step computes and sends, counted in its traced form."""

from collections.abc import Iterator
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from l1jax.build import example_shape
from l1jax.config import Config
from l1jax.data.batches import Batch
from l1jax.models import LanguageModel
from l1jax.models.layers import library_convolutions
from l1jax.models.network import AXIS
from l1jax.training.parallel import mapped_steps
from l1jax.training.state import NetworkState
from l1jax.training.task import make_task

ALL_REDUCES = ("psum", "psum_invariant", "pmax", "pmin")
OTHER_COLLECTIVES = ("all_gather", "all_gather_invariant", "all_to_all", "ppermute", "pgather")


class Work(NamedTuple):
    """What one step does on one device."""

    flops: float  # of matrix products and convolutions, two for a multiplication and addition
    reduced_bytes: float  # that all-reduces carry
    all_reduces: float  # arrays that are all-reduced


NO_WORK = Work(0.0, 0.0, 0.0)


def equations(jaxpr: Any, repeats: int = 1) -> Iterator[tuple[Any, int]]:
    """Each equation of a program, and how often a step computes it.

    Of the branches of a condition the one with the most FLOPs counts.
    """
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        inner = list(inner_jaxprs(equation.params))
        if name == "while":
            if any(count(part) != NO_WORK for part in inner):
                raise NotImplementedError("how often a `while` repeats is not in the program.")
            inner = []
        if name == "cond":
            inner = [max(inner, key=lambda branch: count(branch).flops)]
        times = repeats
        if name == "scan":
            times = repeats * equation.params["length"]
        yield equation, repeats
        for part in inner:
            yield from equations(part, times)


def inner_jaxprs(params: dict[str, Any]) -> Iterator[Any]:
    """The programs among an equation's parameters."""
    for value in params.values():
        for part in value if isinstance(value, tuple | list) else (value,):
            program = getattr(part, "jaxpr", part)  # a closed one holds an open one
            if hasattr(program, "eqns"):
                yield program


def count(jaxpr: Any) -> Work:
    """Count the work of a program.

    Raises:
        NotImplementedError: if it has a collective that is no all-reduce.
    """
    flops = 0.0
    reduced_bytes = 0.0
    all_reduces = 0.0
    for equation, repeats in equations(jaxpr):
        name = equation.primitive.name
        if name in OTHER_COLLECTIVES:
            raise NotImplementedError(f"what a `{name}` costs is not known here.")
        if name in ALL_REDUCES:
            carried = [variable.aval for variable in equation.invars]
            reduced_bytes += repeats * sum(aval.size * aval.dtype.itemsize for aval in carried)
            all_reduces += repeats * len(carried)
        flops += repeats * product_flops(equation)
    return Work(flops, reduced_bytes, all_reduces)


def product_flops(equation: Any) -> float:
    """FLOPs of a matrix product or a convolution; 0 for everything else."""
    name = equation.primitive.name
    if name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        shape = equation.invars[0].aval.shape
        return 2.0 * equation.outvars[0].aval.size * prod(shape[axis] for axis in contracted)
    if name == "conv_general_dilated":
        kernel = equation.invars[1].aval
        outputs = kernel.shape[equation.params["dimension_numbers"].rhs_spec[0]]
        # Of an input with zeros between its entries only the entries are multiplied.
        spread = prod(equation.params["lhs_dilation"])
        return 2.0 * equation.outvars[0].aval.size * kernel.size / outputs / spread
    return 0.0


def trace(experiment: Config, devices: list[Any], batch: int, steps: int = 1) -> Any:
    """Trace the program that training maps over these devices.

    Args:
        experiment: what is trained.
        devices: real ones, or those of a topology.
        batch: examples per device.
        steps: that one call takes.
    """
    shape = example_shape(experiment.data)
    task = make_task(experiment, shape)
    mesh = Mesh(np.asarray(devices), (AXIS,))

    def abstract(shape: tuple[int, ...], dtype: Any, spec: P) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, spec))

    def replicated(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: abstract(leaf.shape, leaf.dtype, P()), tree)

    if isinstance(task.generator, LanguageModel):
        example_type = jnp.int32
    elif task.generator.image_range is None:
        example_type = jnp.float32  # points
    else:
        example_type = jnp.uint8
    leading = (steps, task.batches_per_step, batch * len(devices))
    split = P(None, None, AXIS)
    chunk = Batch(
        example=abstract((*leading, *shape), example_type, split),
        index=abstract(leading, jnp.int32, split),
        label=abstract(leading, jnp.int32, split),
    )
    key = jax.eval_shape(lambda: jax.random.key(0))
    state = replicated(jax.eval_shape(task.init, key))
    mapped = mapped_steps(task, lambda resident, chunk: chunk, devices)
    return mapped.trace(state, {}, chunk, replicated(key))


def count_step(experiment: Config, devices: list[Any], batch: int) -> Work:
    """Count one step; what happens once in a call of many steps is left out.

    Args:
        experiment: what is trained.
        devices: over which the step is mapped.
        batch: examples per device.
    """
    with library_convolutions():  # by the definition, whatever each platform makes of them
        one, two = (count(trace(experiment, devices, batch, steps).jaxpr.jaxpr) for steps in (1, 2))
    return Work(*(b - a for a, b in zip(one, two, strict=True)))


def gradient_bytes(experiment: Config) -> int:
    """Bytes of all gradients of a step; the discriminator's count once for each of its updates."""
    task = make_task(experiment, example_shape(experiment.data))
    state = jax.eval_shape(task.init, jax.random.key(0))
    total = 0
    for name, network in state._asdict().items():
        if isinstance(network, NetworkState):
            updates = task.batches_per_step if name == "discriminator" else 1
            leaves = jax.tree.leaves(network.params)
            total += updates * sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
    return total

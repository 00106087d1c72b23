"""What training carries from step to step, and what the loop needs to know of a task."""

from collections.abc import Callable
from typing import Any, NamedTuple

import optax
from jaxtyping import Array, Float, Int, Key, PyTree

from l1jax.data.batches import Batch
from l1jax.models import Generator
from l1jax.training.controllers import Controllers

Metrics = dict[str, Float[Array, ""]]


class NetworkState(NamedTuple):
    """One network in training."""

    params: PyTree
    statistics: PyTree  # running batch statistics; empty without batch norm
    opt_state: optax.OptState


class Average(NamedTuple):
    """The generator that people sample from: an average that keeps the zeros."""

    params: PyTree
    statistics: PyTree


class GanState(NamedTuple):
    """State of adversarial training."""

    step: Int[Array, ""]
    generator: NetworkState
    discriminator: NetworkState
    average: Average
    controllers: Controllers  # empty but for what the experiment uses


class GeneratorState(NamedTuple):
    """State of training a generator alone."""

    step: Int[Array, ""]
    generator: NetworkState
    average: Average


class VaeState(NamedTuple):
    """State of training a variational autoencoder."""

    step: Int[Array, ""]
    encoder: NetworkState
    generator: NetworkState  # the decoder
    average: Average


State = GanState | GeneratorState | VaeState


class Task(NamedTuple):
    """What the loop trains.

    init: key → State.
    step: (state, batch, key) → (state, metrics), per device, with collectives over `AXIS`; metrics
        are means over the whole batch, and `taken` among them is 0 for a step that was not finite
        and left everything but the count as it was.
    generator: the network that `state.average` belongs to.
    draws: batches of real images that one step takes.
    penalised: network → regular expression of its penalised paths.
    """

    init: Callable[[Key[Array, ""]], Any]
    step: Callable[[Any, Batch, Key[Array, ""]], tuple[Any, Metrics]]
    generator: Generator
    draws: int
    penalised: dict[str, str]

"""The state that training carries from step to step, and the task that the loop trains."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, TypeAlias

import optax
from jaxtyping import Array, Float, Int, Key, PyTree

from l1jax.build_optimizer import CountedGroups
from l1jax.config import InputError
from l1jax.data.batches import Batch
from l1jax.models import Generator, LanguageModel
from l1jax.training.controllers import Controllers

Metrics = dict[str, Float[Array, ""]]


class NetworkWeights(NamedTuple):
    """What a trained network hands on to another run; its optimiser's state is none of it."""

    params: PyTree
    batch_stats: PyTree


Weights: TypeAlias = Mapping[str, NetworkWeights]
"""The weights of networks by their names in the state, such as "generator"."""
NO_WEIGHTS: Weights = MappingProxyType({})


class NetworkState(NamedTuple):
    """One network in training.

    Attributes:
        params: the parameters.
        batch_stats: running batch statistics; empty without batch norm.
        opt_state: of the network's optimiser, the strengths included.
    """

    params: PyTree
    batch_stats: PyTree
    opt_state: optax.OptState


class Average(NamedTuple):
    """The generator that samples are drawn from: a moving average that keeps the zeros."""

    params: PyTree
    batch_stats: PyTree


class GanState(NamedTuple):
    """State of adversarial training; `controllers` holds only what the experiment uses."""

    step: Int[Array, ""]
    generator: NetworkState
    discriminator: NetworkState
    average: Average
    controllers: Controllers


class GeneratorState(NamedTuple):
    """State of training a generator alone."""

    step: Int[Array, ""]
    generator: NetworkState
    average: Average


class VaeState(NamedTuple):
    """State of training a variational autoencoder; its generator is the decoder."""

    step: Int[Array, ""]
    encoder: NetworkState
    generator: NetworkState
    average: Average


State = GanState | GeneratorState | VaeState

# A task's own kind of state goes in and comes out. The loop and its callbacks need only the step,
# the average and the networks of it.
Step = Callable[[Any, Batch, Key[Array, ""]], tuple[Any, Metrics]]


class Init(Protocol):
    """(key, weights) → the state that training starts from.

    Networks that are not among the weights are drawn from the key. Optimisers are new.
    """

    def __call__(self, key: Key[Array, ""], weights: Weights = NO_WEIGHTS) -> Any:
        """Return the state."""


class Task(NamedTuple):
    """What the loop trains; built by `l1jax.training.task.make_task`.

    Attributes:
        init: (key, weights) → the state that training starts from. The key draws the networks
            that are not among the weights.
        step: (state, batch, key) → (state, metrics), which is `gan_step` with its configuration
            bound, or made by `make_vae_step` or another function of that kind. It runs on each
            device with its part of the batch, with collectives over `AXIS`. The metrics are means
            over the whole batch. The metric `step_taken` is 0 when a loss or gradient was not
            finite; such a step changes nothing in the state but its count.
        generator: the network that `state.average` belongs to.
        batches_per_step: batches of examples that one step uses.
        penalised: network name → regular expression of the paths that are penalised.
        groups: network name → the groups that its target of zeros counts; single entries where
            there is none.
    """

    init: Init
    step: Step
    generator: Generator | LanguageModel
    batches_per_step: int
    penalised: dict[str, str]
    groups: Mapping[str, CountedGroups] = MappingProxyType({})


def require_images(task: Task) -> Generator:
    """Return the generator of a task of images or points.

    Raises:
        InputError: if the task is one of text.
    """
    if isinstance(task.generator, Generator):
        return task.generator
    raise InputError("`data` is text, and this works with images and points only.")

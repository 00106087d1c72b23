"""The task of a flow model, and what must go together in it."""

from functools import partial

from l1jax import config
from l1jax.models import Flow
from l1jax.training.flow_step import make_flow_step
from l1jax.training.reconstruction_step import init_generator
from l1jax.training.state import Task
from l1jax.training.task_parts import Channels, ema_decay, network_optimizer


def flow_task(
    experiment: config.Config, objective: config.FlowMatching, flow: Flow, channels: Channels
) -> Task:
    """Build the task of a flow model.

    Args:
        experiment: its configuration.
        objective: that of the experiment.
        flow: the model.
        channels: what finds the channels of its network.

    Raises:
        InputError: if fields of the experiment do not go together.
    """
    classes = flow.generator.classes
    if objective.label_dropout and not classes:
        raise config.InputError(
            f"`objective.label_dropout` (={objective.label_dropout}) must be 0 for a model without "
            "classes: give `model.classes`, or leave it out."
        )
    if classes and objective.pairing != "independent":
        raise config.InputError(
            f"`objective.pairing` (={objective.pairing}) must be independent for a model with "
            "classes: each class would be learned from a part of the noise alone, and drawn from "
            "all of it."
        )
    if objective.dequantize and flow.generator.image_range is None:
        raise config.InputError(
            f"`objective.dequantize` (={objective.dequantize}) must be False for points, which "
            "have a density without it."
        )
    check_guidance(experiment)
    _check_average_velocity(objective, flow)
    tx = network_optimizer(experiment, "generator", flow, channels)
    step = make_flow_step(
        flow,
        tx,
        **vars(objective),
        accumulate=experiment.accumulate,
        ema_decay=ema_decay(experiment),
    )
    return Task(
        init=partial(init_generator, flow.generator, tx),
        step=step,
        generator=flow.generator,
        batches_per_step=1,
        penalised={},
    )


def check_guidance(experiment: config.Config) -> None:
    """Refuse guidance of a flow model whose training leaves out no labels, and guiding it twice.

    Args:
        experiment: of a flow model.

    Raises:
        InputError: naming what to train with, or to leave out.
    """
    guidance = getattr(experiment.model, "guidance", 0.0)
    learned = getattr(experiment.objective, "guidance", 0.0)
    dropout = getattr(experiment.objective, "label_dropout", 0.0)
    if guidance and learned:
        raise config.InputError(
            f"`model.guidance` (={guidance}) must be 0 for a network whose training has guidance "
            f"(`objective.guidance` ={learned}): leave one of them out."
        )
    for name, value in {"model": guidance, "objective": learned}.items():
        if value and not dropout:
            raise config.InputError(
                f"`{name}.guidance` (={value}) needs a network that knows images without their "
                "class: train with --objective.label-dropout 0.1."
            )


def _check_average_velocity(objective: config.FlowMatching, flow: Flow) -> None:
    """Raise unless average velocities are trained just where the network gives them."""
    is_trained = isinstance(objective, config.MeanFlow)
    if is_trained and not flow.average_velocity:
        raise config.InputError(
            f"`objective` (={type(objective).__name__}) needs a network that reads the length of "
            "an interval: give --model.average-velocity, and --model.method average to draw "
            "with it."
        )
    if flow.average_velocity and not is_trained:
        raise config.InputError(
            "`model.average_velocity` (=True) must be False for `objective` "
            f"(={type(objective).__name__}), which does not train average velocities: give "
            "--objective mean-flow."
        )
    if isinstance(objective, config.MeanFlow) and objective.instants + objective.whole > 1:
        raise config.InputError(
            f"`objective.whole` (={objective.whole}) must be at most {1 - objective.instants:g}, "
            f"what `objective.instants` (={objective.instants}) leaves of the batch."
        )

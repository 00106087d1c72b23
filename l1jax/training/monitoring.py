"""Periodic health metrics of the generator in training, and the alarms that they raise."""

from collections.abc import Callable, Mapping

import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Shaped

from l1jax.compilation import jit_once
from l1jax.evaluation.health import (
    AT_ONCE,
    EVERY_LINE,
    alarms,
    dead_units,
    diversity,
    output_sparsity,
    saturation,
)
from l1jax.models import Generator, from_uint8
from l1jax.models.summary import layers
from l1jax.objectives.flow_matching import between
from l1jax.training.state import Metrics, State

HealthMetrics = Callable[
    [State, Shaped[Array, "n h w c"], Float[Array, "batch latent"], Key[Array, ""]], Metrics
]
ReportAlarm = Callable[[int, str, str], None]  # (step, name of the alarm, sentence) → None


def make_health_metrics(generator: Generator) -> HealthMetrics:
    """Build (state, real images, latents, key) → metrics of the generator, not of its average.

    They are taken on the images of these latents, whose classes take turns: their diversity
    compared with that of the real images, the shares of pixels at the ends of the range and at 0,
    and the dead units of each layer, as `l1jax.evaluation.health` defines them. Those of a flow
    model are dead in one evaluation on the ways to these images, at times from 0 to 1, and over the
    rest of the way if it gives average velocities.
    """
    layer_rows = layers(generator.network.init)

    @jit_once
    def health_metrics(
        state: State,
        real: Shaped[Array, "n h w c"],
        latents: Float[Array, "batch latent"],
        key: Key[Array, ""],
    ) -> Metrics:
        network = state.generator
        num_images = len(latents)
        label = jnp.arange(num_images) % max(generator.classes, 1)

        def forward() -> Float[Array, "batch h w c"]:
            images, _ = generator.network.apply(
                network.params, network.batch_stats, latents, False, label
            )
            return images

        fake = forward()

        def predict() -> Float[Array, "batch h w c"]:
            predictor, length = generator.predictor()
            time = jnp.linspace(0, 1, num_images)
            x = between(latents, fake.reshape(latents.shape), time)
            times = (time, 1 - time)[: length - generator.latent_size]
            inputs = jnp.column_stack([x, *times])
            return predictor.apply(network.params, network.batch_stats, inputs, False, label)[0]

        real = from_uint8(real, generator.image_range)
        metrics = {"generator/diversity": diversity(fake, real)}
        image_range = generator.image_range
        if image_range is not None:
            for name, images in (("generator", fake), ("real", real)):
                metrics[f"{name}/saturation"] = saturation(images, image_range)
                metrics[f"{name}/output_sparsity"] = output_sparsity(images, image_range)
        once = forward if generator.velocities is None else predict
        dead = dead_units(once, layer_rows, num_images, key)
        return metrics | {f"generator/dead/{name}": share for name, share in dead.items()}

    return health_metrics


def make_alarm_monitor(report: ReportAlarm) -> Callable[[int, Mapping[str, float]], None]:
    """Build (step, metrics) → None, which reports each alarm once, until it has ceased.

    An alarm of `AT_ONCE` is reported by the first line of metrics that raises it, and one of
    `EVERY_LINE` by the second line in a row. Networks start badly, so any other alarm is reported
    when two lines with health metrics in a row have raised it.
    """
    raised_before = set[str]()
    reported = set[str]()
    checked_on_every_line = AT_ONCE | EVERY_LINE

    def report_alarms(step: int, values: Mapping[str, float]) -> None:
        raised = alarms(values)
        has_health_metrics = "generator/diversity" in values
        if has_health_metrics:
            raised_now = set(raised)
            unchecked = set[str]()
        else:
            raised_now = raised.keys() & checked_on_every_line
            unchecked = (raised_before | reported) - checked_on_every_line
        lasting = raised_now & (raised_before | AT_ONCE)
        for name in sorted(lasting - reported):
            report(step, name, raised[name])
        reported.intersection_update(raised_now | unchecked)
        reported.update(lasting)
        raised_before.intersection_update(unchecked)
        raised_before.update(raised_now)

    return report_alarms

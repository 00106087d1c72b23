"""What training looks at now and then besides its metrics: whether the generator is well."""

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
from l1jax.training.state import Metrics, State


def make_health_metrics(
    generator: Generator,
) -> Callable[
    [State, Shaped[Array, "n h w c"], Float[Array, "batch latent"], Key[Array, ""]], Metrics
]:
    """Build (state, real images, latents, key) → metrics of the generator as it trains, not of its average.

    On the images of these latents, classes in turn: their diversity against the real ones', the share of pixels
    at the ends of the range and at 0, and each layer's dead units, as `l1jax.evaluation.health` defines them.
    """
    rows = layers(generator.network.init)

    @jit_once
    def probe(
        state: State,
        real: Shaped[Array, "n h w c"],
        latents: Float[Array, "batch latent"],
        key: Key[Array, ""],
    ) -> Metrics:
        network, batch = state.generator, len(latents)
        label = jnp.arange(batch) % max(generator.classes, 1)

        def forward() -> Float[Array, "batch h w c"]:
            return generator.network.apply(
                network.params, network.batch_stats, latents, False, label
            )[0]

        images, real = forward(), from_uint8(real, generator.image_range)
        metrics = {"generator/diversity": diversity(images, real)}
        if generator.image_range is not None:
            for name, seen in (("generator", images), ("real", real)):
                metrics[f"{name}/saturation"] = saturation(seen, generator.image_range)
                metrics[f"{name}/output_sparsity"] = output_sparsity(seen, generator.image_range)
        dead = dead_units(forward, rows, batch, key)
        return metrics | {f"generator/dead/{name}": share for name, share in dead.items()}

    return probe


def make_alarm_monitor(say: Callable[[str], None]) -> Callable[[int, Mapping[str, float]], None]:
    """Build (step, metrics) → None, which tells alarms.

    Those of `AT_ONCE` are told at the first line of metrics that raises them, those of `EVERY_LINE` at the second in a
    row. The others are told once two looks at the generator in a row, which are lines with what `make_health_metrics` finds
    have raised them: networks start badly.
    """
    before, told = set[str](), set[str]()
    of_lines = AT_ONCE | EVERY_LINE

    def watch(step: int, values: Mapping[str, float]) -> None:
        raised = alarms(values)
        looked = "generator/diversity" in values
        seen = set(raised) if looked else raised.keys() & of_lines
        unseen = set[str]() if looked else (before | told) - of_lines
        lasting = seen & (before | AT_ONCE)
        for name in sorted(lasting - told):
            say(f"step {step:,}: {raised[name]}")
        told.intersection_update(seen | unseen)
        told.update(lasting)
        before.intersection_update(unseen)
        before.update(seen)

    return watch

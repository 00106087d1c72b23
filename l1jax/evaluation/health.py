"""Health metrics of a generator, such as dead units and saturated outputs, and their alarms."""

from collections.abc import Callable, Mapping, Sequence
from math import isfinite, nan
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key

from l1jax.models.summary import Layer

AT_ONCE = frozenset({"all zero", "constant images"})
"""Alarms that no network raises at its start, so that one line of metrics suffices."""
EVERY_LINE = frozenset({"constant logits"})
"""Alarms that every line of metrics can raise, and a single line may raise by chance."""
NETWORKS = ("generator", "discriminator", "encoder")
Images = Float[Array, "batch height width channels"]


def dead_units(
    forward: Callable[[], Float[Array, "batch ..."]],
    layers: Sequence[Layer],
    batch: int,
    key: Key[Array, ""],
) -> dict[str, Float[Array, ""]]:
    """Compute the share of each layer's units that cannot change the outputs on a batch.

    A unit is an entry along the last axis of the layer's output. It is dead if the derivative of a
    random combination of all outputs with respect to it is zero for every example and pixel: its
    activation is never on, everything behind it is zero or saturated, or the kernel that reads it
    is zero there. Works under `jit`.

    Args:
        forward: one pass of the network's Linen module over the batch.
        layers: result of `l1jax.models.summary.layers` for the network.
        batch: number of examples of the pass.
        key: of the combination.

    Returns:
        Layer name → share in [0, 1].
    """
    no_shifts = {layer.name: jnp.zeros((batch, *layer.output)) for layer in layers}

    def shifted_forward(shifts: Mapping[str, Array]) -> Array:
        """Run the network with a shift added to the output of every layer."""

        def add_shift(
            call: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext
        ) -> Any:
            output = call(*args, **kwargs)
            name = "/".join(context.module.path)
            if context.method_name == "__call__" and name in shifts:
                return output + shifts[name].astype(output.dtype)
            return output

        with nn.intercept_methods(add_shift):
            return forward()

    outputs, pullback = jax.vjp(shifted_forward, no_shifts)
    (derivatives,) = pullback(jax.random.normal(key, outputs.shape, outputs.dtype))

    def dead_share(derivative: Array) -> Float[Array, ""]:
        all_but_units = tuple(range(derivative.ndim - 1))
        return jnp.mean(jnp.all(derivative == 0, axis=all_but_units))

    return {name: dead_share(derivative) for name, derivative in derivatives.items()}


def saturation(
    images: Images, image_range: tuple[float, float], margin: float = 0.01
) -> Float[Array, ""]:
    """Compute the share of pixels near an end of their range, in [0, 1].

    Args:
        images: generated or real images.
        image_range: the smallest and the largest possible value.
        margin: how near counts, as a share of the range.
    """
    low, high = image_range
    near = margin * (high - low)
    return jnp.mean((images <= low + near) | (images >= high - near))


def output_sparsity(images: Images, image_range: tuple[float, float]) -> Float[Array, ""]:
    """Compute the share of pixels that an image of 8 bits has as 0, in [0, 1]."""
    low, high = image_range
    return jnp.mean(images < low + (high - low) / 510)


def diversity(generated: Float[Array, "n ..."], real: Float[Array, "m ..."]) -> Float[Array, ""]:
    """Compute the total variance of generated examples, divided by that of real ones.

    It is about 1 if the generator varies as much as the data, and 0 if all examples are the same.
    """

    def total_variance(examples: Float[Array, "n ..."]) -> Float[Array, ""]:
        return jnp.sum(jnp.var(examples.reshape(len(examples), -1), axis=0, ddof=1))

    smallest = jnp.finfo(real.dtype).tiny
    return total_variance(generated) / jnp.maximum(total_variance(real), smallest)


def spread(images: Images, image_range: tuple[float, float] | None) -> Float[Array, ""]:
    """Compute the largest difference of a pixel between two of the images, as a share of the range.

    Below 1/510, half a grey level of 8 bits, all images are the same to the eye and in a file.

    Args:
        images: generated images, or points.
        image_range: the smallest and the largest possible value; None for points, whose difference
            is not divided.
    """
    low, high = image_range or (0.0, 1.0)
    return jnp.max(jnp.max(images, axis=0) - jnp.min(images, axis=0)) / (high - low)


def alarms(values: Mapping[str, float]) -> dict[str, str]:
    """Describe what looks wrong in the metrics of a run, and what to try.

    Args:
        values: metrics by name, as training logs them. Metrics that are missing raise no alarm.

    Returns:
        Name of each alarm → one sentence.
    """
    return _network_alarms(values) | _image_alarms(values)


def _finite_or_nan(values: Mapping[str, float], name: str) -> float:
    """Return a metric, or NaN if it is missing or infinite, so that no comparison holds."""
    value = values.get(name, nan)
    return value if isfinite(value) else nan


def _network_alarms(values: Mapping[str, float]) -> dict[str, str]:
    """Describe what looks wrong in parameters, logits and gradients."""

    def value(name: str) -> float:
        return _finite_or_nan(values, name)

    raised = {}
    for network in NETWORKS:
        prefix = f"{network}/sparsity/"
        shares = [
            value(name) for name in values if name.startswith(prefix) and not name.endswith("/bias")
        ]
        if shares and all(share == 1 for share in shares):
            raised["all zero"] = (
                f"all penalised parameters of the {network} are zero: try a smaller "
                f"--{network}.penalty.strength or --{network}.learning-rate, or a warm-up by "
                f"--{network}.strength-schedule.warmup, in another --workdir."
            )
    difference = value("discriminator/real_logit") - value("discriminator/fake_logit")
    if difference == 0:
        raised["constant logits"] = (
            "the discriminator gives every image the same logit, and the generator learns nothing "
            "from it: try a smaller --discriminator.penalty.strength or "
            "--discriminator.learning-rate."
        )
    if value("discriminator/accuracy") > 0.995:
        raised["discriminator wins"] = (
            "the discriminator tells almost every real image from a generated one: try "
            "--objective.r1, a smaller --discriminator.learning-rate, or --objective.balance with "
            "a penalty on the discriminator."
        )
    logits = [abs(value(f"discriminator/{kind}_logit")) for kind in ("real", "fake")]
    if any(logit > 1000 for logit in logits):
        raised["divergence"] = (
            "the discriminator's logits are beyond 1,000: try smaller --generator.learning-rate "
            "and --discriminator.learning-rate, or --objective.r1."
        )
    gradient_norm = value("generator/gradient_norm")
    if gradient_norm < 1e-7:
        raised["vanishing gradient"] = (
            f"the generator's gradient has a norm of {gradient_norm:.2g}, so it no longer trains: "
            "try another --objective.loss, --objective.r1, or a smaller strength."
        )
    prefix = "generator/dead/"
    dead = [
        name.removeprefix(prefix) for name in values if name.startswith(prefix) and value(name) == 1
    ]
    if dead:
        raised["dead layer"] = (
            f"no unit of the generator's {', '.join(dead)} changes its output: try a smaller "
            "--generator.penalty.strength, or a warm-up by --generator.strength-schedule.warmup."
        )
    return raised


def _image_alarms(values: Mapping[str, float]) -> dict[str, str]:
    """Describe what looks wrong in the generated images."""

    def value(name: str) -> float:
        return _finite_or_nan(values, name)

    raised = {}
    if value("generator/spread") < 1 / 510:
        raised["constant images"] = (
            "the generated images no longer depend on the latents, all are the same: try a smaller "
            "--generator.penalty.strength or --generator.learning-rate, in another --workdir."
        )
    diversity_of_images = value("generator/diversity")
    if diversity_of_images < 0.1:
        raised["collapse"] = (
            f"the generated images differ {diversity_of_images:.2g} times as much as real ones, "
            "which looks like mode collapse: try --objective.loss relativistic_pairing with "
            "--objective.r1 and --objective.r2, --model.packing 2, or a smaller strength."
        )
    generated = value("generator/output_sparsity")
    real = value("real/output_sparsity")
    if generated - real > 0.3:
        raised["sparse outputs"] = (
            f"{100 * generated:.0f} % of the generated pixels are 0, of the real ones "
            f"{100 * real:.0f} %: try a smaller strength."
        )
    generated = value("generator/saturation")
    real = value("real/saturation")
    if generated - real > 0.3:
        raised["saturated outputs"] = (
            f"{100 * generated:.0f} % of the generated pixels are at an end of their range, of the "
            f"real ones {100 * real:.0f} %: try a smaller --generator.learning-rate."
        )
    return raised

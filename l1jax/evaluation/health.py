"""Whether a generator is well: units that died, outputs that saturate, images that are all alike, and what to try."""

from collections.abc import Callable, Mapping, Sequence
from math import isfinite, nan
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key

from l1jax.models.summary import Layer

AT_ONCE = frozenset({"all zero", "constant images"})  # alarms of what no network starts with
EVERY_LINE = frozenset(
    {"constant logits"}
)  # alarms that need no look at images, and may be chance for one line
NETWORKS = ("generator", "discriminator", "encoder")
Images = Float[Array, "batch height width channels"]


def dead_units(
    forward: Callable[[], Float[Array, "batch ..."]],
    layers: Sequence[Layer],
    batch: int,
    key: Key[Array, ""],
) -> dict[str, Float[Array, ""]]:
    """Share of each layer's units that cannot move the network's outputs on a batch; works under `jit`.

    A unit is an entry along the last axis of the layer's output. It is dead if the derivative of a random
    combination of all outputs with respect to it is zero for every example and pixel: its activation is
    never on, everything behind it is zero or saturated, or the kernel that reads it is zero there.

    Args:
        forward: one pass of the network's Linen module over the batch.
        layers: what `l1jax.models.summary.layers` gives for the network.
        batch: examples of the pass.
        key: of the combination.

    Returns:
        Layer name → share in [0, 1].
    """
    still = {layer.name: jnp.zeros((batch, *layer.output)) for layer in layers}

    def moved(shifts: Mapping[str, Array]) -> Array:
        def shift(
            call: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext
        ) -> Any:
            output, name = call(*args, **kwargs), "/".join(context.module.path)
            ours = context.method_name == "__call__" and name in shifts
            return output + shifts[name].astype(output.dtype) if ours else output

        with nn.intercept_methods(shift):
            return forward()

    outputs, pullback = jax.vjp(moved, still)
    (derivatives,) = pullback(jax.random.normal(key, outputs.shape, outputs.dtype))

    def share(derivative: Array) -> Float[Array, ""]:
        return jnp.mean(jnp.all(derivative == 0, axis=tuple(range(derivative.ndim - 1))))

    return {name: share(derivative) for name, derivative in derivatives.items()}


def saturation(
    images: Images, image_range: tuple[float, float], margin: float = 0.01
) -> Float[Array, ""]:
    """Share of the entries within `margin` of the range's ends, in [0, 1]."""
    low, high = image_range
    near = margin * (high - low)
    return jnp.mean((images <= low + near) | (images >= high - near))


def output_sparsity(images: Images, image_range: tuple[float, float]) -> Float[Array, ""]:
    """Share of the entries that an image of 8 bits has as 0, in [0, 1]."""
    low, high = image_range
    return jnp.mean(images < low + (high - low) / 510)


def diversity(generated: Float[Array, "n ..."], real: Float[Array, "m ..."]) -> Float[Array, ""]:
    """Mean squared distance between two generated examples over that between two real ones.

    About 1 where the generator varies as much as the data; 0 where all that it makes is the same.
    """

    def spread(examples: Float[Array, "n ..."]) -> Float[Array, ""]:
        return jnp.sum(jnp.var(examples.reshape(len(examples), -1), axis=0, ddof=1))

    return spread(generated) / jnp.maximum(spread(real), jnp.finfo(real.dtype).tiny)


def spread(images: Images, image_range: tuple[float, float] | None) -> Float[Array, ""]:
    """Largest difference of any entry between two of the images, as a share of the range; of points as it is.

    Below 1/510, half a grey level of 8 bits, the images are all the same to the eye and to the file.
    """
    low, high = image_range or (0.0, 1.0)
    return jnp.max(jnp.max(images, axis=0) - jnp.min(images, axis=0)) / (high - low)


def alarms(values: Mapping[str, float]) -> dict[str, str]:
    """Say what looks wrong in the metrics of a run, and what to try.

    Args:
        values: metrics by name, as training logs them; those that are missing raise no alarm.

    Returns:
        Name of each alarm → one sentence.
    """

    def value(name: str) -> float:
        found = values.get(name, nan)
        return found if isfinite(found) else nan

    raised = {}
    for network in NETWORKS:
        prefix = f"{network}/sparsity/"
        zeros = [
            value(name) for name in values if name.startswith(prefix) and not name.endswith("/bias")
        ]
        if zeros and all(share == 1 for share in zeros):
            raised["all zero"] = (
                f"all penalised parameters of the {network} are zero: try a smaller "
                f"--{network}.penalty.strength or --{network}.learning-rate, or a warm-up by "
                f"--{network}.strength-schedule.warmup, in another --workdir."
            )
    if value("generator/spread") < 1 / 510:
        raised["constant images"] = (
            "the generated images no longer depend on the latents, all are the same: try a smaller "
            "--generator.penalty.strength or --generator.learning-rate, in another --workdir."
        )
    apart = value("discriminator/real_logit") - value("discriminator/fake_logit")
    if apart == 0:
        raised["constant logits"] = (
            "the discriminator gives every image the same logit, and the generator learns nothing from it: try a "
            "smaller --discriminator.penalty.strength or --discriminator.learning-rate."
        )
    if value("generator/diversity") < 0.1:
        raised["collapse"] = (
            f"the generated images differ {value('generator/diversity'):.2g} times as much as real ones, which looks "
            "like mode collapse: try --objective.loss relativistic_pairing with --objective.r1 and --objective.r2, "
            "--model.packing 2, or a smaller strength."
        )
    if value("discriminator/accuracy") > 0.995:
        raised["discriminator wins"] = (
            "the discriminator tells almost every real image from a generated one: try --objective.r1, a smaller "
            "--discriminator.learning-rate, or --objective.balance with a penalty on the discriminator."
        )
    logits = (abs(value(f"discriminator/{kind}_logit")) for kind in ("real", "fake"))
    if max((logit for logit in logits if isfinite(logit)), default=0.0) > 1000:
        raised["divergence"] = (
            "the discriminator's logits are beyond 1,000: try smaller --generator.learning-rate and "
            "--discriminator.learning-rate, or --objective.r1."
        )
    if value("generator/gradient_norm") < 1e-7:
        raised["vanishing gradient"] = (
            f"the generator's gradient has a norm of {value('generator/gradient_norm'):.2g} and trains no more: try "
            "another --objective.loss, --objective.r1, or a smaller strength."
        )
    dead = [
        name.removeprefix("generator/dead/")
        for name in values
        if name.startswith("generator/dead/") and value(name) == 1
    ]
    if dead:
        raised["dead layer"] = (
            f"no unit of the generator's {', '.join(dead)} moves its output: try a smaller "
            "--generator.penalty.strength, or a warm-up by --generator.strength-schedule.warmup."
        )
    beyond = value("generator/output_sparsity") - value("real/output_sparsity")
    if beyond > 0.3:
        raised["sparse outputs"] = (
            f"{100 * value('generator/output_sparsity'):.0f} % of the generated pixels are 0, of the real ones "
            f"{100 * value('real/output_sparsity'):.0f} %: try a smaller strength."
        )
    beyond = value("generator/saturation") - value("real/saturation")
    if beyond > 0.3:
        raised["saturated outputs"] = (
            f"{100 * value('generator/saturation'):.0f} % of the generated pixels are at an end of their range, of the "
            f"real ones {100 * value('real/saturation'):.0f} %: try a smaller --generator.learning-rate."
        )
    return raised

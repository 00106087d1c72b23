"""One step of a flow model."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key, PyTree

from l1jax.data.batches import Batch
from l1jax.models import Flow, from_uint8
from l1jax.models.network import AXIS, local_slice
from l1jax.objectives.flow_matching import (
    Pairing,
    TimeLaw,
    between,
    draw_times,
    velocity_error,
)
from l1jax.objectives.pairing import optimal_pairing
from l1jax.training.keys import named_key
from l1jax.training.state import GeneratorState, Metrics, Step
from l1jax.training.step import (
    Gradients,
    accumulate_gradients,
    commit_or_skip,
    gradient_norms,
    pmean_gradients,
    update_network,
    varying,
)


def make_flow_step(
    flow: Flow,
    tx: optax.GradientTransformation,
    *,
    times: TimeLaw = "logit_normal",
    time_mean: float = 0.0,
    time_deviation: float = 1.0,
    label_dropout: float = 0.0,
    pairing: Pairing = "independent",
    accumulate: int = 1,
    ema_decay: optax.ScalarOrSchedule = 0.999,
) -> Step:
    """Build the step (state, batch, key) → (state, metrics), on one device of several.

    It minimises E |v(x_t, t) − (x₁ − x₀)|², mean over an image's entries. Noise, times and which
    labels are dropped are functions of (key, index in the whole batch), so any number of devices
    trains the same model. A step whose loss or gradients are not finite changes nothing but the
    count.

    Args:
        flow: the networks.
        tx: the predictor's optimiser, penalty included.
        times: law of the times, as in `draw_times`.
        time_mean: as in `draw_times`.
        time_deviation: as in `draw_times`.
        label_dropout: share of the labels that are replaced by none, for guidance.
        pairing: "optimal" gives each image the noise of `optimal_pairing` in the whole batch, which
            every device finds for itself; "independent" any.
        accumulate: number of parts of the batch, computed one after the other.
        ema_decay: decay of the predictor's average per step, in [0, 1).

    Source: Lipman et al., ICLR 2023, equation 23; Tong et al., TMLR 2024, for the pairing.
    """
    classes = flow.generator.classes

    def flow_step(
        state: GeneratorState, batch: Batch, key: Key[Array, ""]
    ) -> tuple[GeneratorState, Metrics]:
        image = from_uint8(batch.example[0], flow.generator.image_range)
        label = jnp.asarray(batch.label[0])
        whole_batch = image.shape[0] * jax.lax.axis_size(AXIS)
        normal = jax.random.normal(named_key(key, "noise"), (whole_batch, *image.shape[1:]))
        if pairing == "optimal":
            images = jax.lax.all_gather(image, AXIS, tiled=True)
            normal = normal[optimal_pairing(images, normal)]
        noise = local_slice(normal)
        drawn = draw_times(named_key(key, "times"), whole_batch, times, time_mean, time_deviation)
        time = local_slice(drawn)
        if classes and label_dropout:
            dropped = jax.random.bernoulli(named_key(key, "labels"), label_dropout, (whole_batch,))
            label = jnp.where(local_slice(dropped), classes, label)
        params = varying(state.generator.params)

        def of_part(part: tuple[Array, ...], key: Key[Array, ""]) -> Gradients:
            image, noise, time, label = part

            def loss(params: PyTree) -> tuple[Float[Array, ""], tuple[PyTree, Metrics]]:
                velocity, batch_stats = flow.velocity(
                    params,
                    state.generator.batch_stats,
                    between(noise, image, time),
                    time,
                    True,
                    label,
                    named_key(key, "generator"),
                )
                value = jnp.mean(velocity_error(velocity, noise, image))
                return value, (batch_stats, {"generator/loss": value})

            grads, (batch_stats, metrics) = jax.grad(loss, has_aux=True)(params)
            return Gradients(grads, batch_stats, metrics)

        inputs = (image, noise, time, label)
        gradients = accumulate_gradients(of_part, inputs, key, accumulate)
        grads, batch_stats, metrics = pmean_gradients(gradients, accumulate)
        metrics |= gradient_norms("generator", grads)
        network = update_network(state.generator, grads, batch_stats, tx)
        return commit_or_skip(state._replace(generator=network), state, metrics, ema_decay)

    return flow_step

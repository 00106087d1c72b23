"""One step of a flow model."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Key, PyTree

from l1jax.data.batches import Batch
from l1jax.models import Flow, from_uint8
from l1jax.models.conditional import no_class
from l1jax.models.flow_sampling import guided
from l1jax.models.network import AXIS, Images, Labels, local_slice
from l1jax.objectives.flow_matching import (
    Pairing,
    TimeLaw,
    Times,
    between,
    draw_times,
    velocity_error,
)
from l1jax.objectives.mean_flow import Intervals, draw_intervals, split_target
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


class Part(NamedTuple):
    """Images of the batch, and what is drawn for them."""

    image: Images
    noise: Images
    label: Labels
    intervals: Intervals


def make_flow_step(
    flow: Flow,
    tx: optax.GradientTransformation,
    *,
    times: TimeLaw = "logit_normal",
    time_mean: float = 0.0,
    time_deviation: float = 1.0,
    label_dropout: float = 0.0,
    pairing: Pairing = "independent",
    dequantize: bool = False,
    instants: float = 1.0,
    whole: float = 0.0,
    guidance: float = 0.0,
    accumulate: int = 1,
    ema_decay: optax.ScalarOrSchedule = 0.999,
) -> Step:
    """Build the step (state, batch, key) → (state, metrics), on one device of several.

    It minimises E |v(x_t, t) − (x₁ − x₀)|², mean over an image's entries. Noise, times and which
    labels are dropped are functions of (key, index in the whole batch), so any number of devices
    trains the same model. A step whose loss or gradients are not finite changes nothing but the
    count.

    With `instants` below 1 the rest of the batch learns the average velocity over an interval, as
    `l1jax.objectives.mean_flow` says. What it is to be is computed without dropout, and no gradient
    goes through it.

    Args:
        flow: the networks.
        tx: the predictor's optimiser, penalty included.
        times: law of the times, as in `draw_times`.
        time_mean: as in `draw_times`.
        time_deviation: as in `draw_times`.
        label_dropout: share of the labels that are replaced by none, for guidance.
        pairing: "optimal" gives each image the noise of `optimal_pairing` in the whole batch, which
            every device finds for itself; "independent" any.
        dequantize: whether each byte of the images gets uniform noise between −½ and ½, so that
            they have a density, from which `flow_log_likelihood` bounds the probability of bytes.
        instants: share of the batch that learns the velocity at a time, as flow matching does.
        whole: share of the batch that learns the average over the whole way.
        guidance: w; above 0 the velocity that is learned for a class is that of `guided`.
        accumulate: number of parts of the batch, computed one after the other.
        ema_decay: decay of the predictor's average per step, in [0, 1).

    Source: Lipman et al., ICLR 2023, equation 23; Tong et al., TMLR 2024, for the pairing; Geng et
    al., NeurIPS 2025, section 4.2, for guidance that is learned; Theis, van den Oord, Bethge, ICLR
    2016, section 3.1, for noise on bytes.
    """
    classes = flow.generator.classes

    def draw_inputs(batch: Batch, key: Key[Array, ""]) -> Part:
        examples = batch.example[0]
        label = jnp.asarray(batch.label[0])
        whole_batch = examples.shape[0] * jax.lax.axis_size(AXIS)
        whole_shape = (whole_batch, *examples.shape[1:])
        if dequantize:
            uniform = jax.random.uniform(named_key(key, "bytes"), whole_shape)
            examples = examples + local_slice(uniform - 0.5)
        image = from_uint8(examples, flow.generator.image_range)
        normal = jax.random.normal(named_key(key, "noise"), whole_shape)
        if pairing == "optimal":
            images = jax.lax.all_gather(image, AXIS, tiled=True)
            normal = normal[optimal_pairing(images, normal)]
        noise = local_slice(normal)
        law = (times, time_mean, time_deviation)
        drawn = draw_times(named_key(key, "times"), whole_batch, *law)
        intervals = Intervals(drawn, jnp.zeros_like(drawn), jnp.zeros_like(drawn))
        if instants < 1:
            intervals = draw_intervals(named_key(key, "intervals"), drawn, instants, whole, *law)
        if classes and label_dropout:
            dropped = jax.random.bernoulli(named_key(key, "labels"), label_dropout, (whole_batch,))
            label = jnp.where(local_slice(dropped), classes, label)
        return Part(image, noise, label, Intervals(*map(local_slice, intervals)))

    def target(state: GeneratorState, part: Part, x: Images) -> Images:
        """Compute what the network is to give at x."""

        def velocity(x: Images, time: Times, length: Times, label: Labels = part.label) -> Images:
            network = state.generator
            return flow.velocity(
                network.params, network.batch_stats, x, time, False, label, length=length
            )[0]

        time, length, _ = part.intervals
        wanted = part.image - part.noise
        if guidance:
            plain = velocity(x, time, jnp.zeros_like(time), no_class(part.label, classes))
            has_class = _as_column(part.label < classes, x)
            wanted = jnp.where(has_class, guided(wanted, plain, guidance), wanted)
        if instants < 1:
            is_instant = _as_column(length == 0, x)
            wanted = jnp.where(is_instant, wanted, split_target(velocity, x, part.intervals))
        return wanted

    def flow_step(
        state: GeneratorState, batch: Batch, key: Key[Array, ""]
    ) -> tuple[GeneratorState, Metrics]:
        params = varying(state.generator.params)

        def of_part(part: Part, key: Key[Array, ""]) -> Gradients:
            time, length, _ = part.intervals
            x = between(part.noise, part.image, time)
            wanted = target(state, part, x)

            def loss(params: PyTree) -> tuple[Float[Array, ""], tuple[PyTree, Metrics]]:
                velocity, batch_stats = flow.velocity(
                    params,
                    state.generator.batch_stats,
                    x,
                    time,
                    True,
                    part.label,
                    named_key(key, "generator"),
                    length,
                )
                value = jnp.mean(velocity_error(velocity, wanted))
                return value, (batch_stats, {"generator/loss": value})

            grads, (batch_stats, metrics) = jax.grad(loss, has_aux=True)(params)
            return Gradients(grads, batch_stats, metrics)

        gradients = accumulate_gradients(of_part, draw_inputs(batch, key), key, accumulate)
        grads, batch_stats, metrics = pmean_gradients(gradients, accumulate)
        metrics |= gradient_norms("generator", grads)
        network = update_network(state.generator, grads, batch_stats, tx)
        return commit_or_skip(state._replace(generator=network), state, metrics, ema_decay)

    return flow_step


def _as_column(mask: Bool[Array, " batch"], x: Images) -> Bool[Array, "batch *ones"]:
    return mask.reshape(-1, *[1] * (x.ndim - 1))

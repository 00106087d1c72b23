"""Flow models: a network that predicts velocities, and the generator that follows them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, PyTree

from l1jax.models.conditional import no_class, with_label
from l1jax.models.flow_inputs import length_input, split_inputs, wave_features
from l1jax.models.flow_sampling import (
    FlowSampler,
    Points,
    Prediction,
    SamplingMethod,
    Time,
    guided,
    integrate,
    leap,
    time_grid,
    to_velocity,
)
from l1jax.models.linear import Dense, Precision, at_least_float32, compute_dtype
from l1jax.models.mlp import OUTPUTS, RANGES
from l1jax.models.network import (
    ClassWeights,
    Generator,
    Labels,
    Network,
    Velocities,
    linen_network,
)
from l1jax.models.regularisation import Dropout
from l1jax.models.summary import summarise


class Flow(NamedTuple):
    """A flow from noise to images.

    predictor: the network that is trained. Its inputs are an image's entries and the time, side by
        side, and the length of an interval of time if it gives average velocities; its output is
        what `predicts` names.
    generator: follows the velocities from latents, which are the noise, to images. Its parameters
        are the predictor's.
    predicts: "velocity", "image" or "noise".
    average_velocity: whether the network gives average velocities over intervals, too.
    """

    predictor: Network
    generator: Generator
    predicts: Prediction
    average_velocity: bool = False

    def velocity(
        self,
        params: PyTree,
        batch_stats: PyTree,
        x: Points,
        time: Float[Array, " batch"],
        train: bool,
        label: Labels | ClassWeights | None = None,
        key: Any = None,
        length: Float[Array, " batch"] | None = None,
    ) -> tuple[Points, PyTree]:
        """Compute the velocity at each point, and the new batch statistics.

        Over an interval of some length it is the average velocity (x_s − x_t)/(s − t) from t to
        s = t + length on the way through the point.

        Args:
            params: of the predictor.
            batch_stats: of the predictor.
            x: the points.
            time: of each.
            train: as in `Apply`.
            label: class of each point, or weights of the classes; the number of classes, or zeros,
                stand for none of them.
            key: of dropout.
            length: of the interval that begins at each time, if the network gives average
                velocities; None for 0, the velocity at that time.
        """
        columns = [x.reshape(x.shape[0], -1), time]
        if self.average_velocity:
            columns.append(jnp.zeros_like(time) if length is None else length)
        inputs = jnp.column_stack(columns)
        output, batch_stats = self.predictor.apply(params, batch_stats, inputs, train, label, key)
        return to_velocity(output, x, time, self.predicts), batch_stats

    def summary(self) -> str:
        """Tabulate the predictor, whose work is that of one evaluation."""
        return summarise(self.predictor.init, "predictor")


class FlowDense(nn.Module):
    """Dense layers with SiLU from an image, a time and a class to a prediction.

    With `average_velocity` they read the length of an interval, too.
    """

    hidden: Sequence[int]
    image_shape: tuple[int, int, int]
    time_features: int
    output: Any
    classes: int
    average_velocity: bool
    dropout: float
    dtype: Any

    @nn.compact
    def __call__(
        self,
        inputs: Float[Array, "batch entries"],
        train: bool,
        label: Labels | ClassWeights | None = None,
    ) -> Float[Array, "batch height width channels"]:
        """Predict; only dropout makes a difference in training."""
        height, width, channels = self.image_shape
        first, *others = self.hidden
        image, time, length = split_inputs(inputs, self.image_shape, self.average_velocity)
        condition = with_label(wave_features(time, self.time_features), label, self.classes)
        x = Dense(first, use_bias=False, dtype=self.dtype, name="hidden_0")(image)
        x = x + Dense(first, dtype=self.dtype, name="condition")(condition)
        if length is not None:
            x = x + length_input(length, self.time_features, first, self.dtype)
        x = Dropout(self.dropout, name="dropout_0")(nn.silu(x), train)
        for i, features in enumerate(others, 1):
            x = nn.silu(Dense(features, dtype=self.dtype, name=f"hidden_{i}")(x))
            x = Dropout(self.dropout, name=f"dropout_{i}")(x, train)
        x = Dense(height * width * channels, dtype=self.dtype, name="image")(x)
        return self.output(at_least_float32(x)).reshape(-1, *self.image_shape)


def flow_mlp(
    image_shape: tuple[int, int, int],
    hidden: Sequence[int] = (256, 256, 256),
    time_features: int = 64,
    predicts: Prediction = "image",
    output: str = "tanh",
    classes: int = 0,
    dtype: Precision = "float32",
    *,
    generator_dropout: float = 0.0,
    average_velocity: bool = False,
    method: SamplingMethod = "midpoint",
    sampling_steps: int = 16,
    time_shift: float = 1.0,
    guidance: float = 0.0,
) -> Flow:
    """Build a dense flow model, for points and small images.

    Args:
        image_shape: height, width, channels; (1, 1, n) for points in n dimensions.
        hidden: width of each hidden layer, of which there is at least one.
        time_features: number of cosines and sines of the time beside the image; even.
        predicts: what the network gives: "image", the clean image, through the output's activation;
            "velocity" or "noise", without one.
        output: "tanh" for images in [-1, 1], "linear" for points, which have no range.
        classes: number of classes of a class-conditional model; 0 for an unconditional one.
        dtype: "float32", or "bfloat16" to compute in bfloat16 with float32 parameters.
        generator_dropout: share of the activations that training sets to zero, in [0, 1).
        average_velocity: whether the network reads the length of an interval of time, too, and
            gives the average velocity over it.
        method: how velocities are followed: "euler", "midpoint", "heun", or "average", one
            evaluation for each step, which needs `average_velocity`.
        sampling_steps: steps from noise to an image.
        time_shift: above 1 for more of these near the noise; see `time_grid`.
        guidance: w of classifier-free guidance, v + w·(v − v without the class); 0 for none.

    Raises:
        ValueError: if there is guidance without classes or with the method "average", this method
            without `average_velocity`, no hidden layer, an odd `time_features`, or the steps or
            the shift are impossible.

    Source: Lipman et al., ICLR 2023; Ho and Salimans, "Classifier-free diffusion guidance", 2022.
    """
    sampler = flow_sampler(method, sampling_steps, time_shift, guidance, classes, average_velocity)
    if not hidden:
        raise ValueError("`hidden` (=()) must have the width of at least one layer.")
    if time_features < 2 or time_features % 2:
        raise ValueError(f"`time_features` (={time_features}) must be even and at least 2.")
    activation = OUTPUTS[output] if predicts == "image" else OUTPUTS["linear"]
    module = FlowDense(
        tuple(hidden),
        image_shape,
        time_features,
        activation,
        classes,
        average_velocity,
        generator_dropout,
        compute_dtype(dtype),
    )
    size = int(np.prod(image_shape))
    predictor = linen_network(module, (size + 1 + average_velocity,), classes)
    return make_flow(
        predictor,
        predicts,
        image_shape,
        RANGES[output],
        classes,
        sampler,
        average_velocity,
    )


def flow_sampler(
    method: SamplingMethod,
    steps: int,
    shift: float,
    guidance: float,
    classes: int,
    average_velocity: bool,
) -> FlowSampler:
    """Make the sampler of a model that can be drawn from in this way.

    Args:
        method: how velocities are followed.
        steps: from noise to an image.
        shift: of the time, as in `time_grid`.
        guidance: of classifier-free guidance.
        classes: of the model; 0 for none.
        average_velocity: whether the model gives average velocities.

    Raises:
        ValueError: if there is guidance without classes, average velocities are followed that the
            model does not give, or are guided, or the steps or the shift are impossible.
    """
    if method == "average" and not average_velocity:
        raise ValueError(
            f"`method` (={method}) must be euler, midpoint or heun for a model without average "
            "velocities: train one with --objective mean-flow and --model.average-velocity."
        )
    if method == "average" and guidance:
        raise ValueError(
            f"`guidance` (={guidance}) must be 0 for `method` (=average), which has the guidance "
            "that it was trained with (`objective.guidance`)."
        )
    if guidance and not classes:
        raise ValueError(
            f"`guidance` (={guidance}) must be 0 for a model without classes: give "
            "`model.classes`, or leave it out."
        )
    return FlowSampler(method, tuple(time_grid(steps, shift).tolist()), guidance)


def make_flow(
    predictor: Network,
    predicts: Prediction,
    image_shape: tuple[int, int, int],
    image_range: tuple[float, float] | None,
    classes: int,
    sampler: FlowSampler,
    average_velocity: bool = False,
) -> Flow:
    """Make a flow of a predictor, with the generator that follows its velocities.

    Args:
        predictor: the network, as `Flow` has it.
        predicts: what its output is.
        image_shape: height, width, channels.
        image_range: smallest and largest entry of an image; None for points.
        classes: number of classes; 0 for none.
        sampler: how the generator goes from noise to images.
        average_velocity: whether the predictor reads lengths of intervals.
    """
    size = int(np.prod(image_shape))

    def generate(
        params: PyTree,
        batch_stats: PyTree,
        inputs: Any,
        train: bool,
        label: Any = None,
        key: Any = None,
    ) -> tuple[Any, PyTree]:
        def velocity(x: Points, time: Time) -> Points:
            at = jnp.full(x.shape[0], time, jnp.float32)
            found, _ = flow.velocity(params, batch_stats, x, at, train, label, key)
            if not sampler.guidance:
                return found
            without = no_class(label, classes)
            plain, _ = flow.velocity(params, batch_stats, x, at, train, without, key)
            return guided(found, plain, sampler.guidance)

        def average(x: Points, time: Time, length: Time) -> Points:
            at, over = (jnp.full(x.shape[0], value, jnp.float32) for value in (time, length))
            return flow.velocity(params, batch_stats, x, at, train, label, key, over)[0]

        noise = inputs.reshape(-1, *image_shape)
        times = np.asarray(sampler.times)
        if sampler.method == "average":
            images = leap(average, noise, times)
        else:
            images = integrate(velocity, noise, times, sampler.method)
        if image_range is not None:
            images = jnp.clip(images, *image_range)
        return images, batch_stats

    settings = {
        "predicts": predicts,
        "image_shape": image_shape,
        "image_range": image_range,
        "classes": classes,
        "average_velocity": average_velocity,
    }
    generator = Generator(
        Network(predictor.init, generate),
        size,
        image_shape,
        image_range,
        classes,
        velocities=Velocities(predictor, sampler, settings),
    )
    flow = Flow(predictor, generator, predicts, average_velocity)  # what `generate` calls
    return flow


def with_few_steps(generator: Generator, steps: int = 4) -> Generator:
    """Let a flow model draw in a few Euler steps, without guidance.

    Its images are rough, and constant just where the predicted image is. Another generator, and a
    flow that takes no more evaluations, stay as they are.

    Args:
        generator: of any model.
        steps: that are few enough.
    """
    if generator.velocities is None or generator.evaluations <= steps:
        return generator
    predictor, _, settings = generator.velocities
    sampler = FlowSampler("euler", tuple(time_grid(steps).tolist()))
    return make_flow(predictor, **settings, sampler=sampler).generator

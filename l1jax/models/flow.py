"""Flow models: a network that predicts velocities, and the generator that follows them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, PyTree

from l1jax.models.conditional import no_class, with_label
from l1jax.models.flow_sampling import (
    Method,
    Points,
    Prediction,
    Time,
    integrate,
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

LONGEST_PERIOD = 10_000  # of a time feature, in thousandths of the whole time


class Flow(NamedTuple):
    """A flow from noise to images.

    predictor: the network that is trained. Its inputs are an image's entries and the time, side by
        side; its output is what `predicts` names.
    generator: follows the velocities from latents, which are the noise, to images. Its parameters
        are the predictor's.
    predicts: "velocity", "image" or "noise".
    """

    predictor: Network
    generator: Generator
    predicts: Prediction

    def velocity(
        self,
        params: PyTree,
        batch_stats: PyTree,
        x: Points,
        time: Float[Array, " batch"],
        train: bool,
        label: Labels | ClassWeights | None = None,
        key: Any = None,
    ) -> tuple[Points, PyTree]:
        """Compute the velocity at each point, and the new batch statistics.

        Args:
            params: of the predictor.
            batch_stats: of the predictor.
            x: the points.
            time: of each.
            train: as in `Apply`.
            label: class of each point, or weights of the classes; the number of classes, or zeros,
                stand for none of them.
            key: of dropout.
        """
        inputs = jnp.concatenate([x.reshape(x.shape[0], -1), time[:, None]], axis=1)
        output, batch_stats = self.predictor.apply(params, batch_stats, inputs, train, label, key)
        return to_velocity(output, x, time, self.predicts), batch_stats

    def summary(self) -> str:
        """Tabulate the predictor, whose work is that of one evaluation."""
        return summarise(self.predictor.init, "predictor")


class FlowDense(nn.Module):
    """Dense layers with SiLU from an image, a time and a class to a prediction."""

    hidden: Sequence[int]
    image_shape: tuple[int, int, int]
    time_features: int
    output: Any
    classes: int
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
        condition = with_label(
            wave_features(inputs[:, -1], self.time_features), label, self.classes
        )
        x = Dense(first, use_bias=False, dtype=self.dtype, name="hidden_0")(inputs[:, :-1])
        x = x + Dense(first, dtype=self.dtype, name="condition")(condition)
        x = Dropout(self.dropout, name="dropout_0")(nn.silu(x), train)
        for i, features in enumerate(others, 1):
            x = nn.silu(Dense(features, dtype=self.dtype, name=f"hidden_{i}")(x))
            x = Dropout(self.dropout, name=f"dropout_{i}")(x, train)
        x = Dense(height * width * channels, dtype=self.dtype, name="image")(x)
        return self.output(at_least_float32(x)).reshape(-1, *self.image_shape)


def wave_features(time: Float[Array, " batch"], count: int) -> Float[Array, "batch features"]:
    """Describe times by cosines and sines of 1,000·t/10,000^(k/(count/2)), k = 0, 1, ….

    Args:
        time: from 0 to 1.
        count: of the features; even.

    Source: Vaswani et al., NeurIPS 2017, section 3.5; Ho, Jain, Abbeel, NeurIPS 2020, appendix B.
    """
    half = count // 2
    frequency = 1_000 * np.float32(LONGEST_PERIOD) ** (-np.arange(half, dtype=np.float32) / half)
    angle = time[:, None] * frequency
    return jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=1)


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
    method: Method = "midpoint",
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
        method: how velocities are followed: "euler", "midpoint" or "heun".
        sampling_steps: steps from noise to an image.
        time_shift: above 1 for more of these near the noise; see `time_grid`.
        guidance: w of classifier-free guidance, v + w·(v − v without the class); 0 for none.

    Raises:
        ValueError: if there is guidance without classes or no hidden layer, `time_features` is
            odd, or the steps or the shift are impossible.

    Source: Lipman et al., ICLR 2023; Ho and Salimans, "Classifier-free diffusion guidance", 2022.
    """
    check_guidance(guidance, classes)
    if not hidden:
        raise ValueError("`hidden` (=()) must have the width of at least one layer.")
    if time_features < 2 or time_features % 2:
        raise ValueError(f"`time_features` (={time_features}) must be even and at least 2.")
    times = time_grid(sampling_steps, time_shift).tolist()
    activation = OUTPUTS[output] if predicts == "image" else OUTPUTS["linear"]
    module = FlowDense(
        tuple(hidden),
        image_shape,
        time_features,
        activation,
        classes,
        generator_dropout,
        compute_dtype(dtype),
    )
    size = int(np.prod(image_shape))
    predictor = linen_network(module, (size + 1,), classes)
    return make_flow(
        predictor, predicts, image_shape, RANGES[output], classes, times, method, guidance
    )


def check_guidance(guidance: float, classes: int) -> None:
    """Check that only a model with classes is guided.

    Raises:
        ValueError: if there is guidance without classes.
    """
    if guidance and not classes:
        raise ValueError(
            f"`guidance` (={guidance}) must be 0 for a model without classes: give "
            "`model.classes`, or leave it out."
        )


def make_flow(
    predictor: Network,
    predicts: Prediction,
    image_shape: tuple[int, int, int],
    image_range: tuple[float, float] | None,
    classes: int,
    times: Sequence[float],
    method: Method,
    guidance: float,
) -> Flow:
    """Make a flow of a predictor, with the generator that follows its velocities.

    Args:
        predictor: the network, as `Flow` has it.
        predicts: what its output is.
        image_shape: height, width, channels.
        image_range: smallest and largest entry of an image; None for points.
        classes: number of classes; 0 for none.
        times: the grid that the generator follows.
        method: of `integrate`.
        guidance: of classifier-free guidance.
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
            if not guidance:
                return found
            without = no_class(label, classes)
            plain, _ = flow.velocity(params, batch_stats, x, at, train, without, key)
            return found + guidance * (found - plain)

        noise = inputs.reshape(-1, *image_shape)
        images = integrate(velocity, noise, np.asarray(times), method)
        if image_range is not None:
            images = jnp.clip(images, *image_range)
        return images, batch_stats

    settings = {
        "predicts": predicts,
        "image_shape": image_shape,
        "image_range": image_range,
        "classes": classes,
        "times": times,
        "method": method,
        "guidance": guidance,
    }
    generator = Generator(
        Network(predictor.init, generate),
        size,
        image_shape,
        image_range,
        classes,
        velocities=Velocities(predictor, settings),
    )
    flow = Flow(predictor, generator, predicts)  # what `generate` calls
    return flow

"""One step of a generator that learns to draw given images from fixed latents."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, PyTree

from l1jax.data.batches import Batch
from l1jax.models import Generator, from_uint8
from l1jax.objectives.reconstruction import activity_l1, mean_squared_error
from l1jax.training.parts import (
    agree,
    all_finite,
    gradient_norms,
    in_parts,
    named_key,
    settle,
    update,
    varying,
)
from l1jax.training.state import Average, GeneratorState, Metrics, NetworkState


def init_generator(
    generator: Generator, tx: optax.GradientTransformation, key: Key[Array, ""]
) -> GeneratorState:
    """Draw the generator."""
    params, statistics = generator.network.init(key)
    average = Average(
        *jax.tree.map(jnp.copy, (params, statistics))
    )  # memory of its own: the state is donated
    return GeneratorState(
        jnp.zeros([], jnp.int32), NetworkState(params, statistics, tx.init(params)), average
    )


def reconstruction_step(
    generator: Generator,
    tx: optax.GradientTransformation,
    *,
    latent_key: Key[Array, ""],
    activity_strength: float = 0.0,
    hidden_activity_strength: float = 0.0,
    accumulate: int = 1,
    ema_decay: float = 0.999,
):
    """Build the step (state, batch, key) → (state, metrics), per device.

    Minimises mean squared error + activity_strength·mean|output| + hidden_activity_strength·Σ mean|hidden|,
    the sum over hidden layers, over `accumulate` parts of the batch one after the other. Example i is
    paired with the fixed latent drawn from fold_in(latent_key, i), so latents need no storage and follow
    their image through every epoch.

    Raises:
        ValueError: if `hidden_activity_strength` is set for a generator without `activations`.

    Source: Bojanowski et al., ICML 2018, section 3, with the latents held fixed.
    """

    if hidden_activity_strength and generator.activations is None:
        raise ValueError(
            f"`hidden_activity_strength` (={hidden_activity_strength}) needs a generator that gives its hidden "
            "`activations`, as `dense_generator` does; set it to 0."
        )

    def latents(index: Int[Array, " batch"]) -> Float[Array, "batch latent"]:
        keys = jax.vmap(lambda i: jax.random.fold_in(latent_key, i))(index)
        return jax.vmap(lambda key: generator.latents(key, 1)[0])(keys)

    def step(
        state: GeneratorState, batch: Batch, key: Key[Array, ""]
    ) -> tuple[GeneratorState, Metrics]:
        real, z = from_uint8(batch.image[0], generator.image_range), latents(batch.index[0])
        params = varying(state.generator.params)

        def gradient(
            part: tuple[Array, ...], key: Key[Array, ""]
        ) -> tuple[PyTree, PyTree, Metrics]:
            real, z, label = part

            def loss(params: PyTree) -> tuple[Float[Array, ""], tuple[PyTree, Metrics]]:
                images, statistics = generator.network.apply(
                    params, state.generator.statistics, z, True, label, named_key(key, "generator")
                )
                error, activity = (
                    mean_squared_error(images, real),
                    activity_l1(images, activity_strength),
                )
                if (
                    hidden_activity_strength and generator.activations
                ):  # compiled, it shares the pass above
                    hidden = generator.activations(params, z)
                    activity += sum(
                        activity_l1(outputs, hidden_activity_strength) for outputs in hidden
                    )
                metrics = {"generator/loss": error, "generator/activity_l1": activity}
                return error + activity, (statistics, metrics)

            grads, (statistics, metrics) = jax.grad(loss, has_aux=True)(params)
            return grads, statistics, metrics

        inputs = (real, z, jnp.asarray(batch.label[0]))
        grads, statistics, metrics = agree(*in_parts(gradient, inputs, key, accumulate), accumulate)
        metrics |= gradient_norms("generator", grads)
        network = update(state.generator, grads, statistics, tx)

        finite = all_finite(*metrics.values())
        new = settle(finite, state._replace(generator=network), state, ema_decay)
        return new, {**metrics, "taken": finite.astype(jnp.float32)}

    return step

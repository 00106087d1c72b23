"""One step of a generator that learns to draw given images from fixed latents."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, PyTree

from l1jax.data.batches import Batch
from l1jax.models import Generator, LanguageModel, from_uint8
from l1jax.objectives.reconstruction import activity_l1, mean_squared_error
from l1jax.training.keys import named_key
from l1jax.training.state import (
    NO_WEIGHTS,
    Average,
    GeneratorState,
    Metrics,
    NetworkState,
    Step,
    Weights,
)
from l1jax.training.step import (
    Gradients,
    accumulate_gradients,
    commit_or_skip,
    gradient_norms,
    pmean_gradients,
    update_network,
    varying,
)


def init_generator(
    generator: Generator | LanguageModel,
    tx: optax.GradientTransformation,
    key: Key[Array, ""],
    weights: Weights = NO_WEIGHTS,
) -> GeneratorState:
    """Draw the generator's parameters.

    Args:
        generator: the network.
        tx: its optimiser.
        key: for the parameters.
        weights: the generator's, if they are not drawn.
    """
    params, batch_stats = weights.get("generator") or generator.network.init(key)
    # The average starts as a copy: the step donates the whole state, so no memory is shared.
    average = Average(*jax.tree.map(jnp.copy, (params, batch_stats)))
    network = NetworkState(params, batch_stats, tx.init(params))
    return GeneratorState(jnp.zeros([], jnp.int32), network, average)


def make_reconstruction_step(
    generator: Generator,
    tx: optax.GradientTransformation,
    *,
    latent_key: Key[Array, ""],
    activity_strength: float = 0.0,
    hidden_activity_strength: float = 0.0,
    accumulate: int = 1,
    ema_decay: optax.ScalarOrSchedule = 0.999,
) -> Step:
    """Build the step (state, batch, key) → (state, metrics), on one device of several.

    It minimises mean squared error + activity_strength·mean|output| +
    hidden_activity_strength·Σ mean|hidden|, the sum over hidden layers. Example i belongs to the
    fixed latent that is drawn from fold_in(latent_key, i), so latents need no storage and follow
    their image through every epoch. A step whose loss or gradients are not finite changes
    nothing but the count.

    Args:
        generator: the network.
        tx: its optimiser, penalty included.
        latent_key: that the latents of all examples are drawn from.
        activity_strength: of the L1 term on the outputs.
        hidden_activity_strength: of the L1 term on the outputs of hidden layers.
        accumulate: number of parts of the batch, computed one after the other.
        ema_decay: decay of the generator's average per step, in [0, 1).

    Raises:
        ValueError: if `hidden_activity_strength` is set for a generator without `activations`.

    Source: Bojanowski et al., ICML 2018, section 3, with the latents held fixed.
    """
    if hidden_activity_strength and generator.activations is None:
        raise ValueError(
            f"`hidden_activity_strength` (={hidden_activity_strength}) needs a generator that "
            "gives its hidden `activations`, as `dense_generator` does; set it to 0."
        )

    def latents_of(index: Int[Array, " batch"]) -> Float[Array, "batch latent"]:
        keys = jax.vmap(lambda i: jax.random.fold_in(latent_key, i))(index)
        return jax.vmap(lambda key: generator.latents(key, 1)[0])(keys)

    def reconstruction_step(
        state: GeneratorState, batch: Batch, key: Key[Array, ""]
    ) -> tuple[GeneratorState, Metrics]:
        real = from_uint8(batch.example[0], generator.image_range)
        latents = latents_of(batch.index[0])
        params = varying(state.generator.params)

        def of_part(part: tuple[Array, Array, Array], key: Key[Array, ""]) -> Gradients:
            real, latents, label = part

            def loss(params: PyTree) -> tuple[Float[Array, ""], tuple[PyTree, Metrics]]:
                images, batch_stats = generator.network.apply(
                    params,
                    state.generator.batch_stats,
                    latents,
                    True,
                    label,
                    named_key(key, "generator"),
                )
                error = mean_squared_error(images, real)
                activity = activity_l1(images, activity_strength)
                if hidden_activity_strength and generator.activations:
                    # The compiler merges this pass with the one above.
                    hidden = generator.activations(params, latents)
                    activity += sum(
                        activity_l1(outputs, hidden_activity_strength) for outputs in hidden
                    )
                metrics = {"generator/loss": error, "generator/activity_l1": activity}
                return error + activity, (batch_stats, metrics)

            grads, (batch_stats, metrics) = jax.grad(loss, has_aux=True)(params)
            return Gradients(grads, batch_stats, metrics)

        inputs = (real, latents, jnp.asarray(batch.label[0]))
        gradients = accumulate_gradients(of_part, inputs, key, accumulate)
        grads, batch_stats, metrics = pmean_gradients(gradients, accumulate)
        metrics |= gradient_norms("generator", grads)
        network = update_network(state.generator, grads, batch_stats, tx)
        return commit_or_skip(state._replace(generator=network), state, metrics, ema_decay)

    return reconstruction_step

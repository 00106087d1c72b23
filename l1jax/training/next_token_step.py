"""One step of a language model."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, PyTree

from l1jax.data.batches import Batch
from l1jax.models import LanguageModel
from l1jax.objectives.next_token import bits, next_token_loss
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


def make_next_token_step(
    model: LanguageModel,
    tx: optax.GradientTransformation,
    *,
    accumulate: int = 1,
    ema_decay: optax.ScalarOrSchedule = 0.999,
) -> Step:
    """Build the step (state, batch, key) → (state, metrics), on one device of several.

    It minimises −log p(token | tokens before it) in nats, mean over all positions of all windows.
    The metric `bits_per_byte` is the same in bits; the end of a document counts as a byte. A step
    whose loss or gradients are not finite changes nothing but the count.

    Args:
        model: the network; its examples are windows of tokens, each with one token more than it
            predicts.
        tx: its optimiser, penalty included.
        accumulate: number of parts of the batch, computed one after the other.
        ema_decay: decay of the average per step, in [0, 1).
    """

    def next_token_step(
        state: GeneratorState, batch: Batch, key: Key[Array, ""]
    ) -> tuple[GeneratorState, Metrics]:
        params = varying(state.generator.params)

        def of_part(windows: Int[Array, "batch tokens"], key: Key[Array, ""]) -> Gradients:
            def loss(params: PyTree) -> tuple[Float[Array, ""], PyTree]:
                logits, batch_stats = model.network.apply(
                    params,
                    state.generator.batch_stats,
                    windows[:, :-1],
                    True,
                    key=named_key(key, "generator"),
                )
                return jnp.mean(next_token_loss(logits, windows[:, 1:])), batch_stats

            (value, batch_stats), grads = jax.value_and_grad(loss, has_aux=True)(params)
            return Gradients(grads, batch_stats, {"loss": value, "bits_per_byte": bits(value)})

        windows = jnp.asarray(batch.example[0])
        gradients = accumulate_gradients(of_part, windows, key, accumulate)
        grads, batch_stats, metrics = pmean_gradients(gradients, accumulate)
        metrics |= gradient_norms("generator", grads)
        network = update_network(state.generator, grads, batch_stats, tx)
        return commit_or_skip(state._replace(generator=network), state, metrics, ema_decay)

    return next_token_step

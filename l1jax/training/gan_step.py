"""One step of a GAN: `n_critic` discriminator updates, then one of the generator."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Float, Int, Key, PyTree, Shaped

from l1jax.data.batches import Batch
from l1jax.models import Gan, from_uint8
from l1jax.models.network import AXIS, local_slice
from l1jax.objectives.adversarial import AdversarialLoss
from l1jax.objectives.consistency import move_anchors
from l1jax.training.adversary import (
    NO_TERMS,
    Examples,
    Images,
    Terms,
    augmented,
    discriminator_loss,
    draw_numbers,
)
from l1jax.training.controllers import (
    Balancer,
    BalanceState,
    Controllers,
    balance_ratio,
    move_balance,
)
from l1jax.training.parts import (
    agree,
    all_finite,
    gradient_norms,
    in_parts,
    mean_over_devices,
    named_key,
    settle,
    update,
    varying,
)
from l1jax.training.state import Average, GanState, Metrics, NetworkState
from l1jax.transforms import set_scale

Adversaries = tuple[NetworkState, Controllers]  # the discriminator, and what follows the game


class Game(NamedTuple):
    """What a step needs to know besides its state; the arguments of `gan_step`."""

    gan: Gan
    loss: AdversarialLoss
    generator_tx: optax.GradientTransformation
    discriminator_tx: optax.GradientTransformation
    terms: Terms
    n_critic: int
    accumulate: int
    ema_decay: float
    balancer: Balancer | None
    adapt: Callable[..., Float[Array, ""]] | None


def init_gan(
    gan: Gan,
    generator_tx: optax.GradientTransformation,
    discriminator_tx: optax.GradientTransformation,
    key: Key[Array, ""],
    controllers: Controllers | None = None,
) -> GanState:
    """Draw both networks; `controllers` are those of the step, none by default."""
    generator_key, discriminator_key = jax.random.split(key)
    params, statistics = gan.generator.network.init(generator_key)
    generator = NetworkState(params, statistics, generator_tx.init(params))
    d_params, d_statistics = gan.discriminator.init(discriminator_key)
    discriminator = NetworkState(d_params, d_statistics, discriminator_tx.init(d_params))
    # The average starts at the generator, in memory of its own: the state is donated whole.
    average = Average(*jax.tree.map(jnp.copy, (params, statistics)))
    return GanState(
        jnp.zeros([], jnp.int32), generator, discriminator, average, controllers or Controllers()
    )


def gan_step(
    gan: Gan,
    loss: AdversarialLoss,
    generator_tx: optax.GradientTransformation,
    discriminator_tx: optax.GradientTransformation,
    *,
    terms: Terms = NO_TERMS,
    n_critic: int = 1,
    accumulate: int = 1,
    ema_decay: float = 0.999,
    balancer: Balancer | None = None,
    adapt: Callable[..., Float[Array, ""]] | None = None,
) -> Callable[[GanState, Batch, Key[Array, ""]], tuple[GanState, Metrics]]:
    """Build the step of alternating training, (state, batch, key) → (state, metrics), per device.

    The discriminator minimises its loss and `terms` on one batch of real images per update; then the
    generator minimises its own on the last batch, latents and augmentation that the discriminator
    saw. Generated images carry the labels of the real ones. Everything random is a function of (key,
    index in the whole batch): any number of devices trains the same model. A step whose losses or
    gradients are not finite changes nothing but the count.

    Args:
        gan: the networks.
        loss: what they minimise, from logits.
        generator_tx: the generator's optimiser, penalty included.
        discriminator_tx: the discriminator's.
        terms: what the discriminator minimises besides its loss, and how its images are augmented.
        n_critic: discriminator updates per step; the batch leads with as many draws.
        accumulate: parts of a device's batch, one after the other in memory. Gradients and batch
            statistics are their means: with batch norm, of statistics within the parts. One part needs
            one pass of the generator for both updates, several need two.
        ema_decay: decay of the generator's average per step, in [0, 1).
        balancer: what moves the discriminator's strength, if anything; the state has its controller.
        adapt: (probability, mean sign of the real logits, images) → probability of augmentation, if
            that is adaptive; the state has its controller.

    Source: Goodfellow et al., NeurIPS 2014, algorithm 1.
    """
    game = Game(
        gan,
        loss,
        generator_tx,
        discriminator_tx,
        terms,
        n_critic,
        accumulate,
        ema_decay,
        balancer,
        adapt,
    )
    return partial(take_step, game)


def take_step(
    game: Game, state: GanState, batch: Batch, key: Key[Array, ""]
) -> tuple[GanState, Metrics]:
    """All updates of one step; see `gan_step`."""
    keys, last = jax.random.split(key, game.n_critic), game.n_critic - 1
    image, label = jnp.asarray(batch.image), jnp.asarray(batch.label)
    adversaries = (state.discriminator, state.controllers)

    def extra_update(
        adversaries: Adversaries, draw: tuple[Any, Any, Any, Any]
    ) -> tuple[Adversaries, None]:
        examples = draw_examples(game, *draw[:3])
        return update_discriminator(game, state, adversaries, examples, *draw[2:])[0], None

    if last:
        draws = (image[:-1], label[:-1], keys[:-1], jnp.arange(last))
        adversaries, _ = jax.lax.scan(extra_update, adversaries, draws)

    key, examples, kept = keys[-1], draw_examples(game, image[-1], label[-1], keys[-1]), None
    if game.accumulate == 1:  # one pass of the generator serves both updates
        kept = jax.vjp(
            lambda p: generate(game, p, state, examples, key),
            varying(state.generator.params),
            has_aux=True,
        )
        examples = examples._replace(fake=jax.lax.stop_gradient(kept[0]))
    seen_by = adversaries[1]  # the probability of augmentation moves for the next update only
    (discriminator, controllers), metrics = update_discriminator(
        game, state, adversaries, examples, key, last
    )
    judges = (discriminator, seen_by)
    generator, judged = update_generator(game, state, judges, examples, key, kept)
    metrics |= judged
    if game.balancer is not None:
        discriminator, balance = update_balance(
            game, state, judges, generator, examples, key, judged
        )
        controllers = controllers._replace(balance=balance)
        metrics["discriminator/balance_ratio"] = balance.ratio

    finite = all_finite(*metrics.values())
    new = state._replace(generator=generator, discriminator=discriminator, controllers=controllers)
    return settle(finite, new, state, game.ema_decay), {
        **metrics,
        "taken": finite.astype(jnp.float32),
    }


def draw_examples(
    game: Game, image: Shaped[Array, "..."], label: Int[Array, " batch"], key: Key[Array, ""]
) -> Examples:
    """Real images with latents and whatever else is random, for this device's part of the batch."""
    real = from_uint8(image, game.gan.generator.image_range)
    latents = local_slice(game.gan.generator.latents(key, real.shape[0] * jax.lax.axis_size(AXIS)))
    return Examples(real, label, latents, draw_numbers(game.terms, real, key))


def generate(
    game: Game, params: PyTree, state: GanState, examples: Examples, key: Key[Array, ""]
) -> tuple[Images, PyTree]:
    """Images of these generator parameters, and the batch statistics that they move."""
    network, statistics = game.gan.generator.network, state.generator.statistics
    return network.apply(
        params, statistics, examples.latents, True, examples.label, named_key(key, "generator")
    )


def update_discriminator(
    game: Game,
    state: GanState,
    adversaries: Adversaries,
    examples: Examples,
    key: Key[Array, ""],
    i: ArrayLike,
) -> tuple[Adversaries, Metrics]:
    """The i-th update of the discriminator in this step; averages and probability follow it."""
    (network, controllers), terms = adversaries, game.terms
    params = varying(network.params)

    def gradient(penalised: bool) -> tuple[PyTree, PyTree, Metrics]:
        loss = discriminator_loss(game.gan.discriminator, game.loss, terms, penalised)

        def of_part(part: Examples, key: Key[Array, ""]) -> tuple[PyTree, PyTree, Metrics]:
            if part.fake is None:
                part = part._replace(
                    fake=generate(game, state.generator.params, state, part, key)[0]
                )
            gradient = jax.grad(loss, has_aux=True)
            grads, (statistics, metrics) = gradient(
                params, network.statistics, part, controllers, key
            )
            return grads, statistics, metrics

        return agree(*in_parts(of_part, examples, key, game.accumulate), game.accumulate)

    if terms.every > 1 and terms.has_gradients():
        due = (state.step * game.n_critic + i) % terms.every == 0
        grads, statistics, metrics = jax.lax.cond(
            due, lambda: gradient(True), lambda: gradient(False)
        )
    else:
        grads, statistics, metrics = gradient(True)
    metrics |= gradient_norms("discriminator", grads)
    network = update(network, grads, statistics, game.discriminator_tx)
    if controllers.anchors is not None:
        logits = (metrics["discriminator/real_logit"], metrics["discriminator/fake_logit"])
        controllers = controllers._replace(anchors=move_anchors(controllers.anchors, *logits))
    if controllers.probability is not None and game.adapt is not None:
        sign, images = (
            metrics["discriminator/real_sign"],
            examples.label.shape[0] * jax.lax.axis_size(AXIS),
        )
        metrics["discriminator/augmentation"] = controllers.probability
        controllers = controllers._replace(
            probability=game.adapt(controllers.probability, sign, images)
        )
    return (network, controllers), metrics


def judge(
    game: Game,
    adversaries: Adversaries,
    kind: Literal["real", "fake"],
    images: Images,
    examples: Examples,
    key: Key[Array, ""],
) -> Float[Array, " logits"]:
    """Logits of the discriminator as it is now, its batch statistics left alone."""
    (network, controllers), key = adversaries, named_key(key, f"judge {kind}")
    seen = augmented(game.terms, kind, images, examples, controllers)
    return game.gan.discriminator.apply(
        network.params, network.statistics, seen, True, examples.label, key
    )[0]


def update_generator(
    game: Game,
    state: GanState,
    adversaries: Adversaries,
    examples: Examples,
    key: Key[Array, ""],
    kept: tuple[Images, Callable[[Images], tuple[PyTree]], PyTree] | None,
) -> tuple[NetworkState, Metrics]:
    """The generator's update against the discriminator as it is now.

    Args:
        kept: the pass that the discriminator's images came from: images, pullback to the parameters,
            batch statistics; None where it is to be made again, part by part.
    """

    def of_part(part: Examples, key: Key[Array, ""]) -> tuple[PyTree, PyTree, Metrics]:
        images, pullback, statistics = kept or jax.vjp(
            lambda params: generate(game, params, state, part, key),
            varying(state.generator.params),
            has_aux=True,
        )

        def loss(fake: Images) -> tuple[Float[Array, ""], Float[Array, ""]]:
            real = judge(game, adversaries, "real", part.real, part, key)
            logits = judge(game, adversaries, "fake", fake, part, key)
            return game.loss.generator(real, logits), jnp.mean(logits)

        (value, logit), cotangent = jax.value_and_grad(loss, has_aux=True)(images)
        return (
            pullback(cotangent)[0],
            statistics,
            {"generator/loss": value, "generator/logit": logit},
        )

    grads, statistics, metrics = agree(
        *in_parts(of_part, examples, key, game.accumulate), game.accumulate
    )
    metrics |= gradient_norms("generator", grads)
    return update(state.generator, grads, statistics, game.generator_tx), metrics


def update_balance(
    game: Game,
    state: GanState,
    adversaries: Adversaries,
    generator: NetworkState,
    examples: Examples,
    key: Key[Array, ""],
    judged: Metrics,
) -> tuple[NetworkState, BalanceState]:
    """Measure the balance ratio now and then, and scale the discriminator's strength by it."""
    (network, controllers), balancer = adversaries, game.balancer
    assert balancer is not None
    assert controllers.balance is not None
    balance = controllers.balance

    def measure() -> BalanceState:
        def of_part(
            part: Examples, key: Key[Array, ""]
        ) -> tuple[Float[Array, ""], Float[Array, ""]]:
            images, _ = generate(game, generator.params, state, part, key)
            after = judge(game, adversaries, "fake", images, part, key)
            return jnp.mean(after), jnp.mean(judge(game, adversaries, "real", part.real, part, key))

        after, real = mean_over_devices(in_parts(of_part, examples, key, game.accumulate))
        limited = (
            optax.tree.get(network.opt_state, "log_scale", 0.0) < 0
        )  # its optimiser holds the zeros back
        return move_balance(
            balancer, balance, balance_ratio(judged["generator/logit"], after, real), limited
        )

    balance = jax.lax.cond(state.step % balancer.every == 0, measure, lambda: balance)
    return network._replace(
        opt_state=set_scale(network.opt_state, jnp.exp(balance.log_scale))
    ), balance

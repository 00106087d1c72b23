"""One step of a GAN: `n_critic` updates of the discriminator, then one of the generator."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Float, Key

from l1jax.data.batches import Batch
from l1jax.models.network import AXIS
from l1jax.objectives.consistency import update_anchors
from l1jax.training.controllers import BalanceState, balance_ratio, update_balance_state
from l1jax.training.discriminator_loss import Examples, Images, make_discriminator_loss
from l1jax.training.gan_passes import (
    DiscriminatorState,
    GanStepConfig,
    GeneratorVjp,
    compute_logits,
    differentiable_pass,
    draw_examples,
    generate,
)
from l1jax.training.state import GanState, Metrics, NetworkState
from l1jax.training.step import (
    Gradients,
    accumulate_gradients,
    commit_or_skip,
    gradient_norms,
    pmean,
    pmean_gradients,
    select,
    update_network,
    varying,
)
from l1jax.transforms import set_scale


def gan_step(
    config: GanStepConfig, state: GanState, batch: Batch, key: Key[Array, ""]
) -> tuple[GanState, Metrics]:
    """Take one step of alternating training, on one device of several.

    The discriminator minimises its loss and regularisers on one batch of real images per update.
    Then the generator minimises its own loss on the last batch, with the latents and the
    augmentation that the discriminator saw. Generated images carry the labels of the real ones.
    Everything random is a function of (key, index in the whole batch), so any number of devices
    trains the same model. A step whose losses or gradients are not finite changes nothing but
    the count. In the first `discriminator_first` steps the discriminator alone learns.

    Args:
        config: networks, losses and optimisers.
        state: before the step.
        batch: this device's part; it leads with `n_critic` draws.
        key: of this step, the same on all devices.

    Returns:
        The state after the step, and metrics averaged over the whole batch.

    Source: Goodfellow et al., NeurIPS 2014, algorithm 1.
    """
    if config.at_step is not None:
        config = config.at_step(config, state.step)
    keys = jax.random.split(key, config.n_critic)
    num_extra_updates = config.n_critic - 1
    image = jnp.asarray(batch.example)
    label = jnp.asarray(batch.label)
    before = DiscriminatorState(state.discriminator, state.controllers)

    def extra_update(
        discriminator: DiscriminatorState, draw: tuple[Array, Array, Array, Array]
    ) -> tuple[DiscriminatorState, None]:
        image, label, key, index = draw
        examples = draw_examples(config, image, label, key)
        updated, _ = update_discriminator(config, state, discriminator, examples, key, index)
        return updated, None

    if num_extra_updates:
        draws = (image[:-1], label[:-1], keys[:-1], jnp.arange(num_extra_updates))
        before, _ = jax.lax.scan(extra_update, before, draws)

    key = keys[-1]
    examples = draw_examples(config, image[-1], label[-1], keys[-1])
    generator_vjp = None
    if config.accumulate == 1:  # one pass of the generator serves both updates
        generator_vjp = differentiable_pass(config, state, examples, key)
        examples = examples._replace(fake=jax.lax.stop_gradient(generator_vjp.images))
    after, metrics = update_discriminator(config, state, before, examples, key, num_extra_updates)
    # The generator sees the augmentation of this update: a new probability is for the next one.
    opponent = DiscriminatorState(after.network, before.controllers)
    generator, generator_metrics = update_generator(
        config, state, opponent, examples, key, generator_vjp
    )
    metrics |= generator_metrics
    waits = state.step < config.discriminator_first
    if config.discriminator_first:
        generator = select(waits, state.generator, generator)
    discriminator, controllers = after
    if config.balancer is not None:
        fake_logit = generator_metrics["generator/logit"]
        discriminator, balance = update_balance(
            config, state, opponent, generator, examples, key, fake_logit
        )
        controllers = controllers._replace(balance=balance)
        metrics["discriminator/balance_ratio"] = balance.ratio

    new = state._replace(generator=generator, discriminator=discriminator, controllers=controllers)
    after_step, metrics = commit_or_skip(new, state, metrics, config.ema_decay)
    if config.discriminator_first:  # an average with itself would round
        average = select(waits, state.average, after_step.average)
        after_step = after_step._replace(average=average)
    return after_step, metrics


def update_discriminator(
    config: GanStepConfig,
    state: GanState,
    discriminator: DiscriminatorState,
    examples: Examples,
    key: Key[Array, ""],
    index: ArrayLike,
) -> tuple[DiscriminatorState, Metrics]:
    """Update the discriminator, then the controllers that follow its logits.

    Args:
        config: of the step.
        state: before the step, for the generator.
        discriminator: before this update.
        examples: of this update; generated images are made anew if they are not among them.
        key: of this update.
        index: of this update in the step, from 0 to `n_critic` - 1.
    """
    network, controllers = discriminator
    regularizers = config.regularizers
    params = varying(network.params)

    def compute_gradients(with_penalty: bool) -> Gradients:
        loss = make_discriminator_loss(
            config.gan.discriminator, config.loss, regularizers, with_penalty
        )

        def of_part(part: Examples, key: Key[Array, ""]) -> Gradients:
            if part.fake is None:
                fake, _ = generate(config, state.generator.params, state, part, key)
                part = part._replace(fake=fake)
            grads, (batch_stats, metrics) = jax.grad(loss, has_aux=True)(
                params, network.batch_stats, part, controllers, key
            )
            return Gradients(grads, batch_stats, metrics)

        gradients = accumulate_gradients(of_part, examples, key, config.accumulate)
        return pmean_gradients(gradients, config.accumulate)

    if regularizers.penalty_every > 1 and regularizers.has_gradient_penalty():
        update_index = state.step * config.n_critic + index
        gradients = jax.lax.cond(
            update_index % regularizers.penalty_every == 0,
            lambda: compute_gradients(True),
            lambda: compute_gradients(False),
        )
    else:
        gradients = compute_gradients(True)
    grads, batch_stats, metrics = gradients
    metrics |= gradient_norms("discriminator", grads)
    network = update_network(network, grads, batch_stats, config.discriminator_tx)
    if controllers.anchors is not None:
        anchors = update_anchors(
            controllers.anchors,
            metrics["discriminator/real_logit"],
            metrics["discriminator/fake_logit"],
        )
        controllers = controllers._replace(anchors=anchors)
    if controllers.probability is not None and config.adapt is not None:
        metrics["discriminator/augmentation"] = controllers.probability
        num_images = examples.label.shape[0] * jax.lax.axis_size(AXIS)
        sign = metrics["discriminator/real_sign"]
        probability = config.adapt(controllers.probability, sign, num_images)
        controllers = controllers._replace(probability=probability)
    return DiscriminatorState(network, controllers), metrics


def update_generator(
    config: GanStepConfig,
    state: GanState,
    opponent: DiscriminatorState,
    examples: Examples,
    key: Key[Array, ""],
    generator_vjp: GeneratorVjp | None,
) -> tuple[NetworkState, Metrics]:
    """Update the generator against the updated discriminator.

    Args:
        config: of the step.
        state: before the step.
        opponent: the updated discriminator.
        examples: of the last discriminator update.
        key: of that update.
        generator_vjp: the pass that the discriminator's images came from, if it covered the
            whole batch; None to generate again, part by part.
    """

    def of_part(part: Examples, key: Key[Array, ""]) -> Gradients:
        images, vjp, batch_stats = generator_vjp or differentiable_pass(config, state, part, key)

        def loss(fake: Images) -> tuple[Float[Array, ""], Float[Array, ""]]:
            real_logits = compute_logits(config, opponent, "real", part.real, part, key)
            fake_logits = compute_logits(config, opponent, "fake", fake, part, key)
            return config.loss.generator(real_logits, fake_logits), jnp.mean(fake_logits)

        (value, logit), cotangent = jax.value_and_grad(loss, has_aux=True)(images)
        (grads,) = vjp(cotangent)
        return Gradients(grads, batch_stats, {"generator/loss": value, "generator/logit": logit})

    gradients = accumulate_gradients(of_part, examples, key, config.accumulate)
    grads, batch_stats, metrics = pmean_gradients(gradients, config.accumulate)
    metrics |= gradient_norms("generator", grads)
    generator = update_network(state.generator, grads, batch_stats, config.generator_tx)
    return generator, metrics


def update_balance(
    config: GanStepConfig,
    state: GanState,
    opponent: DiscriminatorState,
    generator: NetworkState,
    examples: Examples,
    key: Key[Array, ""],
    fake_logit: Float[Array, ""],
) -> tuple[NetworkState, BalanceState]:
    """Measure the balance ratio every few steps, and scale the discriminator's strength by it.

    Args:
        config: of the step, with a balancer.
        state: before the step.
        opponent: the updated discriminator, with the balance before the step.
        generator: after its update.
        examples: of the last discriminator update.
        key: of that update.
        fake_logit: mean logit of the images of the generator before its update.

    Returns:
        The discriminator with the scaled strength, and the balance after the step.
    """
    network, controllers = opponent
    balancer = config.balancer
    before = controllers.balance
    assert balancer is not None
    assert before is not None

    def measure() -> BalanceState:
        def of_part(
            part: Examples, key: Key[Array, ""]
        ) -> tuple[Float[Array, ""], Float[Array, ""]]:
            images, _ = generate(config, generator.params, state, part, key)
            new_fake_logit = jnp.mean(compute_logits(config, opponent, "fake", images, part, key))
            real_logits = compute_logits(config, opponent, "real", part.real, part, key)
            return new_fake_logit, jnp.mean(real_logits)

        new_fake_logit, real_logit = pmean(
            accumulate_gradients(of_part, examples, key, config.accumulate)
        )
        # A negative scale shows that the optimiser is holding the discriminator's zeros back.
        is_limited = optax.tree.get(network.opt_state, "log_scale", 0.0) < 0
        ratio = balance_ratio(fake_logit, new_fake_logit, real_logit)
        return update_balance_state(balancer, before, ratio, is_limited)

    # While the generator waits, its update closes no part of the gap.
    is_due = (state.step % balancer.every == 0) & (state.step >= config.discriminator_first)
    balance = jax.lax.cond(is_due, measure, lambda: before)
    opt_state = set_scale(network.opt_state, jnp.exp(balance.log_scale))
    return network._replace(opt_state=opt_state), balance

"""From an experiment to the task that the loop trains."""

import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from l1jax import config
from l1jax.build import build_loss, build_model
from l1jax.build_optimizer import build_optimizer
from l1jax.data.augmentation import (
    adapt_probability,
    adaptive_augmentation,
    differentiable_augmentation,
)
from l1jax.data.batches import Batch
from l1jax.models import Gan, Generator, Vae
from l1jax.models.network import AXIS, local_slice
from l1jax.training.adversary import Terms
from l1jax.training.controllers import Balancer, init_controllers
from l1jax.training.gan_step import gan_step, init_gan
from l1jax.training.parts import named_key
from l1jax.training.reconstruction_step import init_generator, reconstruction_step
from l1jax.training.state import Metrics, Task
from l1jax.training.vae_step import init_vae, vae_step

Step = Callable[[Any, Batch, Key[Array, ""]], tuple[Any, Metrics]]


def stream(seed: int, name: str) -> Key[Array, ""]:
    """A key of its own for each use of the experiment's seed."""
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))


def make_task(experiment: config.Config, image_shape: tuple[int, int, int]) -> Task:
    """Build the task for images of this height, width and channels.

    Raises:
        InputError: if model, objective and optimisers do not go together.
    """
    model, objective = build_model(experiment.model, image_shape), experiment.objective
    optimizers = {"generator": experiment.generator}
    if (
        isinstance(model, Gan)
        and isinstance(objective, config.Adversarial)
        and experiment.discriminator
    ):
        optimizers["discriminator"] = experiment.discriminator
        task = _gan_task(experiment, objective, model, experiment.discriminator)
    elif isinstance(model, Generator) and isinstance(objective, config.Reconstruction):
        task = _generator_task(experiment, objective, model)
    elif (
        isinstance(model, Vae) and isinstance(objective, config.Variational) and experiment.encoder
    ):
        optimizers["encoder"] = experiment.encoder
        task = _vae_task(experiment, objective, model, experiment.encoder)
    else:
        raise config.InputError(
            f"`objective` (={type(objective).__name__}) does not go with `model` (={type(experiment.model).__name__}) "
            f"and the optimisers (`discriminator` {'set' if experiment.discriminator else 'None'}, `encoder` "
            f"{'set' if experiment.encoder else 'None'}): Adversarial needs a GAN and a discriminator's optimiser, "
            "Variational a VAE and an encoder's, Reconstruction a generator alone such as DenseGenerator."
        )
    if experiment.flip and (
        task.generator.image_range is None or isinstance(objective, config.Reconstruction)
    ):
        raise config.InputError(
            "`flip` (=True) must be False for points, and for Reconstruction, where each latent belongs to one image."
        )
    step = flipping(task.step) if experiment.flip else task.step
    return task._replace(step=step, penalised={name: o.penalised for name, o in optimizers.items()})


def flipping(step: Step) -> Step:
    """Mirror real images left and right, each with probability ½, before a step sees them."""

    def flipped(state: Any, batch: Batch, key: Key[Array, ""]) -> tuple[Any, Metrics]:
        image = jnp.asarray(batch.image)
        draws, local = image.shape[:2]
        coins = jax.random.bernoulli(
            named_key(key, "flip"), 0.5, (local * jax.lax.axis_size(AXIS), draws)
        )
        mirrored = local_slice(coins).T[:, :, None, None, None]
        return step(
            state, batch._replace(image=jnp.where(mirrored, image[..., ::-1, :], image)), key
        )

    return flipped


def ema_decay(experiment: config.Config) -> float:
    """Decay per step of an average with this half-life in images; 0 for none."""
    half_life = experiment.ema_half_life
    return 0.5 ** (experiment.batch_size / half_life) if half_life else 0.0


def _gan_task(
    experiment: config.Config,
    objective: config.Adversarial,
    gan: Gan,
    discriminator: config.Optimizer,
) -> Task:
    balance, ada = (
        objective.balance,
        isinstance(objective.augment, config.Ada) and objective.augment,
    )
    if balance and (
        discriminator.sparsity_target or not getattr(discriminator.penalty, "strength", 0)
    ):
        raise config.InputError(
            "`objective.balance` moves the discriminator's strength: give `discriminator.penalty` a positive strength, "
            "and no `sparsity_target`, which moves it too."
        )
    balancer = Balancer(**vars(balance)) if balance else None
    generator_tx = build_optimizer(experiment.generator)
    discriminator_tx = build_optimizer(
        discriminator, objective.n_critic, balance.max_sparsity if balance else 1.0
    )
    controllers = partial(
        init_controllers, lecam=objective.lecam > 0, adaptive=bool(ada), balance=balancer
    )
    step = gan_step(
        gan,
        build_loss(objective),
        generator_tx,
        discriminator_tx,
        terms=build_terms(objective, gan.generator.image_range),
        n_critic=objective.n_critic,
        accumulate=experiment.accumulate,
        ema_decay=ema_decay(experiment),
        balancer=balancer,
        adapt=partial(adapt_probability, target=ada.target, full_after=ada.images) if ada else None,
    )
    return Task(
        init=lambda key: init_gan(gan, generator_tx, discriminator_tx, key, controllers()),
        step=step,
        generator=gan.generator,
        draws=objective.n_critic,
        penalised={},
    )


def build_terms(objective: config.Adversarial, image_range: tuple[float, float] | None) -> Terms:
    """What the discriminator minimises besides its loss, and the augmentation of images in this range.

    Raises:
        InputError: if points, which have no range, are to be augmented.
    """

    def needed() -> tuple[float, float]:
        if image_range is None:
            raise config.InputError(
                "`objective.augment` and `objective.consistency` change images; points have none."
            )
        return image_range

    augmentation, consistent = None, None
    match objective.augment:
        case config.DiffAugment() as chosen:
            names = {
                "color": chosen.colour,
                "translation": chosen.translation,
                "cutout": chosen.cutout,
            }
            augmentation = differentiable_augmentation(
                *(name for name, used in names.items() if used), image_range=needed()
            )
        case config.Ada():
            augmentation = adaptive_augmentation(needed())
    if objective.consistency:
        consistent = differentiable_augmentation(
            "flip", "translation", "cutout", image_range=needed()
        )
    return Terms(
        r1=objective.r1,
        r2=objective.r2,
        wgan_gp=objective.wgan_gp,
        dragan=objective.dragan,
        every=objective.penalty_every,
        consistency=objective.consistency,
        lecam=objective.lecam,
        augmentation=augmentation,
        consistent=consistent,
    )


def _generator_task(
    experiment: config.Config, objective: config.Reconstruction, generator: Generator
) -> Task:
    tx = build_optimizer(experiment.generator)
    step = reconstruction_step(
        generator,
        tx,
        latent_key=stream(experiment.seed, "latents of examples"),
        activity_strength=objective.activity_strength,
        hidden_activity_strength=objective.hidden_activity_strength,
        accumulate=experiment.accumulate,
        ema_decay=ema_decay(experiment),
    )
    return Task(
        init=lambda key: init_generator(generator, tx, key),
        step=step,
        generator=generator,
        draws=1,
        penalised={},
    )


def _vae_task(
    experiment: config.Config, objective: config.Variational, vae: Vae, encoder: config.Optimizer
) -> Task:
    if objective.samples > 1 and (objective.beta != 1 or objective.free_nats):
        raise config.InputError(
            f"`objective.samples` (={objective.samples}) asks for the importance-weighted bound, which has neither "
            f"`objective.beta` (={objective.beta}) other than 1 nor `objective.free_nats` (={objective.free_nats}): "
            "leave them out, or take one sample."
        )
    encoder_tx, decoder_tx = build_optimizer(encoder), build_optimizer(experiment.generator)
    step = vae_step(
        vae,
        encoder_tx,
        decoder_tx,
        beta=objective.beta,
        free_nats=objective.free_nats,
        samples=objective.samples,
        accumulate=experiment.accumulate,
        ema_decay=ema_decay(experiment),
    )
    return Task(
        init=lambda key: init_vae(vae, encoder_tx, decoder_tx, key),
        step=step,
        generator=vae.generator,
        draws=1,
        penalised={},
    )

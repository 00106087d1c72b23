"""From an experiment to the task that the loop trains."""

import zlib

import jax
import optax
from jaxtyping import Array, Key

from l1jax import config
from l1jax.build import build_loss, build_model, build_optimizer
from l1jax.models import Gan, Generator, Vae
from l1jax.training.gan_step import gan_step, init_gan
from l1jax.training.reconstruction_step import init_generator, reconstruction_step
from l1jax.training.state import Task
from l1jax.training.vae_step import init_vae, vae_step


def stream(seed: int, name: str) -> Key[Array, ""]:
    """A key of its own for each use of the experiment's seed."""
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))


def make_task(experiment: config.Config, image_shape: tuple[int, int, int]) -> Task:
    """Build the task for images of this height, width and channels.

    Raises:
        InputError: if model, objective and optimisers do not go together.
    """
    model, objective = build_model(experiment.model, image_shape), experiment.objective
    generator_tx = build_optimizer(experiment.generator)
    optimizers = {"generator": experiment.generator}
    if isinstance(model, Gan) and isinstance(objective, config.Adversarial) and experiment.discriminator:
        optimizers["discriminator"] = experiment.discriminator
        task = _gan_task(experiment, objective, model, generator_tx, build_optimizer(experiment.discriminator))
    elif isinstance(model, Generator) and isinstance(objective, config.Reconstruction):
        task = _generator_task(experiment, objective, model, generator_tx)
    elif isinstance(model, Vae) and isinstance(objective, config.Variational) and experiment.encoder:
        optimizers["encoder"] = experiment.encoder
        task = _vae_task(experiment, objective, model, build_optimizer(experiment.encoder), generator_tx)
    else:
        raise config.InputError(
            f"`objective` (={type(objective).__name__}) does not go with `model` (={type(experiment.model).__name__}) "
            f"and the optimisers (`discriminator` {'set' if experiment.discriminator else 'None'}, `encoder` "
            f"{'set' if experiment.encoder else 'None'}): Adversarial needs a GAN and a discriminator's optimiser, "
            "Variational a VAE and an encoder's, Reconstruction a generator alone such as DenseGenerator."
        )
    return task._replace(penalised={name: o.penalised for name, o in optimizers.items()})


def _gan_task(
    experiment: config.Config,
    objective: config.Adversarial,
    gan: Gan,
    generator_tx: optax.GradientTransformation,
    discriminator_tx: optax.GradientTransformation,
) -> Task:
    step = gan_step(
        gan,
        build_loss(objective),
        generator_tx,
        discriminator_tx,
        r1=objective.r1,
        r2=objective.r2,
        n_critic=objective.n_critic,
        ema_decay=experiment.ema_decay,
    )
    return Task(
        init=lambda key: init_gan(gan, generator_tx, discriminator_tx, key),
        step=step,
        generator=gan.generator,
        draws=objective.n_critic,
        penalised={},
    )


def _generator_task(
    experiment: config.Config,
    objective: config.Reconstruction,
    generator: Generator,
    tx: optax.GradientTransformation,
) -> Task:
    step = reconstruction_step(
        generator,
        tx,
        latent_key=stream(experiment.seed, "latents of examples"),
        activity_strength=objective.activity_strength,
        ema_decay=experiment.ema_decay,
    )
    return Task(
        init=lambda key: init_generator(generator, tx, key),
        step=step,
        generator=generator,
        draws=1,
        penalised={},
    )


def _vae_task(
    experiment: config.Config,
    objective: config.Variational,
    vae: Vae,
    encoder_tx: optax.GradientTransformation,
    decoder_tx: optax.GradientTransformation,
) -> Task:
    if objective.samples > 1 and (objective.beta != 1 or objective.free_nats):
        raise config.InputError(
            f"`objective.samples` (={objective.samples}) asks for the importance-weighted bound, which has neither "
            f"`objective.beta` (={objective.beta}) other than 1 nor `objective.free_nats` (={objective.free_nats}): "
            "leave them out, or take one sample."
        )
    step = vae_step(
        vae,
        encoder_tx,
        decoder_tx,
        beta=objective.beta,
        free_nats=objective.free_nats,
        samples=objective.samples,
        ema_decay=experiment.ema_decay,
    )
    return Task(
        init=lambda key: init_vae(vae, encoder_tx, decoder_tx, key),
        step=step,
        generator=vae.generator,
        draws=1,
        penalised={},
    )

r"""Spectral-norm residual networks and the hinge loss on CIFAR-10, with an L1-proximal generator.

The setting of Miyato et al. (ICLR 2018): five discriminator steps to one of the generator, Adam
2e-4 (0, 0.9).

Run:      python -m l1jax.train --config cifar10 --data.path FOLDER_OR_ARCHIVE \
              --workdir runs/cifar10
          (any images, resized to 32×32; --data.subfolder train if there is a test folder beside)
Measured: sized down to 16 channels and batches of 4, 20,000 steps on CIFAR-10, 11 minutes on 1 CPU
          core (JAX 0.10.2), finite throughout: colours, skies and outlines, no objects yet, no
          zeros. As it stands, 10 of the 100,000 steps took 3 minutes on 2 busy cores; meant for a
          GPU
"""

from l1jax.config import L1, Adversarial, Config, ImageData, Optimizer, Schedule, SnResnet


def get_config() -> Config:
    decay = Schedule("linear", steps=100_000)
    return Config(
        data=ImageData(image_size=32),
        model=SnResnet(),
        objective=Adversarial(loss="hinge", n_critic=5),
        generator=Optimizer(
            learning_rate=2e-4, b1=0.0, b2=0.9, penalty=L1(1e-5), learning_rate_schedule=decay
        ),
        discriminator=Optimizer(learning_rate=2e-4, b1=0.0, b2=0.9, learning_rate_schedule=decay),
        steps=100_000,
        batch_size=64,
        flip=True,
        log_every=20,
        sample_every=1_000,
        checkpoint_every=1_000,
    )
